//! Products of rows: with packed weights on every instruction set, and OpenBLAS's, against plain loops.

use bptt::Scalar;
use bptt::internal::blas;
use bptt::internal::kernels::{Out, Packed, Rows, Source, Start, Token, extent};
use bptt::internal::simd::{level, levels};
use fearless_simd::Level;
use ndarray::{Array2, ArrayView2};

/// Errors of a sum of 200 products of numbers below 1, in units of the type's epsilon.
const EPSILONS: f64 = 100.0;

fn numbers<T: Scalar>(len: usize, salt: usize) -> Vec<T> {
    (0..len)
        .map(|i| T::from_f64(((i * 7919 + salt * 104_729) % 1999) as f64 / 1000.0 - 1.0))
        .collect()
}

/// One product of two sources and a bias against plain loops, into dirty memory: rows side by side, and rows and output
/// that are columns of wider matrices.
fn check<T: Scalar>(level: Level, n: usize, [k1, k2]: [usize; 2], m: usize) {
    let (b1, b2, bias) = (
        numbers::<T>(k1 * m, 3),
        numbers::<T>(k2 * m, 4),
        numbers::<T>(m, 5),
    );
    let (mut p1, mut p2) = (Packed::default(), Packed::default());
    p1.pack(level, ArrayView2::from_shape((k1, m), &b1).unwrap());
    // The second from a transposed matrix, and over a larger one packed before.
    p2.pack(level, Array2::from_elem((k2 + 3, m + 40), T::nan()).view());
    let transposed = Array2::from_shape_fn((m, k2), |(j, i)| b2[i * m + j]);
    p2.pack(level, transposed.t());
    for apart in [0, 3] {
        let (s1, s2, stride) = (k1 + apart, k2 + 2 * apart, m + apart);
        let (x1, x2) = (numbers::<T>(n * s1, 1), numbers::<T>(n * s2, 2));
        let sources = [
            Source {
                rows: Rows {
                    data: &x1[..extent(n, s1, k1)],
                    stride: s1,
                },
                weights: &p1,
            },
            Source {
                rows: Rows {
                    data: &x2,
                    stride: s2,
                },
                weights: &p2,
            },
        ];
        let mut data = vec![T::nan(); n * stride];
        let out = Out {
            data: &mut data[..extent(n, stride, m)],
            stride,
            n,
            m,
        };
        Scalar::multiply(level, Start::Bias(&bias), &sources, out);
        for (i, &out) in data.iter().enumerate() {
            let (r, c) = (i / stride, i % stride);
            if c >= m {
                assert!(out.is_nan(), "{level:?}: beyond the columns at {r}, {c}");
                continue;
            }
            let dot = |x: &[T], stride: usize, b: &[T], k: usize| -> f64 {
                (0..k)
                    .map(|q| x[r * stride + q].as_f64() * b[q * m + c].as_f64())
                    .sum()
            };
            let expected = bias[c].as_f64() + dot(&x1, s1, &b1, k1) + dot(&x2, s2, &b2, k2);
            let error = (out.as_f64() - expected).abs();
            assert!(
                error <= EPSILONS * T::epsilon().as_f64(),
                "{level:?} {n} {k1} {k2} {m} at {r}, {c}: {out} against {expected}"
            );
        }
    }
}

#[test]
fn equals_plain_loops_on_every_instruction_set() {
    // Under Miri an operation takes a thousand times as long.
    let rows: Vec<usize> = match cfg!(miri) {
        true => vec![1, 7],
        false => (1..=13).chain([25, 241]).collect(),
    };
    for level in levels() {
        for m in [1, 3, 8, 16, 17, 31, 32, 33, 48, 65] {
            check::<f32>(level, 7, [3, 11], m);
            check::<f64>(level, 7, [3, 11], m);
        }
        for &n in &rows {
            check::<f32>(level, n, [100, 5], 40);
            check::<f64>(level, n, [1, 100], 20);
        }
    }
}

#[test]
fn rows_of_a_table_and_zero() {
    for level in levels() {
        for m in [16, 19, 150] {
            let stride = m + 6;
            let (table, bias) = (numbers::<f32>(5 * stride, 1), numbers::<f32>(m, 2));
            for ids in [&[4, 0, u32::MAX, 4][..], &[3], &[u32::MAX]] {
                let token = Token {
                    table: &table[3..],
                    stride,
                    ids,
                    scale: 1.25,
                    bias: &bias,
                };
                let mut out = vec![f32::NAN; ids.len() * m];
                Scalar::multiply(level, Start::Token(&token), &[], Out::whole(&mut out, m));
                for (row, &id) in out.chunks(m).zip(ids) {
                    for (c, &out) in row.iter().enumerate() {
                        let w = table.get(id as usize * stride + 3 + c);
                        let w = w.map_or(0.0, |w| w * 1.25);
                        assert_eq!(out, w + bias[c], "{level:?} {id} {c}");
                    }
                }
                Scalar::multiply(level, Start::<f32>::Zero, &[], Out::whole(&mut out, m));
                assert!(out.iter().all(|&x| x == 0.0));
            }
        }
    }
}

