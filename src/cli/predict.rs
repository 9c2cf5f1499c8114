//! `bptt predict`: probabilities at every step of every sequence.

use super::args::PredictArgs;
use super::output::Output;
use super::train::with_model;
use super::{Done, memory};
use anyhow::{Context, Result, bail};
use bptt::data::Sequences;
use bptt::file::write_atomically;
use bptt::model::Model;
use bptt::{Engine, EngineOptions, Inputs, Scalar};
use ndarray_npy::{NpzWriter, WritableElement};
use serde_json::json;
use std::io::Cursor;
use std::path::{Path, PathBuf};

pub fn run(args: &PredictArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| predict(args, &model, output))
}

fn predict<T: Scalar + WritableElement>(
    args: &PredictArgs,
    model: &Model<T>,
    output: Output,
) -> Result<Done> {
    let dims = model.rnn.dims();
    let inputs = Sequences::<T>::inputs_only(&args.input)?;
    let fits = || {
        format!(
            "{} does not fit {}",
            args.input.display(),
            args.model.display()
        )
    };
    if let (Inputs::Dense(_), Some(true)) = (inputs.view(), model.about.tokens) {
        bail!("{}: `inputs` are floats, the model reads token ids", fits());
    }
    if let (Inputs::Tokens(_), Some(false)) = (inputs.view(), model.about.tokens) {
        bail!(
            "{}: `inputs` are integers, the model reads {} features a step",
            fits(),
            dims.n_x
        );
    }
    inputs.view().check(dims).with_context(fits)?;
    let (n, t) = inputs.sequences();
    // In the engine, as the result, and as the file.
    let probabilities = 3.0 * n as f64 * t as f64 * dims.n_y as f64 * size_of::<T>() as f64;
    memory::check(
        probabilities,
        &format!("predicting [{n}, {t}, {}] probabilities", dims.n_y),
        "give fewer sequences at a time",
    )?;
    let options = EngineOptions {
        threads: args.threads.unwrap_or(0),
        shards: 0,
    };
    let mut engine = Engine::new(dims, options)?;
    let probabilities = engine.predict(model.rnn.parameters(), inputs.view(), None)?;

    let path = args.out.clone().unwrap_or_else(|| beside(&args.input));
    let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
    npz.add_array("probabilities", &probabilities)?;
    write_atomically(&path, npz.finish()?.get_ref())?;
    let shape = probabilities.shape();
    output.event(
        "predict",
        &json!({ "out": path, "shape": shape, "dtype": T::NAME }),
    )?;
    output.text(format_args!(
        "probabilities {shape:?} {}: {}",
        T::NAME,
        path.display()
    ))?;
    Ok(Done::Finished)
}

/// `a/set.npz` to `a/set-probabilities.npz`.
fn beside(input: &Path) -> PathBuf {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    input.with_file_name(format!("{stem}-probabilities.npz"))
}
