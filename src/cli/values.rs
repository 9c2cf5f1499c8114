//! What the value of a flag may be: parsers, each of which says in its error what was expected.

use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::PathBuf;

/// The precision of all numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    F64,
}

/// The largest number that is read as a whole one.
pub const MOST_WHOLE: u64 = 1 << 53;

/// Which numbers are accepted, and the same in words.
pub type Range = (fn(f64) -> bool, &'static str);
pub const SECONDS: Range = (
    |x| x > 0.0 && x <= 1e6,
    "a number above 0, a million at most",
);
pub const POSITIVE: Range = (|x| x > 0.0 && x.is_finite(), "a finite number above 0");
pub const FROM_ZERO: Range = (|x| x >= 0.0 && x.is_finite(), "a finite number from 0 up");
pub const FINITE: Range = (f64::is_finite, "a finite number");
pub const PROBABILITY: Range = (|x| (0.0..=1.0).contains(&x), "a probability, from 0 to 1");
pub const FRACTION: Range = (
    |x| (0.0..1.0).contains(&x),
    "a number from 0 to less than 1, such as 0.1",
);

/// A parser of such numbers.
pub fn within(range: Range) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse().ok().filter(|&x| range.0(x));
        number.ok_or_else(|| format!("expected {}", range.1))
    }
}

/// A parser of whole numbers from 1 up.
pub fn positive<T: TryFrom<u64> + Clone + Send + Sync>()
-> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    whole(1, MOST_WHOLE)
}

/// A parser of whole numbers from `least` to `most`, as people write them: `20000`, `20_000`, `20k`, `2e4`.
pub fn whole<T: TryFrom<u64>>(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync {
    move |text| {
        let plain = text.replace('_', "");
        let digits = plain.trim_end_matches(['k', 'K', 'M']);
        let factor = match &plain[digits.len()..] {
            "" => 1.0,
            "k" | "K" => 1e3,
            "M" => 1e6,
            _ => f64::NAN,
        };
        // Every whole number up to 2^53 is a number in floating point, which reads `2e4` as well.
        let scaled = digits.parse().ok().map(|x: f64| x * factor);
        let is_larger = scaled.is_some_and(|x| x > most as f64);
        let scaled = scaled.filter(|x| x.fract() == 0.0 && (0.0..=MOST_WHOLE as f64).contains(x));
        let number = plain.parse().ok().or(scaled.map(|x| x as u64));
        let number = number.filter(|x| (least..=most).contains(x));
        let number = number.and_then(|x| T::try_from(x).ok());
        number.ok_or_else(|| match most {
            MOST_WHOLE if !is_larger => format!("expected a whole number from {least} up"),
            most => format!("expected a whole number from {least} to {most}"),
        })
    }
}

/// A parser of paths; `-` is standard input.
pub fn file(path: OsString) -> PathBuf {
    match path.to_str() {
        Some("-") => "/dev/stdin".into(),
        _ => path.into(),
    }
}

/// A parser of names, which are the same on the command line and in `config.json`.
pub fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|e| {
        let known = e.to_string();
        let known = known.split_once("expected ").map_or("", |(_, rest)| rest);
        format!("expected {known}")
    })
}

/// A parser of numbers of bytes: `1000000`, `500k`, `1.5G`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let number = text.trim_end_matches(['b', 'B', 'i']);
    let unit = number.find(|c: char| c.is_alphabetic());
    let (number, unit) = number.split_at(unit.unwrap_or(number.len()));
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1024.0,
        "m" | "M" => 1024.0 * 1024.0,
        "g" | "G" => 1024.0 * 1024.0 * 1024.0,
        _ => f64::NAN,
    };
    let bytes = number.trim().parse().map_or(f64::NAN, |x: f64| x * factor);
    match bytes >= 1.0 && bytes < (1u64 << 53) as f64 {
        true => Ok(bytes as usize),
        false => Err("expected a number of bytes, such as 500M or 2G".into()),
    }
}
