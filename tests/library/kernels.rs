//! Kernels on slices, with every instruction set that this machine has, against the truth: within stated bounds.

use bptt::internal::kernels::{Rows, scatter_add};
use bptt::internal::{blas, simd};
use bptt::{Loss, Scalar};
use fearless_simd::Level;

/// Largest error of the hyperbolic tangent in units in the last place, any input and any instruction set.
const MAX_TANH_ULPS_F32: f64 = 2.5;
const MAX_TANH_ULPS_F64: f64 = 3.0;

/// Largest error of the logistic sigmoid in units in the last place, any instruction set and any input from [`SMALLEST`]
/// (`f64`: -708) up. Below that the sigmoid is smaller than a normal number and 0 is returned.
const MAX_SIGMOID_ULPS: f64 = 3.0;
const SMALLEST: f32 = -87.0;

fn sigmoid<T: Scalar>(level: Level, x: &mut [T]) {
    T::respond(level, Loss::Binary, x, 1);
}

/// A number as the unevaluated sum of two `f64`s: about 106 bits (Dekker 1971).
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    fn sum(a: f64, b: f64) -> Double {
        let s = a + b;
        let bb = s - a;
        Double(s, (a - (s - bb)) + (b - bb))
    }
    fn add(self, other: Double) -> Double {
        let s = Double::sum(self.0, other.0);
        Double::sum(s.0, s.1 + self.1 + other.1)
    }
    fn mul(self, other: Double) -> Double {
        let p = self.0 * other.0;
        let error = self.0.mul_add(other.0, -p);
        Double::sum(p, error + (self.0 * other.1 + self.1 * other.0))
    }
    fn div(self, other: Double) -> Double {
        let q = self.0 / other.0;
        let rest = self.add(other.mul(Double(-q, 0.0)));
        Double::sum(q, rest.0 / other.0)
    }
}

/// tanh to about 100 bits: exp(r) - 1 by its series at r = 2x / 2^12, then doubled 12 times by
/// e(2r) = e(r) (e(r) + 2).
fn true_tanh(x: f64) -> Double {
    if x.abs() > 40.0 {
        return Double(x.signum(), 0.0);
    }
    let r = Double(2.0 * x / 4096.0, 0.0);
    let mut e = Double(0.0, 0.0);
    for k in (1..=14).rev() {
        // e = r/k (1 + e)
        e = r
            .div(Double(f64::from(k), 0.0))
            .mul(e.add(Double(1.0, 0.0)));
    }
    for _ in 0..12 {
        e = e.mul(e.add(Double(2.0, 0.0)));
    }
    e.div(e.add(Double(2.0, 0.0)))
}

/// The error of `y` against `truth` in units in the last place of the true value.
fn ulps_f64(y: f64, truth: Double) -> f64 {
    let exponent = truth.0.abs().max(f64::MIN_POSITIVE).log2().floor() as i32;
    // In two factors: `powi` makes 0 of a power that is not a normal number.
    let ulp = 2f64.powi(exponent) * f64::EPSILON;
    ((y - truth.0) - truth.1).abs() / ulp
}

fn ulps_f32(y: f32, truth: f64) -> f64 {
    let exponent = truth.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32;
    (f64::from(y) - truth).abs() / 2f64.powi((exponent - 23).max(-149))
}

