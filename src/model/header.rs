//! The header of a safetensors file, looked through before anything is built from it.
//!
//! The header is JSON from whoever made the file. The library that parses it keeps the last of two entries of one name,
//! and builds tables that take many times the bytes of a header made for that purpose. [`check`] reads it through once,
//! holding nothing but names. Knows nothing of what the tensors mean.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

/// A checkpoint has a dozen tensors, a network of many layers a few hundred.
const MOST_TENSORS: usize = 4096;
/// A weight has two axes.
const MOST_AXES: usize = 8;
/// Under `__metadata__`; we write one entry, PyTorch's users a few.
const MOST_METADATA: usize = 1024;

/// Refuses JSON that is no header, names something twice, or has more than a model could have.
pub(super) fn check(json: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<Names<Entry, MOST_TENSORS>>(json)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// Refuses JSON that is neither an object nor `null`, or names something twice: what a program says of a model.
pub(super) fn check_object(json: &str) -> Result<(), String> {
    serde_json::from_str::<Option<Names<Any, MOST_METADATA>>>(json)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// An object of at most `MOST` distinct names, each with a value that is looked through as `V` says.
struct Names<V, const MOST: usize>(PhantomData<V>);

/// How the value of a name is looked through.
trait Look {
    fn value<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<(), A::Error>;
}

impl<'de, V: Look, const MOST: usize> Deserialize<'de> for Names<V, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names(PhantomData))
    }
}

impl<'de, V: Look, const MOST: usize> Visitor<'de> for Names<V, MOST> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            V::value(&name, &mut map)?;
            if seen.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} names")));
            }
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            seen.insert(name);
        }
        Ok(self)
    }
}

/// What the header has by name: tensors and `__metadata__`.
struct Entry;

impl Look for Entry {
    fn value<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "__metadata__" => {
                map.next_value::<Option<Names<Any, MOST_METADATA>>>()?;
            }
            _ => {
                map.next_value::<Names<Field, MOST_AXES>>()?;
            }
        }
        Ok(())
    }
}

/// Anything.
struct Any;

impl Look for Any {
    fn value<'de, A: MapAccess<'de>>(_: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(|_| ())
    }
}

/// What there is to say about a tensor.
struct Field;

impl Look for Field {
    fn value<'de, A: MapAccess<'de>>(name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "shape" | "data_offsets" => map.next_value::<Axes>().map(|_| ()),
            _ => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }
}

/// A few numbers.
struct Axes;

impl<'de> Deserialize<'de> for Axes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Axes)
    }
}

impl<'de> Visitor<'de> for Axes {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        for _ in 0..MOST_AXES {
            if seq.next_element::<u64>()?.is_none() {
                return Ok(self);
            }
        }
        match seq.next_element::<u64>()? {
            None => Ok(self),
            Some(_) => Err(A::Error::custom(format_args!("more than {MOST_AXES} axes"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_models_pass() {
        for json in [
            r#"{}"#,
            r#"{"__metadata__":{"format":"pt","more":"{\"a\":[1]}"},
                "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
                "b":{"data_offsets":[24,24],"dtype":"F32","shape":[0]}}  "#,
            r#"{"__metadata__":null}"#,
        ] {
            check(json.as_bytes()).unwrap();
        }
    }

    #[test]
    fn an_object_has_each_name_once() {
        check_object(r#"{"a":1,"b":{"a":2}}"#).unwrap();
        check_object("null").unwrap();
        for (json, expected) in [
            (r#"{"a":1,"b":2,"a":1}"#, "\"a\" is there twice"),
            ("[1]", "expected an object"),
            ("7", "expected an object"),
        ] {
            let error = check_object(json).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_too_much_or_twice_is_named() {
        let tensors = |n: usize| {
            let list: Vec<_> = (0..n).map(|i| format!("\"{i}\":{{}}")).collect();
            format!("{{{}}}", list.join(","))
        };
        check(tensors(MOST_TENSORS).as_bytes()).unwrap();
        let axes = |n: usize| format!(r#"{{"a":{{"shape":{:?}}}}}"#, vec![1; n]);
        check(axes(MOST_AXES).as_bytes()).unwrap();
        for (json, expected) in [
            (tensors(MOST_TENSORS + 1), "more than 4096 names"),
            (axes(MOST_AXES + 1), "more than 8 axes"),
            (
                r#"{"a":{},"b":{},"\u0061":{}}"#.into(),
                "\"a\" is there twice",
            ),
            (
                r#"{"__metadata__":{"k":"1","k":"2"}}"#.into(),
                "\"k\" is there twice",
            ),
            (
                r#"{"a":{"shape":[1],"shape":[2]}}"#.into(),
                "\"shape\" is there twice",
            ),
            (r#"{"a":{"shape":[[1]]}}"#.into(), "invalid type"),
            (r#"{"a":{"shape":[-1]}}"#.into(), "invalid"),
            (r#"{"a":[]}"#.into(), "invalid type"),
            (r#"{"a":{}} x"#.into(), "trailing"),
            ("".into(), "EOF"),
            ("[".repeat(100_000), "invalid type"),
            (format!(r#"{{"a":{{"b":{}"#, "[".repeat(100_000)), "EOF"),
        ] {
            let error = check(json.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
