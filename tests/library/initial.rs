//! How weights are drawn: with the variance, the orthogonal gates and the biases of the text.

use bptt::architecture::Which;
use bptt::init::initialize;
use bptt::{Architecture, Cell, Head, Init, Input};
use ndarray::{Array2, Axis};

fn network() -> Architecture {
    Architecture {
        layers: 2,
        ..Architecture::new(Input::Features(40), 60, Head::softmax(50))
    }
}

#[test]
fn glorot_has_the_variance_of_the_text_for_every_weight() {
    let p = initialize::<f64>(network(), Init::Glorot, 7).unwrap();
    for (which, expected) in [
        (Which::WeightIh(0), 2.0 / 100.0),
        (Which::WeightHh(0), 2.0 / 120.0),
        (Which::WeightIh(1), 2.0 / 120.0),
        (Which::WeightHh(1), 2.0 / 120.0),
        (Which::Decoder, 2.0 / 110.0),
    ] {
        let (name, w) = (which, p.matrix(which));
        let variance = w.mapv(|x| x * x).mean().unwrap();
        // The sample variance of 2,400 or more normals lies within 15 % (more than five deviations).
        assert!(
            (variance / expected - 1.0).abs() < 0.15,
            "{name:?}: {variance} against {expected}"
        );
        assert!(
            w.mean().unwrap().abs() < 5.0 * (expected / w.len() as f64).sqrt(),
            "{name:?}"
        );
    }
    let biases = p.iter().filter(|(tensor, _)| tensor.which.is_bias());
    assert!(biases.flat_map(|(_, values)| values).all(|&b| b == 0.0));
}

/// Over many draws, closer than a tenth: of every kind of tensor that is drawn.
#[test]
fn variances_are_met_to_a_few_hundredths() {
    let network = Architecture {
        layers: 2,
        ..Architecture::new(
            Input::Embedding {
                tokens: 30,
                size: 20,
            },
            40,
            Head::softmax(30),
        )
    };
    let variance = |init, which: Which| {
        let (mut squares, mut count) = (0.0, 0);
        for seed in 0..20 {
            let p = initialize::<f64>(network, init, seed).unwrap();
            squares += p.get(which).iter().map(|x| x * x).sum::<f64>();
            count += p.get(which).len();
        }
        squares / count as f64
    };
    // PyTorch's are uniform up to the square root of 1 / 40; embeddings are normal in both.
    let uniform = 1.0 / 40.0 / 3.0;
    for (init, which, expected) in [
        (Init::Glorot, Which::Encoder, 1.0 / 20.0),
        (Init::Glorot, Which::WeightIh(0), 2.0 / 60.0),
        (Init::Glorot, Which::WeightHh(1), 2.0 / 80.0),
        (Init::Glorot, Which::Decoder, 2.0 / 70.0),
        (Init::Pytorch, Which::Encoder, 1.0),
        (Init::Pytorch, Which::WeightIh(0), uniform),
        (Init::Pytorch, Which::WeightHh(1), uniform),
        (Init::Pytorch, Which::Bias(1), 2.0 * uniform),
        (Init::Pytorch, Which::Decoder, uniform),
        (Init::Pytorch, Which::DecoderBias, uniform),
    ] {
        let found = variance(init, which);
        // Four deviations or more; of the few biases, as near as they can be told.
        let tolerance = if which.is_bias() { 0.25 } else { 0.06 };
        assert!(
            (found / expected - 1.0).abs() < tolerance,
            "{init:?} {which:?}: {found} {expected}"
        );
    }
}

#[test]
fn each_gate_is_orthogonal_or_the_identity() {
    for cell in Cell::ALL {
        let network = Architecture { cell, ..network() };
        let orthogonal = initialize::<f64>(network, Init::Orthogonal, 7).unwrap();
        let identity = initialize::<f64>(network, Init::Identity, 7).unwrap();
        for layer in 0..2 {
            let w = orthogonal.matrix(Which::WeightHh(layer));
            for gate in w.axis_chunks_iter(Axis(0), 60) {
                let residual = gate.dot(&gate.t()) - Array2::<f64>::eye(60);
                assert!(residual.iter().all(|x| x.abs() < 1e-13));
                assert!(gate[[0, 0]].abs() < 0.9, "not the identity");
            }
            let w = identity.matrix(Which::WeightHh(layer));
            for gate in w.axis_chunks_iter(Axis(0), 60) {
                assert_eq!(gate, Array2::<f64>::eye(60));
            }
            let bias = orthogonal.get(Which::Bias(layer));
            let ones = bias.iter().filter(|&&b| b == 1.0).count();
            let zeros = bias.iter().filter(|&&b| b == 0.0).count();
            let expected = if cell == Cell::Lstm { 60 } else { 0 };
            assert_eq!((ones, zeros), (expected, bias.len() - expected));
            assert!(
                cell != Cell::Lstm || bias[60] == 1.0,
                "the second gate forgets"
            );
        }
    }
}

#[test]
fn the_seed_decides_and_the_type_only_rounds() {
    let draw = |seed| initialize::<f64>(network(), Init::Orthogonal, seed).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_eq!(
        initialize::<f32>(network(), Init::Orthogonal, 1).unwrap(),
        draw(1).cast::<f32>()
    );
}
