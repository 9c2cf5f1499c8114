//! Products with weights packed once per pass: what runs at every time step.
//!
//! ```text
//! out [n, m] = start [n, m] + sum_s rows_s [n, k_s] B_s [k_s, m]
//! ```
//!
//! A time step multiplies a few rows (one shard's sequences) with weights that stay the same for the whole pass. A
//! general product packs the weights again at each call; here [`Packed`] does it once, and [`product`] runs any number
//! of sources into one set of accumulators, started from a bias. Rows of sources and output may lie further apart than they
//! are wide, so that a product can read or write some columns of a wider matrix. What becomes of the sums is the caller's:
//! whoever asks for few rows at a time finds them in the nearest caches.
//!
//! `B` is stored as panels of `NR` columns, `NR` two vectors wide, each panel row after row:
//!
//! ```text
//! B [k, m]  ->  [panel][k][NR]    the last panel one vector wide if that is enough, padded with zeros
//! ```
//!
//! A tile of up to 12 rows by `NR` columns lives in registers while it runs down a panel (the scheme of Goto and van de
//! Geijn, "Anatomy of high-performance matrix multiplication", 2008, with the packing of `A` left out: the rows are
//! few and already contiguous). An element is summed in the order of its sources and of `k`, whatever tile it falls in:
//! its bits do not depend on the number of rows, hence not on the batch or the shard.
//!
//! The code is generic over the vector width, and safe but for the pointers of the innermost loop. Measured on one core
//! in f32, against OpenBLAS 0.3.21 on its kernels for the same machine: on Zen 3 with AVX2, 89 against 56 GFLOP/s at 16
//! rows and k = 256, 90 against 65 at 32 rows, 82 against 72 at 64 rows and k = 512; on Zen 5 with AVX-512, 269 against
//! 112 at 16 rows and k = 256, 270 against 194 at 64 rows and k = 512. On Zen 4 AVX-512 gains little over AVX2, whose
//! instructions do as much per cycle there.

use super::number::Number;
use super::rows::{Rows, extent};
use super::simd::MAX_LANES;
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, dispatch};
use ndarray::ArrayView2;
use std::ops::Range;

/// Rows handled before all panels are gone through again: they, their sums and the panels of a usual network share the
/// second-level cache. Not tuned finely: 48 to 240 measure nearly the same.
pub(crate) const ROW_BLOCK: usize = 96;

/// Rows of a panel handled before the next panel is fetched, so that it stays in the first-level cache. The sums wait in
/// the output meanwhile; their bits do not depend on it.
const DEPTH_BLOCK: usize = 512;

/// Rows of a tile where there are 32 registers; half of them where there are 16.
const TALLEST: usize = 12;

/// Panels that a single row runs down side by side. Each of its sums waits for the one before; with those of one panel, a processor
/// waits for most of the time.
const ABREAST: usize = 4;

/// A matrix `[k, m]` in panels, for `product`.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    k: usize,
    m: usize,
    /// Elements of one vector, as it was when packing.
    lanes: usize,
    data: Vec<T>,
}

impl<T: Number> Packed<T> {
    /// How many elements a matrix `[k, m]` takes when packed.
    pub fn len(level: Level, k: usize, m: usize) -> usize {
        k * m.next_multiple_of(lanes::<T>(level))
    }

    /// Packs `b [k, m]`, whose rows or columns are slices; allocates only if it is larger than any packed here before.
    pub fn pack(&mut self, level: Level, b: ArrayView2<T>) {
        let (k, m) = b.dim();
        let lanes = lanes::<T>(level);
        (self.k, self.m, self.lanes) = (k, m, lanes);
        self.data.resize(Self::len(level, k, m), T::zero());
        let mut rest = &mut self.data[..];
        for first in (0..m).step_by(2 * lanes) {
            let columns = (m - first).min(2 * lanes);
            let width = columns.next_multiple_of(lanes);
            let (panel, later) = rest.split_at_mut(k * width);
            rest = later;
            if columns < width {
                panel.fill(T::zero());
            }
            let source = b.slice(ndarray::s![.., first..first + columns]);
            if source.strides()[0] == 1 {
                // A transposed matrix: read along its rows, which are our columns.
                for (j, column) in source.columns().into_iter().enumerate() {
                    let column = column.to_slice().expect("unit stride");
                    for (row, &value) in panel.chunks_exact_mut(width).zip(column) {
                        row[j] = value;
                    }
                }
            } else {
                for (to, row) in panel.chunks_exact_mut(width).zip(source.rows()) {
                    to[..columns].copy_from_slice(row.to_slice().expect("unit stride"));
                }
            }
        }
    }

