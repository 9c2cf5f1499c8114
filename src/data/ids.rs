//! Token ids in the smallest integers that hold them: [`Ids`].

use bytemuck::{cast_slice, cast_slice_mut};
use std::ops::Range;

/// Token ids in the smallest integers that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Up to 256 symbols.
    U8(Vec<u8>),
    /// Up to 65,536 symbols.
    U16(Vec<u16>),
    /// More.
    U32(Vec<u32>),
}

impl Default for Ids {
    fn default() -> Self {
        Ids::U8(Vec::new())
    }
}

/// Evaluates one expression for the vector of any of the three types.
macro_rules! each {
    ($ids:expr, $v:ident => $body:expr) => {
        match $ids {
            Ids::U8($v) => $body,
            Ids::U16($v) => $body,
            Ids::U32($v) => $body,
        }
    };
}

#[allow(clippy::useless_conversion)] // one of the three is `u32`
impl Ids {
    /// How many ids there are.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Ids::len`].
    pub fn get(&self, i: usize) -> u32 {
        each!(self, v => u32::from(v[i]))
    }

    /// Copies `out.len()` ids, from `start` on.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn copy_to(&self, start: usize, out: &mut [u32]) {
        let end = start + out.len();
        each!(self, v => {
            for (out, &id) in out.iter_mut().zip(&v[start..end]) {
                *out = u32::from(id);
            }
        });
    }

    /// Appends an id, widening all of them if it does not fit.
    pub(super) fn push(&mut self, id: u32) {
        let fits = match self {
            Ids::U8(_) => id <= u8::MAX.into(),
            Ids::U16(_) => id <= u16::MAX.into(),
            Ids::U32(_) => true,
        };
        if !fits {
            *self = std::mem::take(self).mapped(|id| id, id as usize + 1);
        }
        each!(self, v => v.push(id as _));
    }

    /// Appends ids, widening all of them if one does not fit.
    pub(super) fn extend(&mut self, mut ids: impl Iterator<Item = u32>) {
        /// Appends those before the first that does not fit, and returns that one.
        fn fill<V: TryFrom<u32>>(
            v: &mut Vec<V>,
            ids: &mut impl Iterator<Item = u32>,
        ) -> Option<u32> {
            v.reserve(ids.size_hint().0);
            for id in ids {
                match V::try_from(id) {
                    Ok(id) => v.push(id),
                    Err(_) => return Some(id),
                }
            }
            None
        }
        while let Some(wide) = each!(self, v => fill(v, &mut ids)) {
            self.push(wide);
        }
    }

    pub(super) fn extend_from_bytes(&mut self, bytes: &[u8]) {
        match self {
            Ids::U8(v) => v.extend_from_slice(bytes),
            _ => self.extend(bytes.iter().map(|&byte| byte.into())),
        }
    }

    /// Appends some of other ids, in the same integers.
    pub(super) fn append(&mut self, other: &Self, range: Range<usize>) {
        self.grow(range.len()).copy_from_slice(other.bytes(range));
    }

    /// Each id `i` replaced by `map[i]`, all of them below `symbols`; in the smallest integers for as many.
    pub(super) fn mapped(mut self, map: impl Fn(u32) -> u32, symbols: usize) -> Self {
        let mut mapped = Self::for_symbols(symbols);
        if std::mem::discriminant(&mapped) == std::mem::discriminant(&self) {
            each!(&mut self, v => v.iter_mut().for_each(|id| *id = map(u32::from(*id)) as _));
            return self;
        }
        each!(self, v => mapped.extend(v.into_iter().map(|id| map(u32::from(id)))));
        mapped
    }

    /// None yet, in the smallest integers for so many symbols.
    pub(super) fn for_symbols(symbols: usize) -> Self {
        match symbols {
            ..=0x100 => Ids::U8(Vec::new()),
            0x101..=0x1_0000 => Ids::U16(Vec::new()),
            _ => Ids::U32(Vec::new()),
        }
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Ids::U8(v) => Ids::U8(v.split_off(at)),
            Ids::U16(v) => Ids::U16(v.split_off(at)),
            Ids::U32(v) => Ids::U32(v.split_off(at)),
        }
    }

    /// Some of them as bytes, in this machine's order.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        each!(self, v => cast_slice(&v[range]))
    }

    /// Appends `more` zeros, and returns their bytes.
    pub(super) fn grow(&mut self, more: usize) -> &mut [u8] {
        let at = self.len();
        each!(self, v => {
            v.resize(at + more, 0);
            cast_slice_mut(&mut v[at..])
        })
    }
}