fn worst(errors: impl Iterator<Item = f64>) -> f64 {
    errors.fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

#[test]
fn the_truth_is_right() {
    // tanh(1) and tanh(0.25) to 30 digits, from their continued fraction.
    let one = true_tanh(1.0);
    assert!((one.0 - 0.761_594_155_955_764_9).abs() < 1e-16);
    for x in [1e-8f64, 0.25, 1.0, 5.0, 15.0] {
        assert!(
            ulps_f64(x.tanh(), true_tanh(x)) < 2.5,
            "libm and the series agree at {x}"
        );
    }
}

#[test]
fn tanh_f32_stays_within_its_bound() {
    // Every 4,093rd of all positive finite numbers up to 2^4: all exponents, odd mantissas.
    let x: Vec<f32> = (0..0x4180_0000u32)
        .step_by(4093)
        .map(f32::from_bits)
        .collect();
    for level in simd::levels() {
        let mut y = x.clone();
        Scalar::tanh_in_place(level, &mut y);
        let worst = worst(
            x.iter()
                .zip(&y)
                .map(|(&x, &y)| ulps_f32(y, f64::from(x).tanh())),
        );
        assert!(worst <= MAX_TANH_ULPS_F32, "{level:?}: {worst} ulp");
        assert!(
            worst > 0.5,
            "{level:?}: {worst} ulp is too good to be measured"
        );
    }
}

#[test]
#[ignore = "all 2^31 magnitudes: minutes; run with --ignored --release"]
fn tanh_f32_stays_within_its_bound_everywhere() {
    for level in simd::levels() {
        let mut highest = 0.0f64;
        for block in (0..0x7f80_0000u32).step_by(1 << 16) {
            let x: Vec<f32> = (block..block + (1 << 16)).map(f32::from_bits).collect();
            let mut y = x.clone();
            Scalar::tanh_in_place(level, &mut y);
            let errors = x.iter().zip(&y).filter(|(x, _)| x.is_finite());
            highest = highest.max(worst(errors.map(|(&x, &y)| {
                assert!((0.0..=1.0).contains(&y), "{level:?}: tanh({x}) = {y}");
                ulps_f32(y, f64::from(x).tanh())
            })));
        }
        println!("{level:?}: {highest} ulp");
        assert!(highest <= MAX_TANH_ULPS_F32, "{level:?}: {highest} ulp");
    }
}

#[test]
fn tanh_f64_stays_within_its_bound() {
    let tiny = (0..2000).map(|i| 2f64.powf(-60.0 + f64::from(i) * 0.03));
    let x: Vec<f64> = (1..60_000)
        .map(|i| f64::from(i) * 3.3e-4)
        .chain(tiny)
        .collect();
    for level in simd::levels() {
        let mut y = x.clone();
        Scalar::tanh_in_place(level, &mut y);
        let worst = worst(x.iter().zip(&y).map(|(&x, &y)| ulps_f64(y, true_tanh(x))));
        assert!(worst <= MAX_TANH_ULPS_F64, "{level:?}: {worst} ulp");
        assert!(
            worst > 0.5,
            "{level:?}: {worst} ulp is too good to be measured"
        );
    }
}

#[test]
fn tanh_is_odd_bounded_and_keeps_nan() {
    fn check<T: Scalar>() {
        let edges = [
            0.0, 1e-40, 1e-20, 0.5, 8.9, 9.0, 9.2, 19.0, 19.2, 50.0, 1e4, 1e30,
        ];
        for level in simd::levels() {
            for x in edges
                .map(T::from_f64)
                .into_iter()
                .chain([T::infinity(), T::min_positive_value()])
            {
                let mut y = [x, -x, T::nan()];
                Scalar::tanh_in_place(level, &mut y);
                assert!(
                    y[0] >= T::zero() && y[0] <= T::one(),
                    "{level:?}: tanh({x}) = {}",
                    y[0]
                );
                assert!(
                    y[1] == -y[0] && y[1].is_sign_negative(),
                    "{level:?}: tanh is odd at {x}"
                );
                assert!(y[2].is_nan(), "{level:?}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// `1 / (1 + exp(-x))` to twice double precision: from `tanh(x / 2)` where that loses nothing, and from the exponential
/// of `f64` below, whose own error is half a unit.
fn true_sigmoid(x: f64) -> Double {
    if x > -0.5 {
        let t = true_tanh(x / 2.0);
        return Double(t.0 / 2.0, t.1 / 2.0).add(Double(0.5, 0.0));
    }
    // e^x by its series at x / 2^12, squared twelve times.
    let r = Double(x / 4096.0, 0.0);
    let mut e = Double(1.0, 0.0);
    for k in (1..=14).rev() {
        e = r
            .div(Double(f64::from(k), 0.0))
            .mul(e)
            .add(Double(1.0, 0.0));
    }
    for _ in 0..12 {
        e = e.mul(e);
    }
    e.div(e.add(Double(1.0, 0.0)))
}

#[test]
fn sigmoid_stays_within_its_bound() {
    // Every 4,093rd of the finite numbers of both signs up to 2^7, from the smallest normal result up.
    let x: Vec<f32> = (0..0x4300_0000u32)
        .step_by(4093)
        .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
        .filter(|&x| x >= SMALLEST)
        .collect();
    let doubles: Vec<f64> = (-60_000..60_000).map(|i| f64::from(i) * 1.1e-2).collect();
    for level in simd::levels() {
        let mut y = x.clone();
        sigmoid(level, &mut y);
        let exact = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
        let errors = x.iter().zip(&y).map(|(&x, &y)| ulps_f32(y, exact(x)));
        let single = worst(errors);
        let mut y = doubles.clone();
        sigmoid(level, &mut y);
        let errors = doubles
            .iter()
            .zip(&y)
            .map(|(&x, &y)| ulps_f64(y, true_sigmoid(x)));
        let double = worst(errors);
        for worst in [single, double] {
            assert!(worst <= MAX_SIGMOID_ULPS, "{level:?}: {worst} ulp");
            assert!(
                worst > 0.5,
                "{level:?}: {worst} ulp is too good to be measured"
            );
        }
    }
}

#[test]
#[ignore = "all 2^32 numbers: minutes; run with --ignored --release"]
fn sigmoid_f32_stays_within_its_bound_everywhere() {
    for level in simd::levels() {
        let mut highest = 0.0f64;
        for block in (0..0x7f80_0000u32).step_by(1 << 16) {
            for sign in [0, 1 << 31] {
                let x: Vec<f32> = (block..block + (1 << 16))
                    .map(|bits| f32::from_bits(bits | sign))
                    .collect();
                let mut y = x.clone();
                sigmoid(level, &mut y);
                for (&x, &y) in x.iter().zip(&y).filter(|(x, _)| x.is_finite()) {
                    assert!((0.0..=1.0).contains(&y), "{level:?}: sigmoid({x}) = {y}");
                    if x >= SMALLEST {
                        highest = highest.max(ulps_f32(y, 1.0 / (1.0 + (-f64::from(x)).exp())));
                    }
                }
            }
        }
        println!("{level:?}: {highest} ulp");
        assert!(highest <= MAX_SIGMOID_ULPS, "{level:?}: {highest} ulp");
    }
}

#[test]
fn sigmoid_is_bounded_symmetric_and_keeps_nan() {
    for level in simd::levels() {
        for x in [0.0f32, 1e-40, 0.5, 9.0, 50.0, 88.0, 1e30, f32::INFINITY] {
            let mut y = [x, -x, f32::NAN];
            sigmoid(level, &mut y);
            assert!(
                (0.5..=1.0).contains(&y[0]) && (0.0..=0.5).contains(&y[1]),
                "{level:?}: {y:?}"
            );
            assert!(
                (y[0] + y[1] - 1.0).abs() <= 2.0 * f32::EPSILON,
                "{level:?}: {y:?}"
            );
            assert!(y[2].is_nan(), "{level:?}");
        }
    }
}

#[test]
fn softmax_rows_sum_to_one() {
    fn check<T: Scalar>() {
        for level in simd::levels() {
            for n in [1, 2, 3, 5, 8, 16, 17, 33, 65, 100] {
                let mut u: Vec<T> = (0..7 * n)
                    .map(|i| T::from_f64(((i * 37 % 101) as f64 - 50.0) * 0.2))
                    .collect();
                let logits = u.clone();
                Scalar::softmax(level, &mut u, n);
                for (y, u) in u.chunks(n).zip(logits.chunks(n)) {
                    let sum = y.iter().map(|y| y.as_f64()).sum::<f64>();
                    // 2 ulp of one, as the rows are summed in double precision.
                    assert!(
                        (sum - 1.0).abs() <= 2.0 * T::epsilon().as_f64(),
                        "{level:?} {n}: {sum}"
                    );
                    let exact: f64 = u.iter().map(|v| v.as_f64().exp()).sum();
                    for (y, u) in y.iter().zip(u) {
                        let relative = (y.as_f64() * exact / u.as_f64().exp() - 1.0).abs();
                        assert!(
                            relative < 40.0 * T::epsilon().as_f64(),
                            "{level:?}: {relative}"
                        );
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn softmax_of_extreme_logits() {
    for level in simd::levels() {
        let softmax = |mut u: Vec<f32>| {
            let n = u.len();
            Scalar::softmax(level, &mut u, n);
            u
        };
        assert_eq!(softmax(vec![1e4, 1e4, 1e4, 1e4]), [0.25; 4]);
        assert_eq!(softmax(vec![-1e4, 1e4, 0.0]), [0.0, 1.0, 0.0]);
        assert_eq!(softmax(vec![f32::NEG_INFINITY, 3.0, 3.0]), [0.0, 0.5, 0.5]);
        assert_eq!(softmax(vec![-3e38; 20]), [0.05; 20]);
        assert!(softmax(vec![f32::NAN, 0.0]).iter().all(|y| y.is_nan()));
    }
}

#[test]
fn the_library_is_openblas() {
    let library = blas::library();
    assert!(library.config.starts_with("OpenBLAS "), "{library:?}");
    assert!(
        !library.core.is_empty() && library.max_workers >= 1,
        "{library:?}"
    );
}

#[test]
fn one_thread_nests_and_restores() {
    let outer = blas::OneThread::new();
    let inner = blas::OneThread::new();
    assert_eq!(blas::num_threads(), 1);
    drop(outer);
    assert_eq!(blas::num_threads(), 1);
    drop(inner);
}

#[test]
fn rows_are_added_in_order_and_by_id() {
    let rows = Rows {
        data: &[1.0, 2.0, 9.0, 3.0, 4.0, 9.0, 5.0, 6.0],
        stride: 3,
    };
    for level in simd::levels() {
        let mut sums = [0.5, 0.0];
        f64::sum_rows(level, rows, &mut sums);
        assert_eq!(sums, [9.5, 12.0]);
    }
    let mut table = [0.0; 6];
    scatter_add(rows, &[2, u32::MAX, 2], 2.0, &mut table, 2);
    assert_eq!(table, [0.0, 0.0, 0.0, 0.0, 12.0, 16.0]);
}

#[test]
fn every_level_of_this_machine_has_a_name_of_its_own() {
    for level in simd::levels() {
        let found = simd::by_name(simd::name(level)).unwrap();
        assert_eq!(simd::name(found), simd::name(level));
        assert!(simd::name(level) != "scalar" || level.is_fallback());
    }
    assert_eq!(
        simd::name(*simd::levels().last().unwrap()),
        simd::name(Level::new())
    );
}

#[test]
fn what_there_is_not_is_refused() {
    let error = simd::by_name("avx1024").unwrap_err().to_string();
    assert!(
        error.starts_with("BPTT_SIMD: \"avx1024\" is not vector"),
        "{error}"
    );
}
