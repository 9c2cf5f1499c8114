//! Losses, their gradients and what is counted on the way, by hand.

use bptt::internal::kernels::LossStep;
use bptt::internal::simd;
use bptt::{Answers, Loss, Metrics, Scalar, Targets};
use fearless_simd::Level;
use ndarray::{Array3, array};
use std::ops::Add;

/// The gradients of logits `[n, n_y]` of one step of `n` sequences, and the metrics.
fn loss<T: Scalar>(
    level: Level,
    logits: &[T],
    answers: &Answers<'_, T>,
    n_y: usize,
    scale: T,
) -> (Vec<T>, Metrics) {
    let rows: Vec<usize> = (0..logits.len() / n_y).collect();
    let mut u = logits.to_vec();
    let step = LossStep {
        answers,
        rows: &rows,
        step: 0,
        n_y,
        scale,
        ranks: true,
    };
    let metrics = T::judge(level, Loss::CrossEntropy, &mut u, step);
    (u, metrics)
}

#[test]
fn loss_gradient_and_counts_by_hand() {
    let (a, b) = (2f64.ln(), 3f64.ln());
    // Probabilities (1, 2, 3)/6, (1, 1, 1)/3, (1, 1, 2)/4, masked.
    let logits = [0.0, a, b, 7.0, 7.0, 7.0, 0.0, 0.0, a, 9.0, f64::NAN, -9.0];
    let classes = array![[2u32], [0], [1], [0]];
    let mask = array![[true], [true], [true], [false]];
    let answers = Answers {
        targets: Targets::from(&classes),
        mask: Some(mask.view()),
    };
    for level in simd::levels() {
        let (u, metrics) = loss(level, &logits, &answers, 3, 0.1);
        let expected = 2f64.ln() + 3f64.ln() + 4f64.ln();
        assert!((metrics.loss - expected).abs() < 1e-14, "{level:?}");
        // Right: class 2 of the first; class 0 of the second, the first of equals.
        assert_eq!((metrics.counted, metrics.correct), (3, 2));
        let du = [
            [1.0 / 6.0, 2.0 / 6.0, -0.5],
            [1.0 / 3.0 - 1.0, 1.0 / 3.0, 1.0 / 3.0],
            [0.25, -0.75, 0.5],
            [0.0; 3],
        ];
        for (du, expected) in u.iter().zip(du.as_flattened()) {
            assert!((du - 0.1 * expected).abs() < 1e-15, "{level:?}: {du}");
        }
    }
}

#[test]
fn distributions_need_not_sum_to_one() {
    let weights = array![[[0.5, 0.0, 1.0]]];
    let answers = Answers::from(Targets::from(&weights));
    let logits = [0.0, 2f64.ln(), 3f64.ln()];
    let (u, metrics) = loss(simd::level(), &logits, &answers, 3, 1.0);
    assert!((metrics.loss - (0.5 * 6f64.ln() + 2f64.ln())).abs() < 1e-15);
    assert_eq!(metrics.correct, 1);
    // Of equal logits, only the first is right.
    let right = |class: u32| {
        let answers = array![[class]];
        let answers = Answers::from(Targets::from(&answers));
        loss(simd::level(), &[7.0, 7.0, 0.0], &answers, 3, 1.0)
            .1
            .correct
    };
    assert_eq!((right(0), right(1)), (1, 0));
    // Of equal weights, the first is the class that is asked for.
    let even = array![[[0.5, 0.5, 0.0]]];
    let even = Answers::from(Targets::from(&even));
    let right = |logits: [f64; 3]| loss(simd::level(), &logits, &even, 3, 1.0).1.correct;
    assert_eq!((right([2.0, 1.0, 0.0]), right([1.0, 2.0, 0.0])), (1, 0));
    for (du, expected) in u.iter().zip([0.25 - 0.5, 0.5, 0.75 - 1.0]) {
        assert!((du - expected).abs() < 1e-15);
    }
}

#[test]
fn exact_where_the_probability_underflows() {
    let (level, logits) = (simd::level(), [1e4f32, -1e4, f32::NEG_INFINITY]);
    let (class, weights) = (array![[1u32]], array![[[1.0f32, 0.0, 0.0]]]);
    let of = |targets| {
        loss(
            level,
            &logits,
            &Answers {
                targets,
                mask: None,
            },
            3,
            1.0,
        )
        .1
        .loss
    };
    assert_eq!(of(Targets::Classes(class.view())), 2e4);
    assert_eq!(of(Targets::Values(weights.view())), 0.0);
}