    /// The panel that begins at column `first`, `width` columns wide.
    #[inline(always)]
    fn panel(&self, first: usize, width: usize) -> &[T] {
        &self.data[first * self.k..][..self.k * width]
    }
}

/// Elements in one vector at `level`.
fn lanes<T: Number>(level: Level) -> usize {
    #[inline(always)]
    fn of<T: Number, S: Simd>(_: S) -> usize {
        T::Vector::<S>::LEN
    }
    dispatch!(level, simd => of::<T, _>(simd))
}

/// What the sum starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// Zero.
    Zero,
    /// What is in the output already.
    Out,
    /// The same row `[m]` for every row of the output.
    Bias(&'a [T]),
    /// `bias + scale table[ids[i]]` for row `i` of the output: a bias, and what a one-hot row of size `scale` times a matrix
    /// comes to. An id beyond the table stands for a row of zeros.
    Token(&'a Token<'a, T>),
}

/// The parts of [`Start::Token`].
#[derive(Clone, Copy, Debug)]
pub struct Token<'a, T> {
    /// Rows of at least `m`, which begin `stride` elements apart.
    pub table: &'a [T],
    /// From row to row of the table.
    pub stride: usize,
    /// One row of the table for each row of the output.
    pub ids: &'a [u32],
    /// What the table is multiplied with.
    pub scale: T,
    /// `[m]`.
    pub bias: &'a [T],
}

impl<'a, T: Number> Token<'a, T> {
    /// The first `m` columns of the table's row for row `row` of the output; none for an id beyond the table.
    #[inline(always)]
    fn row(&self, row: usize, m: usize) -> Option<&'a [T]> {
        let begin = self.ids[row] as usize * self.stride;
        self.table.get(begin..begin + m)
    }
}

impl<T: Number> Start<'_, T> {
    /// Writes what `columns` of row `row` of an output start from to `to`; `out` is what the row is so far.
    #[inline(always)]
    fn copy(&self, row: usize, out: &[T], columns: Range<usize>, to: &mut [T]) {
        match self {
            Start::Zero => to.fill(T::zero()),
            Start::Out => to.copy_from_slice(&out[columns]),
            Start::Bias(bias) => to.copy_from_slice(&bias[columns]),
            Start::Token(token) => {
                to.copy_from_slice(&token.bias[columns.clone()]);
                if let Some(from) = token.row(row, columns.end) {
                    let pairs = to.iter_mut().zip(&from[columns]);
                    pairs.for_each(|(to, &w)| *to = w * token.scale + *to);
                }
            }
        }
    }
}

/// One summand: rows `[n, k]` times packed weights `[k, m]`.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// `[n, k]`.
    pub rows: Rows<'a, T>,
    /// `[k, m]`.
    pub weights: &'a Packed<T>,
}

/// Where a product goes: `m` columns of `n` rows, which begin `stride` elements apart.
#[derive(Debug)]
pub struct Out<'a, T> {
    /// From the first row on.
    pub data: &'a mut [T],
    /// From row to row.
    pub stride: usize,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub m: usize,
}

impl<'a, T> Out<'a, T> {
    /// All of a matrix of `m` columns.
    pub fn whole(data: &'a mut [T], m: usize) -> Self {
        Out {
            n: data.len() / m,
            data,
            stride: m,
            m,
        }
    }
}

/// `out [n, m] = start + sum of sources`.
///
/// # Panics
/// If a source's weights have not `m` columns or were packed for another level, or a slice is shorter than its rows.
pub(crate) fn product<T: Number>(
    level: Level,
    start: Start<'_, T>,
    sources: &[Source<'_, T>],
    out: Out<'_, T>,
) {
    let Out { data, stride, n, m } = out;
    let holds = stride >= m && data.len() >= extent(n, stride, m);
    assert!(holds, "out is [{n}, {m}]");
    for source in sources {
        let k = source.weights.k;
        assert!(source.rows.holds(n, k), "rows are [{n}, {k}]");
        assert_eq!(
            (source.weights.m, source.weights.lanes),
            (m, lanes::<T>(level)),
            "weights packed for {m} columns at this level"
        );
    }
    match &start {
        Start::Bias(bias) => assert_eq!(bias.len(), m, "bias is [{m}]"),
        Start::Token(token) => {
            assert_eq!(token.bias.len(), m, "bias is [{m}]");
            assert!(token.ids.len() >= n, "ids are [{n}]");
        }
        Start::Zero | Start::Out => {}
    }
    let job = Job {
        start,
        sources,
        n,
        m,
        stride,
    };
    dispatch!(level, simd => job.run(simd, data));
}

/// The arguments of one product that every tile needs, checked.
#[derive(Clone, Copy)]
struct Job<'a, T> {
    start: Start<'a, T>,
    sources: &'a [Source<'a, T>],
    n: usize,
    m: usize,
    /// From row to row of the output.
    stride: usize,
}

