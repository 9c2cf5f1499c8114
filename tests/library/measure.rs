//! Measuring: sizes by name and as text, medians, and steps that train.

use bptt::internal::measure::{Shape, Speed, Workload, median};
use bptt::{Cell, EngineOptions};
use std::time::Duration;

#[test]
fn shapes_are_named_or_numbers() {
    let charlm: Shape = "charlm".parse().unwrap();
    assert_eq!(charlm.sizes(), [64, 100, 64, 256, 64]);
    assert_eq!(charlm, "64, 100,64,256,64".parse().unwrap());
    assert_eq!(charlm.to_string(), "charlm");
    let other: Shape = "1,2,3,4,5".parse().unwrap();
    assert_eq!(
        (other.name(), other.to_string()),
        (None, "1,2,3,4,5".into())
    );
    assert_eq!(Shape::all_named().count(), 7);
    for wrong in [
        "tiny",
        "",
        "1,2,3,4",
        "1,2,3,4,5,6",
        "1,2,3,4,0",
        "0,2,3,4,5",
        "1,2,3,4,-5",
    ] {
        let message = wrong.parse::<Shape>().unwrap_err().to_string();
        assert!(
            message.contains(wrong) || message.contains('0'),
            "{message}"
        );
    }
}

#[test]
fn medians_by_hand() {
    assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    assert_eq!(median(&mut [7.0]), 7.0);
}

#[test]
fn speed_by_hand() {
    let speed = Speed {
        communication: 0.0,
        shape: Shape::new([2, 5, 3, 4, 1]).unwrap(),
        step: 0.5,
        roof: 7680.0,
        fraction: 0.5,
        steps: 1,
        rounds: 1,
    };
    // 6 x 10 steps x 4 x (4 + 3 + 1) = 1920 operations in half a second.
    assert_eq!(speed.flops(), 3840.0);
    assert_eq!(speed.tokens_per_second(), 20.0);
}

#[test]
fn steps_of_every_kind_train() {
    let shape = Shape::new([4, 6, 5, 16, 5]).unwrap();
    let options = EngineOptions {
        threads: 2,
        shards: 3,
        ..EngineOptions::default()
    };
    for (cell, tokens) in [
        (Cell::Tanh, false),
        (Cell::Relu, true),
        (Cell::Gru, false),
        (Cell::Lstm, true),
    ] {
        let shape = shape.of(cell, 2, tokens).unwrap();
        let mut workload = Workload::<f64>::new(shape, options, 0).unwrap();
        assert_eq!(workload.engine.shards(), 3);
        let mut seconds = Vec::new();
        workload.time(Duration::ZERO, &mut seconds).unwrap();
        assert!(seconds.len() == 1 && seconds[0] > 0.0, "{seconds:?}");
        let first = workload.step().unwrap();
        for _ in 0..20 {
            workload.step().unwrap();
        }
        let last = workload.step().unwrap();
        assert!(last < first, "{first} {last}: the update descends");
    }
}