/// The metrics of outputs `[n, n_y]` of one step of `n` sequences.
fn judged(loss: Loss, outputs: &[f64], targets: &[f64], n_y: usize) -> Metrics {
    let n = outputs.len() / n_y;
    let rows: Vec<usize> = (0..n).collect();
    let targets = Array3::from_shape_vec((n, 1, n_y), targets.to_vec()).unwrap();
    let step = LossStep {
        answers: &Answers::from(&targets),
        rows: &rows,
        step: 0,
        n_y,
        scale: 1.0,
        ranks: true,
    };
    f64::judge(simd::level(), loss, &mut outputs.to_vec(), step)
}

/// Against sums over all numbers at once, whichever way they are taken together.
#[test]
fn numbers_in_parts() {
    let targets = [3.0, -1.0, 4.0, 1e6, 0.5];
    let errors = [0.5, 0.25, -2.0, 1.0, 0.0];
    let outputs: Vec<f64> = targets.iter().zip(errors).map(|(t, e)| t + e).collect();
    let n = targets.len() as f64;
    let mean = targets.iter().sum::<f64>() / n;
    let spread: f64 = targets.iter().map(|target| (target - mean).powi(2)).sum();
    let squared: f64 = errors.iter().map(|error| error * error).sum();
    for cut in 0..=targets.len() {
        let both = judged(Loss::Mse, &outputs[..cut], &targets[..cut], 1)
            + judged(Loss::Mse, &outputs[cut..], &targets[cut..], 1);
        assert!((both.rmse() - (squared / n).sqrt()).abs() < 1e-12);
        assert!((both.mae() - 3.75 / n).abs() < 1e-12);
        assert!((both.r2() - (1.0 - squared / spread)).abs() < 1e-12);
    }
    // A mean that was put together is where the next part is added.
    let one = |target: &f64| judged(Loss::Mse, &[target + 1.0], &[*target], 1);
    let few = [3.0, -1.5, 4.25].iter().map(one);
    let r2 = few.fold(Metrics::default(), Metrics::add).r2();
    assert!(
        (r2 - (1.0 - 3.0 / (3.0 * (3.0f64 * 3.0 + 1.5 * 1.5 + 4.25 * 4.25) - 5.75 * 5.75) * 3.0))
            .abs()
            < 1e-12,
        "{r2}"
    );
}

#[test]
fn labels_by_hand() {
    // Said and there twice, said in vain, missed, and four times neither.
    let outputs = [1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0];
    let targets = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let metrics = judged(Loss::Binary, &outputs, &targets, 4);
    assert_eq!(metrics.label_accuracy(), 6.0 / 8.0);
    assert_eq!(metrics.f1(), 4.0 / 6.0);
}

#[test]
fn labels_by_the_thousand() {
    // A product of so many halves is no number any more.
    let metrics = judged(Loss::Binary, &[0.0; 1500], &[1.0; 1500], 1500);
    assert!((metrics.loss - 2f64.ln()).abs() < 1e-12, "{}", metrics.loss);
}

/// Places among the likeliest, the first of equals first.
#[test]
fn the_five_likeliest() {
    let logits = [3.0, 5.0, 5.0, 1.0, 9.0, 2.0, 5.0];
    let places = [4, 1, 2, 6, 0, 5, 3];
    let count = |class: usize, n_y: usize| {
        let classes = array![[class as u32]];
        let answers = Answers {
            targets: Targets::from(&classes),
            mask: None,
        };
        loss(simd::level(), &logits[..n_y], &answers, n_y, 1.0).1
    };
    let mut all = Metrics::default();
    for (class, place) in places.into_iter().enumerate() {
        let one = count(class, 7);
        let is = |holds| f64::from(u8::from(holds));
        let found = (one.accuracy(), one.top5_accuracy());
        assert_eq!(found, (is(place == 0), is(place < 5)), "class {class}");
        all += one;
    }
    let named = [("accuracy", 1.0 / 7.0), ("top5_accuracy", 5.0 / 7.0)];
    assert_eq!(all.named(Loss::CrossEntropy), named);
    // Of five classes all are among the five likeliest.
    let mut of_five = count(4, 5);
    of_five += count(3, 5);
    assert_eq!(of_five.named(Loss::CrossEntropy), [("accuracy", 0.5)]);
}
