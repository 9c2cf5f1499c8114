//! Rows of a matrix, and the kernels on them that are no products.

use super::number::Number;
use fearless_simd::{Level, dispatch};

/// Rows that begin `stride` elements apart, which may be more than a row is wide: some columns of a wider matrix.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// From the first row on; of the last, no more needs to be there than is read.
    pub data: &'a [T],
    /// From row to row.
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// The rows of a matrix of `width` columns.
    pub fn of(data: &'a [T], stride: usize) -> Self {
        Rows { data, stride }
    }

    /// Rows from `first` on.
    pub fn skip(self, first: usize) -> Self {
        let begin = first * self.stride;
        self.columns(begin)
    }

    /// The columns from `first` on.
    pub fn columns(mut self, first: usize) -> Self {
        self.data = self.data.get(first..).unwrap_or_default();
        self
    }

    /// Whether there are `n` rows of `width` elements.
    pub fn holds(self, n: usize, width: usize) -> bool {
        self.stride >= width && self.data.len() >= extent(n, self.stride, width)
    }
}

/// Elements from the first of `n` rows to the end of the last.
pub fn extent(n: usize, stride: usize, width: usize) -> usize {
    match n {
        0 => 0,
        n => (n - 1) * stride + width,
    }
}

/// Adds rows to `sums`, in order.
pub(crate) fn sum_rows<T: Number>(level: Level, rows: Rows<'_, T>, sums: &mut [T]) {
    dispatch!(level, _simd => {
        for row in rows.data.chunks(rows.stride) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    });
}

/// Adds `scale` times each row `[_, width]` to the row of `table [_, width]` that its id names. Ids beyond the table name no
/// row: what they belong to is left out.
pub fn scatter_add<T: Number>(
    rows: Rows<'_, T>,
    ids: &[u32],
    scale: T,
    table: &mut [T],
    width: usize,
) {
    for (row, &id) in rows.data.chunks(rows.stride).zip(ids) {
        let begin = id as usize * width;
        if let Some(to) = table.get_mut(begin..begin + width) {
            to.iter_mut().zip(row).for_each(|(to, &x)| *to += scale * x);
        }
    }
}