impl<T: Number> Job<'_, T> {
    /// Block of rows, block of depth, panel, tile: what is read again and again stays in the caches.
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, out: &mut [T]) {
        let lanes = T::Vector::<S>::LEN;
        let n = self.n;
        let depth = self.sources.iter().map(|source| source.weights.k).sum();
        let mut edge = [T::zero(); TALLEST * 2 * MAX_LANES];
        for block in (0..n).step_by(ROW_BLOCK) {
            let rows = block..(block + ROW_BLOCK).min(n);
            for begin in (0..usize::max(depth, 1)).step_by(DEPTH_BLOCK) {
                let part = Part {
                    begin,
                    end: (begin + DEPTH_BLOCK).min(depth),
                };
                let done = if n == 1 {
                    self.row::<S>(simd, out, part)
                } else {
                    0
                };
                for first in (done..self.m).step_by(2 * lanes) {
                    if self.m - first > lanes {
                        self.panel::<S, 2>(simd, out, &mut edge, rows.clone(), first, part);
                    } else {
                        self.panel::<S, 1>(simd, out, &mut edge, rows.clone(), first, part);
                    }
                }
            }
        }
    }

    /// The only row against the panels, [`ABREAST`] of them at a time, as far as there are so many; returns the column after them.
    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, out: &mut [T], part: Part) -> usize {
        let width = ABREAST * 2 * T::Vector::<S>::LEN;
        let whole = self.m - self.m % width;
        let mut start = match part.begin {
            0 => self.start,
            _ => Start::Out,
        };
        if let Start::Token(_) = start {
            start.copy(0, &[], 0..whole, &mut out[..whole]);
            start = Start::Out;
        }
        for first in (0..whole).step_by(width) {
            let out = &mut out[first..];
            simd.vectorize(
                #[inline(always)]
                || self.tile::<S, 1, 2, ABREAST>(simd, start, out, self.stride, [0, first], part),
            );
        }
        whole
    }

    /// All rows of a block against one panel of `NV` vectors, in tiles of nearly equal height. Where the panel is wider than
    /// what is left of `out`, a tile is summed in `edge`.
    #[inline(always)]
    fn panel<S: Simd, const NV: usize>(
        &self,
        simd: S,
        out: &mut [T],
        edge: &mut [T],
        rows: Range<usize>,
        first: usize,
        part: Part,
    ) {
        // Accumulators, the panel's vectors and a broadcast must fit the registers: 32 with AVX-512, else 16.
        let tallest = const {
            if size_of::<T::Vector<S>>() == 64 {
                TALLEST
            } else {
                TALLEST / 2
            }
        };
        let width = NV * T::Vector::<S>::LEN;
        let columns = first..(first + width).min(self.m);
        let start = match part.begin {
            0 => self.start,
            _ => Start::Out,
        };
        let mut row = rows.start;
        for left in (1..=rows.len().div_ceil(tallest)).rev() {
            let height = (rows.end - row).div_ceil(left);
            let out = &mut out[row * self.stride..][..(height - 1) * self.stride + self.m];
            let whole = columns.len() == width;
            let (start, sums, stride) = match (whole, start) {
                (true, Start::Token(_)) => {
                    for (r, out) in out.chunks_mut(self.stride).enumerate() {
                        start.copy(row + r, &[], columns.clone(), &mut out[columns.clone()]);
                    }
                    (Start::Out, &mut out[first..], self.stride)
                }
                (true, _) => (start, &mut out[first..], self.stride),
                (false, _) => {
                    let rows = edge.chunks_mut(width).zip(out.chunks(self.stride));
                    for (r, (to, out)) in rows.enumerate() {
                        start.copy(row + r, out, columns.clone(), &mut to[..columns.len()]);
                    }
                    (Start::Out, &mut *edge, width)
                }
            };
            macro_rules! tile_of {
                ($($h:literal)*) => {
                    match height {
                        // What a level has no registers for is not even compiled for it.
                        $($h => if const { $h <= TALLEST / 2 || size_of::<T::Vector<S>>() == 64 } {
                            simd.vectorize(#[inline(always)] || self.tile::<S, $h, NV, 1>(simd, start, sums, stride, [row, first], part));
                        },)*
                        _ => unreachable!("a tile has 1 to {TALLEST} rows"),
                    }
                };
            }
            tile_of!(1 2 3 4 5 6 7 8 9 10 11 12);
            if !whole {
                for (out, from) in out.chunks_mut(self.stride).zip(edge.chunks(width)) {
                    out[columns.clone()].copy_from_slice(&from[..columns.len()]);
                }
            }
            row += height;
        }
    }

    /// `MR` rows by `NP` panels of `NV` vectors, summed in registers over one part of the depth. The loops that touch the sums are
    /// so short that the compiler unrolls them all: with one that it does not, the sums live in memory and the tile takes twice as long.
    #[allow(unsafe_code, clippy::needless_range_loop, clippy::too_many_arguments)]
    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NV: usize, const NP: usize>(
        &self,
        simd: S,
        start: Start<'_, T>,
        out: &mut [T],
        stride: usize,
        [row, first]: [usize; 2],
        part: Part,
    ) {
        let lanes = T::Vector::<S>::LEN;
        let mut sum = [[[T::Vector::<S>::splat(simd, T::zero()); NV]; NP]; MR];
        macro_rules! start_from {
            ($r:ident => $row:expr) => {
                for $r in 0..MR {
                    let from = &$row[..NP * NV * lanes];
                    for p in 0..NP {
                        for v in 0..NV {
                            let from = &from[(p * NV + v) * lanes..][..lanes];
                            sum[$r][p][v] = T::Vector::<S>::from_slice(simd, from);
                        }
                    }
                }
            };
        }
        match start {
            Start::Zero => {}
            Start::Out => start_from!(r => out[r * stride..]),
            Start::Bias(bias) => start_from!(r => bias[first..]),
            Start::Token(_) => unreachable!("rows of a table are copied before a tile begins"),
        }
        let mut before = 0;
        for source in self.sources {
            let k = source.weights.k;
            // What of this source lies in this part of the depth.
            let begin = part.begin.saturating_sub(before).min(k);
            let end = part.end.saturating_sub(before).min(k);
            before += k;
            let stride = source.rows.stride;
            let rows = source.rows.data[row * stride..][..(MR - 1) * stride + k].as_ptr();
            let mut begins = [rows; MR];
            for r in 1..MR {
                // SAFETY: row `r` begins within the slice just taken.
                begins[r] = unsafe { rows.add(r * stride) };
            }
            let mut panels = [rows; NP];
            for p in 0..NP {
                let panel = source.weights.panel(first + p * NV * lanes, NV * lanes);
                panels[p] = panel.as_ptr();
            }
            for i in begin..end {
                // SAFETY: `i < k`, and the slices just taken hold `(MR - 1) * stride + k` and `k * NV * lanes` elements.
                // Checked here, the loop would take a third longer.
                let mut b = [[T::Vector::<S>::splat(simd, T::zero()); NV]; NP];
                for p in 0..NP {
                    for v in 0..NV {
                        let from = unsafe {
                            std::slice::from_raw_parts(panels[p].add((i * NV + v) * lanes), lanes)
                        };
                        b[p][v] = T::Vector::<S>::from_slice(simd, from);
                    }
                }
                for r in 0..MR {
                    let a = T::Vector::<S>::splat(simd, unsafe { *begins[r].add(i) });
                    for p in 0..NP {
                        for v in 0..NV {
                            sum[r][p][v] = a.mul_add(b[p][v], sum[r][p][v]);
                        }
                    }
                }
            }
        }
        for r in 0..MR {
            let out = &mut out[r * stride..][..NP * NV * lanes];
            for p in 0..NP {
                for v in 0..NV {
                    sum[r][p][v].store_slice(&mut out[(p * NV + v) * lanes..][..lanes]);
                }
            }
        }
    }
}

/// A part of the depth: of the rows of all weights, counted through the sources.
#[derive(Clone, Copy)]
struct Part {
    begin: usize,
    end: usize,
}
