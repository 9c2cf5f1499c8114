//! What a network is made of: its table of tensors, its sizes, and the slices that are its parameters.

use bptt::architecture::Which;
use bptt::{Architecture, Head, Input, Parameters};

#[test]
fn the_table_fills_the_buffer_in_order() {
    for input in [Input::Features(2), Input::Tokens(5)] {
        for layers in 1..4 {
            let architecture = Architecture {
                layers,
                ..Architecture::new(input, 3, Head::softmax(4))
            };
            let mut end = 0;
            for tensor in architecture.tensors() {
                assert_eq!(tensor.begin, end, "{:?}", tensor.which);
                assert_eq!(tensor.shape().iter().product::<usize>(), tensor.len());
                assert_eq!(architecture.tensor(tensor.which), tensor);
                end = tensor.range().end;
            }
            assert_eq!(architecture.len(), end);
            assert_eq!(architecture.parameters(), end as f64);
        }
    }
}

#[test]
fn operations_by_hand() {
    let one = Architecture::new(Input::Features(3), 4, Head::softmax(1));
    assert_eq!(one.flops(2, 5), 6.0 * 10.0 * (4 * (4 + 3 + 1)) as f64);
    let two = Architecture { layers: 2, ..one };
    assert_eq!(two.flops(2, 5) - one.flops(2, 5), 60.0 * 32.0);
    let looked_up = Architecture {
        input: Input::Tokens(300),
        ..one
    };
    assert_eq!(one.flops(2, 5) - looked_up.flops(2, 5), 60.0 * 12.0);
}

#[test]
fn sizes_must_be_positive() {
    let good = Architecture::new(Input::Tokens(3), 4, Head::softmax(2));
    good.check().unwrap();
    for (bad, word) in [
        (Architecture { hidden: 0, ..good }, "hidden: 0"),
        (
            Architecture {
                layers: 257,
                ..good
            },
            "layers: 257",
        ),
        (
            Architecture {
                input: Input::Features(0),
                ..good
            },
            "n_x: 0",
        ),
        (
            Architecture {
                head: Head::softmax((1 << 24) + 1),
                ..good
            },
            "n_y: 16777217",
        ),
    ] {
        let error = bad.check().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn every_tensor_is_its_own_slice() {
    let architecture = Architecture::new(Input::Features(2), 3, Head::softmax(4));
    let numbers = (0..architecture.len()).map(|i| i as f64).collect();
    let mut p = Parameters::from_vec(architecture, numbers).unwrap();
    assert_eq!(p.matrix(Which::WeightIh(0))[[2, 1]], 5.0);
    assert_eq!(p.matrix(Which::WeightHh(0))[[0, 0]], 6.0);
    assert_eq!(p.matrix(Which::Decoder)[[3, 2]], 26.0);
    assert_eq!(
        (p.get(Which::Bias(0))[0], p.get(Which::DecoderBias)[3]),
        (27.0, 33.0)
    );
    for (tensor, elements) in p.iter() {
        assert_eq!(elements, p.get(tensor.which), "{:?}", tensor.which);
    }
    p.matrix_mut(Which::Decoder)[[0, 0]] = -1.0;
    assert_eq!(p.as_slice()[15], -1.0);
    assert!(Parameters::from_vec(architecture, vec![0.0f32; 4]).is_err());
}
