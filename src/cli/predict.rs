//! `bptt predict`: probabilities at every step of every sequence.

use super::args::PredictArgs;
use super::model::{engine, with_model};
use super::output::{BAR, Output};
use super::{Done, memory};
use anyhow::{Context, Result};
use bptt::data::{EVALUATION_ROWS as ROWS, EVALUATION_STEPS as STEPS, Sequences};
use bptt::internal::atomic::replace;
use bptt::model::Model;
use bptt::{Engine, Inputs, Network, Scalar};
use ndarray::{Array2, Array3, s};
use ndarray_npy::{NpzWriter, WritableElement};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Sequences that are computed at a time for each shard, if that is more than [`ROWS`]: full matrix products, not tuned
/// beyond that. The state is carried on from [`STEPS`] steps to the next, so that the memory needed beside inputs and
/// probabilities depends on neither's number.
const ROWS_PER_SHARD: usize = 16;

pub fn run(args: &PredictArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| predict(args, model, output))
}

fn predict<T: Scalar + WritableElement>(
    args: &PredictArgs,
    model: Model<T>,
    output: Output,
) -> Result<Done> {
    let input = args.input.display();
    let bytes = Sequences::<T>::npz_memory(&args.input, false)?;
    memory::check_reading(&args.input, bytes, "use fewer or shorter sequences")?;
    let inputs = Sequences::<T>::inputs_only(&args.input)?;
    let model = model.reading(matches!(inputs.view(), Inputs::Tokens(_)));
    let fits = inputs.view().check(model.network.architecture().input);
    fits.with_context(|| format!("{input} does not fit {}", args.model.display()))?;
    let engine = engine(&model.network, args.threads)?;
    let probabilities = compute(engine, &model.network, inputs.view(), output)?;

    let path = args.out.clone().unwrap_or_else(|| beside(&args.input));
    replace(&path, |file| {
        let mut npz = NpzWriter::new(BufWriter::new(file));
        let other = std::io::Error::other;
        npz.add_array("probabilities", &probabilities)
            .map_err(other)?;
        npz.finish().map_err(other)?.flush()
    })?;
    let shape = probabilities.shape();
    output.event(
        "predict",
        &json!({ "out": path.to_string_lossy(), "shape": shape, "dtype": T::NAME }),
    )?;
    output.text(format_args!(
        "probabilities {shape:?} {}: {}",
        T::NAME,
        path.display()
    ))?;
    Ok(Done::Finished)
}

/// The probabilities `[N, T, n_y]` of all sequences, a part of them at a time.
fn compute<T: Scalar>(
    mut engine: Engine<T>,
    network: &Network<T>,
    inputs: Inputs<'_, T>,
    output: Output,
) -> Result<Array3<T>> {
    let (architecture, (n, t)) = (network.architecture(), inputs.sequences());
    let n_y = architecture.head.outputs;
    let rows = ROWS.max(ROWS_PER_SHARD * engine.shards());
    let (part_rows, part_steps) = (rows.min(n), STEPS.min(t));
    // All of them, and those of a part once more.
    let steps = n as f64 * t as f64 + (part_rows * part_steps) as f64;
    let bytes = steps * n_y as f64 * size_of::<T>() as f64;
    memory::check(
        bytes + engine.bytes(part_rows, part_steps)? as f64,
        engine.threads(),
        &format!("predicting [{n}, {t}, {n_y}] probabilities"),
        "give fewer sequences at a time",
    )?;
    let bar = output.bar((n * t) as u64, BAR);
    let mut probabilities = Array3::zeros((n, t, n_y));
    for begin in (0..n).step_by(rows) {
        let rows = begin..(begin + rows).min(n);
        let mut state = Array2::zeros((rows.len(), architecture.state()));
        for begin in (0..t).step_by(STEPS) {
            let steps = begin..(begin + STEPS).min(t);
            let dense = s![rows.clone(), steps.clone(), ..];
            let part = match inputs {
                Inputs::Dense(x) => Inputs::Dense(x.slice_move(dense)),
                Inputs::Tokens(x) => Inputs::Tokens(x.slice_move(s![rows.clone(), steps.clone()])),
            };
            let y = engine.predict(network, part, Some(&mut state))?;
            probabilities.slice_mut(dense).assign(&y);
            bar.inc((rows.len() * steps.len()) as u64);
        }
    }
    bar.finish_and_clear();
    Ok(probabilities)
}

/// `a/set.npz` to `a/set-probabilities.npz`.
fn beside(input: &Path) -> PathBuf {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    input.with_file_name(format!("{stem}-probabilities.npz"))
}
