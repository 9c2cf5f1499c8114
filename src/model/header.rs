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
pub(super) fn check(json: &[u8]) -> Result<(), String> {
    let looked = serde_json::from_slice::<Looked<MOST_AXES>>(json);
    looked.map(|_| ()).map_err(|e| e.to_string())
}

/// The same of what a program says of a model, where lists may be long.
pub(super) fn check_metadata(json: &str) -> Result<(), String> {
    let looked = serde_json::from_str::<Looked<{ usize::MAX }>>(json);
    looked.map(|_| ()).map_err(|e| e.to_string())
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
                return Err(A::Error::custom(format_args!(
                    "more than {MOST_NAMES} names"
                )));
            }
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            seen.insert(name);
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

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}
