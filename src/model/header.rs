//! JSON from whoever made a file, looked through before anything is built from it.
//!
//! The library that parses the header of a safetensors file keeps the last of two entries of one name, and builds tables
//! that take many times the bytes of a header made for that purpose. So the header is read through once before, holding
//! nothing but names. Knows nothing of what the tensors mean.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// A checkpoint of many layers has a few hundred tensors, a file of PyTorch's users a few entries of metadata.
const MOST_NAMES: usize = 4096;
/// A weight has two axes.
const MOST_AXES: usize = 8;

/// Refuses what is no JSON, names something twice in one object, or has more than the header of a model could have.
pub(super) fn check(json: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice(json).map(|_: Looked<MOST_AXES>| ())
}

/// The same of what a program says of a model, where lists may be long.
pub(super) fn check_metadata(json: &str) -> serde_json::Result<()> {
    serde_json::from_str(json).map(|_: Looked<{ usize::MAX }>| ())
}

/// What holds nothing else is as it should be.
macro_rules! accept {
    ($($visit:ident($($value:ty)?))*) => {$(
        fn $visit<E>(self $(, _: $value)?) -> Result<Self, E> {
            Ok(self)
        }
    )*};
}

/// JSON whose objects have at most [`MOST_NAMES`] names, each once, and its lists at most `LIST` entries.
struct Looked<const LIST: usize>;

impl<'de, const LIST: usize> Deserialize<'de> for Looked<LIST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Looked)
    }
}

impl<'de, const LIST: usize> Visitor<'de> for Looked<LIST> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some((name, Looked::<LIST>)) = map.next_entry::<String, _>()? {
            if seen.len() == MOST_NAMES {
                let problem = format!("more than {MOST_NAMES} names");
                return Err(A::Error::custom(problem));
            }
            if let Some(name) = seen.replace(name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        let mut count = 0;
        while let Some(Looked::<LIST>) = seq.next_element()? {
            count += 1;
            if count > LIST {
                return Err(A::Error::custom(format_args!("more than {LIST} axes")));
            }
        }
        Ok(self)
    }

    accept!(visit_str(&str) visit_u64(u64) visit_i64(i64) visit_f64(f64) visit_bool(bool) visit_unit());
}