/// A sum that is stopped, stored and gone on with is the same sum; so is a row whatever rows stand beside it.
#[test]
fn a_rows_bits_depend_on_nothing_but_its_own_sum() {
    let long = if cfg!(miri) { 40 } else { 600 };
    for (k, m) in [(70, 50), (long, 300)] {
        check_bits(k, m);
    }
}

fn check_bits(k: usize, m: usize) {
    let rows = if cfg!(miri) { 7 } else { 29 };
    let (x, b) = (numbers::<f32>(rows * k, 1), numbers::<f32>(k * m, 2));
    for level in levels() {
        let (mut packed, mut halves) = (Packed::default(), [Packed::default(), Packed::default()]);
        let b = ArrayView2::from_shape((k, m), &b).unwrap();
        packed.pack(level, b);
        halves[0].pack(level, b.slice(ndarray::s![..30, ..]));
        halves[1].pack(level, b.slice(ndarray::s![30.., ..]));
        let source = |rows, weights| {
            [Source {
                rows: Rows {
                    data: rows,
                    stride: k,
                },
                weights,
            }]
        };
        let run = |n: usize| {
            let mut out = vec![0.0; n * m];
            let rows = source(&x[..n * k], &packed);
            Scalar::multiply(level, Start::Zero, &rows, Out::whole(&mut out, m));
            out
        };
        let all = run(rows);
        for n in 1..rows {
            assert_eq!(run(n), all[..n * m], "{level:?} {n}");
        }
        let mut out = vec![f32::NAN; rows * m];
        Scalar::multiply(
            level,
            Start::Zero,
            &source(&x, &halves[0]),
            Out::whole(&mut out, m),
        );
        Scalar::multiply(
            level,
            Start::Out,
            &source(&x[30..], &halves[1]),
            Out::whole(&mut out, m),
        );
        assert_eq!(out, all, "{level:?}");
    }
}

#[test]
#[should_panic(expected = "rows are [2, 3]")]
fn a_source_of_another_size_is_refused() {
    let mut packed = Packed::<f32>::default();
    packed.pack(level(), Array2::zeros((3, 4)).view());
    let rows = Rows {
        data: &[0.0; 5],
        stride: 3,
    };
    let source = [Source {
        rows,
        weights: &packed,
    }];
    Scalar::multiply(level(), Start::Zero, &source, Out::whole(&mut [0.0; 8], 4));
}

/// The same product of every form: from transposed copies, and from columns of wider matrices into such.
#[test]
fn products_of_stored_and_transposed_are_the_same() {
    let (m, n, k, stride) = (3, 5, 4, 7);
    let wide = |rows: usize, columns: usize, element: &dyn Fn(usize, usize) -> f64| {
        let all = (0..rows * stride).map(|i| (i / stride, i % stride));
        let element = |(r, c)| if c < columns { element(r, c) } else { f64::NAN };
        all.map(element).collect::<Vec<f64>>()
    };
    let (a, b) = (
        |r, c| ((r * 4 + c) * (r + 1) % 7) as f64,
        |r, c| ((r * 5 + c) * c % 11) as f64,
    );
    let (stored_a, stored_b) = (wide(m, k, &a), wide(k, n, &b));
    let (turned_a, turned_b) = (wide(k, m, &|r, c| a(c, r)), wide(n, k, &|r, c| b(c, r)));
    let rows = |data| Rows { data, stride };
    for (form, beta, before) in [(0, 1.0, 2.0), (1, 1.0, 2.0), (2, 2.0, 1.0)] {
        let mut c = wide(m, n, &|_, _| before);
        let out = Out {
            data: &mut c,
            stride,
            n: m,
            m: n,
        };
        match form {
            0 => blas::gemm_nn(rows(&stored_a), rows(&stored_b), beta, out, k),
            1 => blas::gemm_nt(rows(&stored_a), rows(&turned_b), beta, out, k),
            _ => blas::gemm_tn(rows(&turned_a), rows(&stored_b), beta, out, k),
        }
        for (i, &found) in c.iter().enumerate() {
            let (row, column) = (i / stride, i % stride);
            match column < n {
                true => {
                    let sum: f64 = (0..k).map(|q| a(row, q) * b(q, column)).sum();
                    assert_eq!(found, sum + 2.0, "form {form} at {row}, {column}");
                }
                false => assert!(found.is_nan(), "form {form} wrote beyond its columns"),
            }
        }
    }
}

#[test]
fn a_product_by_hand() {
    let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [3, 2]
    let b = [1.0, 0.0, 1.0, 1.0, 1.0, -1.0, 2.0, 0.0, 0.5, 0.0, 1.0, 1.0]; // [3, 4]
    let mut c = [f64::NAN; 8];
    blas::gemm_tn(
        Rows::of(&a, 2),
        Rows::of(&b, 4),
        0.0,
        Out::whole(&mut c, 4),
        3,
    );
    assert_eq!(c, [6.5, -3.0, 12.0, 6.0, 9.0, -4.0, 16.0, 8.0]);
}

#[test]
#[should_panic(expected = "b is [3, 4]")]
fn a_matrix_that_is_too_small_is_refused() {
    let mut c = [0.0; 8];
    blas::gemm_tn(
        Rows::of(&[0.0; 6], 2),
        Rows::of(&[0.0; 11], 4),
        0.0,
        Out::whole(&mut c, 4),
        3,
    );
}
