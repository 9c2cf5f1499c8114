//! What does not fit is refused, with the name of the array and what would have fitted.

use crate::support::{Form, Problem, architectures, engine};
use bptt::{
    Architecture, At, Batch, Engine, EngineOptions, Error, Head, Input, Network, Parameters,
};
use ndarray::{Array2, Array3, array};

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let tokens = Architecture::new(Input::Tokens(3), 4, Head::softmax(2));
    let network = Network::from_parameters(Parameters::zeros(tokens));
    let mut engine = engine::<f64>(tokens, 1, 1);
    let (ids, classes) = (array![[0u32, 1, 2]], array![[0u32, 1, 1]]);
    let mut refuse = |batch: Batch<'_, f64>, words: &[&str]| {
        let gradient = engine.gradient(&network, &batch).unwrap_err().to_string();
        assert!(
            words.iter().all(|word| gradient.contains(word)),
            "{gradient}"
        );
        let evaluation = engine
            .evaluate(&network, &batch, None)
            .unwrap_err()
            .to_string();
        assert_eq!(evaluation, gradient);
    };
    refuse(
        Batch::new(&array![[0u32, 3, 2]], &classes),
        &["inputs", "[0, 1]", "3"],
    );
    refuse(
        Batch::new(&ids, &array![[0u32, 1, 2]]),
        &["targets", "[0, 2]", "2"],
    );
    refuse(
        Batch::new(&ids, &array![[0u32, 1]]),
        &["targets", "[1, 2]", "[1, 3]"],
    );
    refuse(
        Batch::new(&ids, &Array3::zeros((1, 3, 5))),
        &["targets", "[1, 3, 5]"],
    );
    refuse(
        Batch::new(&Array3::zeros((1, 3, 3)), &classes),
        &["inputs", "ids"],
    );
    refuse(
        Batch::new(&Array2::<u32>::zeros((0, 3)), &classes),
        &["inputs", "[0, 3]"],
    );
    let nothing = array![[false, false, false]];
    refuse(
        Batch::new(&ids, &classes).with_mask(nothing.view()),
        &["no time step counts"],
    );
    refuse(
        Batch::new(&ids, &classes).with_mask(array![[true]].view()),
        &["mask", "[1, 1]"],
    );

    let features = Architecture {
        input: Input::Features(3),
        ..tokens
    };
    let network = Network::from_parameters(Parameters::zeros(features));
    let mut engine = self::engine::<f64>(features, 1, 1);
    for (inputs, words) in [
        (Array3::zeros((1, 3, 2)), ["inputs", "[1, 3, 2]"]),
        (Array3::zeros((1, 0, 3)), ["inputs", "[1, 0, 3]"]),
    ] {
        let error = engine
            .gradient(&network, &Batch::new(&inputs, &classes))
            .unwrap_err()
            .to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let error = engine
        .gradient(&network, &Batch::new(&ids, &classes))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("inputs") && error.contains("features"),
        "{error}"
    );
}

/// A state is `[N, W]`, of all layers and of all that their cells carry.
#[test]
fn states_and_lengths_that_do_not_fit() {
    for (i, architecture) in architectures().enumerate() {
        let problem = Problem::<f64>::random(Form::ALL[i % 16], architecture, (4, 5), 1);
        let (network, mut engine) = (&problem.network, engine(architecture, 1, 2));
        for shape in [
            (3, architecture.state()),
            (4, architecture.state() + 1),
            (4, 1),
        ] {
            let mut state = Array2::zeros(shape);
            let errors = [
                engine
                    .evaluate(network, &problem.batch(), Some(&mut state))
                    .map(|_| ()),
                engine
                    .predict(network, problem.inputs(), Some(&mut state))
                    .map(|_| ()),
            ];
            for error in errors.map(Result::unwrap_err) {
                assert!(
                    matches!(error, Error::Shape { what: "state", .. }),
                    "{error}"
                );
            }
        }
        for lengths in [&[1; 3][..], &[6; 4]] {
            let error = engine
                .gradient(network, &problem.batch().with_lengths(lengths))
                .unwrap_err();
            assert!(error.to_string().contains("lengths"), "{error}");
        }
        let error = engine.gradient(network, &problem.batch().with_lengths(&[0; 4]));
        match architecture.head.at {
            At::Every => assert!(matches!(error, Err(Error::NothingCounts))),
            At::Last => assert!(error.unwrap_err().to_string().contains("lengths")),
        }
    }
}

#[test]
fn architectures_and_engines_out_of_range() {
    let good = architectures().next().unwrap();
    let options = EngineOptions::default();
    for bad in [
        Architecture { hidden: 0, ..good },
        Architecture { layers: 0, ..good },
        Architecture {
            layers: 300,
            ..good
        },
    ] {
        assert!(matches!(
            Engine::<f32>::new(bad, options),
            Err(Error::Option { .. })
        ));
    }
    let many = EngineOptions {
        shards: 70_000,
        ..options
    };
    let error = Engine::<f32>::new(good, many).unwrap_err().to_string();
    assert!(error.contains("shards: 70000"), "{error}");
}
