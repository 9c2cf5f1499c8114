//! A run that was interrupted, saved to a file, read and resumed is the run in one piece, to the bit.

use crate::support::{ALGORITHMS, architectures_of, loaders, options, sequences};
use bptt::model::About;
use bptt::optim::{Algorithm, OptimizerOptions};
use bptt::train::history::{check_last, first_reports};
use bptt::train::{
    Checkpoint, Control, Observer, Progress, Report, Schedule, StepReport, StopReason,
    TrainOptions, Trainer,
};
use bptt::{Architecture, Dropout, Init, Network, Result, Scalar};

/// A run of 17 updates with a report every 5, in windows of 4 steps, so that states are carried; with dropout, and a rate
/// that is halved now and then.
pub fn trainer<T: Scalar>(
    architecture: Architecture,
    algorithm: Algorithm,
    threads: usize,
) -> Trainer<T> {
    let network = Network::<T>::new(architecture, Init::Orthogonal, 2).unwrap();
    let [data, valid] = loaders(&architecture, sequences(&architecture, (23, 11), 2), 4);
    let options = TrainOptions {
        steps: 17,
        lr: 0.05,
        schedule: Schedule::HalveOnPlateau,
        warmup: 3,
        optimizer: OptimizerOptions {
            algorithm,
            weight_decay: 1e-3,
            ..OptimizerOptions::default()
        },
        engine: options(threads, 3),
        dropout: Dropout {
            inputs: 0.1,
            outputs: 0.3,
            seed: 4,
        },
        report_every: 5,
        ..TrainOptions::default()
    };
    Trainer::new(network, data, options)
        .unwrap()
        .with_validation(valid)
}

/// Stops after so many steps.
pub struct Until(pub u64);

impl<T: Scalar> Observer<T> for Until {
    fn step(&mut self, _: &Trainer<T>, step: &StepReport) -> Result<Control> {
        Ok(match step.step >= self.0 {
            true => Control::Stop,
            false => Control::Continue,
        })
    }
}

/// Keeps every report.
struct Reports(Vec<Report>);

impl<T: Scalar> Observer<T> for Reports {
    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        self.0.push(report.clone());
        Ok(())
    }
}

/// The end of a run, and the numbers on its way: those that were there, and those that every rank sees.
pub fn outcome<T: Scalar>(mut run: Trainer<T>) -> (Checkpoint<T>, Vec<f64>) {
    let mut reports = Reports(run.history().to_vec());
    assert_eq!(run.run(&mut reports).unwrap(), StopReason::Finished);
    match run.engine().rank() {
        0 => assert_eq!(run.history(), reports.0),
        _ => assert_eq!(run.history(), &reports.0[reports.0.len() - 1..]),
    }
    let numbers = reports.0.iter();
    let numbers = numbers.flat_map(|r| [r.train_loss, r.valid_loss.unwrap(), r.grad_norm, r.lr]);
    (run.checkpoint(), numbers.collect())
}

/// After any step, with any number of threads before and after.
#[test]
fn a_run_that_was_interrupted_ends_as_one_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.safetensors");
    for (i, architecture) in architectures_of(4, 9, 5).enumerate() {
        let algorithm = ALGORITHMS[i % ALGORITHMS.len()];
        let whole = outcome(trainer::<f32>(architecture, algorithm, 2));
        assert!(
            whole.0.parameters
                != *trainer::<f32>(architecture, algorithm, 1)
                    .network()
                    .parameters()
        );
        for stop in [1, 5, 7, 16] {
            let mut run = trainer::<f32>(architecture, algorithm, 1);
            assert_eq!(run.run(&mut Until(stop)).unwrap(), StopReason::Interrupted);
            run.checkpoint().write(&path, &About::default()).unwrap();
            let history = run.history().to_vec();
            drop(run);

            let (read, _) = Checkpoint::read(&path).unwrap();
            let mut run = trainer::<f32>(architecture, algorithm, 3);
            run.restore(read, history).unwrap();
            assert_eq!(run.progress().step, stop);
            assert!(
                outcome(run) == whole,
                "{architecture}, {algorithm:?}, after step {stop}"
            );
        }
    }
}

/// Interrupted again and again, in double precision, with every optimiser.
#[test]
fn any_number_of_interruptions() {
    let architecture = architectures_of(4, 9, 5).last().unwrap();
    for algorithm in ALGORITHMS {
        let whole = outcome(trainer::<f64>(architecture, algorithm, 2));
        let mut run = trainer::<f64>(architecture, algorithm, 2);
        for stop in (2..17).step_by(3) {
            run.run(&mut Until(stop)).unwrap();
            let (checkpoint, history) = (run.checkpoint(), run.history().to_vec());
            run = trainer::<f64>(architecture, algorithm, 2);
            run.restore(checkpoint, history).unwrap();
        }
        assert!(outcome(run) == whole, "{algorithm:?}");
    }
}

/// A line of `history.jsonl`.
const LINE: &str = r#"{"step":1,"epoch":0.1,"tokens":5,"train_loss":1.5,"valid_loss":null,"lr":0.1,"grad_norm":1.0,"divergences":0,"tokens_per_second":9.0}"#;

#[test]
fn a_last_report_is_of_the_checkpoint() {
    let report = |line: &str| -> Vec<Report> { vec![serde_json::from_str(line).unwrap()] };
    let progress = |step, tokens, lr, divergences| Progress {
        step,
        tokens,
        lr,
        divergences,
        ..Progress::default()
    };
    let history = report(LINE);
    assert!(check_last(&[], &progress(1, 5, 0.1, 0)).is_ok());
    for (fits, progress) in [
        (true, progress(1, 5, 0.1, 0)),
        (true, progress(1, 5, 0.1, 2)),
        (false, progress(2, 5, 0.1, 0)),
        (false, progress(1, 6, 0.1, 0)),
        (false, progress(1, 5, 0.2, 0)),
    ] {
        assert_eq!(
            check_last(&history, &progress).is_ok(),
            fits,
            "{progress:?}"
        );
    }
    let diverged = report(&LINE.replace("\"divergences\":0", "\"divergences\":3"));
    assert!(check_last(&diverged, &progress(1, 5, 0.1, 2)).is_err());
    // Steps since the last report: both are behind the checkpoint.
    let pending = r#"{"steps":1,"loss":1.0,"counted":3,"norm":1.0}"#;
    for (fits, step, tokens) in [(true, 2, 8), (false, 2, 5), (false, 1, 8)] {
        let progress = Progress {
            pending: serde_json::from_str(pending).unwrap(),
            ..progress(step, tokens, 0.1, 0)
        };
        assert_eq!(
            check_last(&history, &progress).is_ok(),
            fits,
            "{progress:?}"
        );
    }
}

#[test]
fn half_a_line_is_no_report() {
    let text = format!("{LINE}\n{LINE}\n{}", &LINE[..40]);
    let (history, bytes) = first_reports(text.as_bytes(), 2).unwrap();
    assert_eq!((history.len(), bytes), (2, 2 * (LINE.len() as u64 + 1)));
    // Neither is a whole one whose end is missing: the next would be written behind it.
    for cut in [1, 20, LINE.len() + 1] {
        let text = &text[..2 * LINE.len() + 2 - cut];
        let error = first_reports(text.as_bytes(), 2).unwrap_err().to_string();
        assert!(error.contains("1 whole line"), "{error}");
    }
    let (history, bytes) = first_reports(b"\xff not even text", 0).unwrap();
    assert_eq!((history.len(), bytes), (0, 0));
    assert!(first_reports(b"{}\n", 1).is_err());
    assert!(first_reports(b"", u64::MAX).is_err());
}
