//! Choosing tokens: frequencies, and what the seed decides.

use bptt::sample::{SampleOptions, Sampler};

fn counts(options: SampleOptions, p: &[f64]) -> Vec<usize> {
    let mut sampler = Sampler::new(options).unwrap();
    let mut counts = vec![0; p.len()];
    for _ in 0..20_000 {
        counts[sampler.choose(p) as usize] += 1;
    }
    counts
}

#[test]
fn frequencies_follow_the_formula() {
    let p = [0.5, 0.0, 0.3, 0.2];
    for (temperature, top_k) in [(1.0, None), (0.5, None), (2.0, Some(2))] {
        let options = SampleOptions {
            temperature,
            top_k,
            seed: 7,
        };
        let mut q = p.map(|p: f64| p.powf(1.0 / temperature));
        if top_k == Some(2) {
            q[3] = 0.0;
        }
        let sum: f64 = q.iter().sum();
        for (count, q) in counts(options, &p).into_iter().zip(q) {
            // Four standard deviations of a count are at most 283.
            assert!((count as f64 - 20_000.0 * q / sum).abs() < 283.0);
            assert!(q > 0.0 || count == 0);
        }
    }
}

#[test]
fn zero_temperature_and_seeds_are_deterministic() {
    let greedy = SampleOptions {
        temperature: 0.0,
        ..SampleOptions::default()
    };
    assert_eq!(counts(greedy, &[0.3, 0.4, 0.3]), [0, 20_000, 0]);
    // Of equals the first, also where only some of them are left.
    assert_eq!(counts(greedy, &[0.2, 0.4, 0.4]), [0, 20_000, 0]);
    let two = SampleOptions {
        top_k: Some(2),
        ..SampleOptions::default()
    };
    let [first, second, third, _] = counts(two, &[0.3, 0.3, 0.3, 0.1])[..] else {
        unreachable!("four tokens");
    };
    assert!(first > 9_000 && second > 9_000 && third == 0);
    let seeded = SampleOptions {
        seed: 3,
        ..SampleOptions::default()
    };
    let p = [0.3, 0.4, 0.3];
    assert_eq!(counts(seeded, &p), counts(seeded, &p));
    for (temperature, top_k) in [(f64::NAN, None), (-1.0, None), (1.0, Some(0))] {
        let options = SampleOptions {
            temperature,
            top_k,
            seed: 0,
        };
        assert!(Sampler::new(options).is_err());
    }
}
