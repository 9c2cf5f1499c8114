//! `bptt predict`: what a network answers, at every step of every sequence or once for each.

use super::args::PredictArgs;
use super::model::engine;
use super::output::{BAR, Output, is_same_file};
use super::{Done, memory};
use anyhow::{Context, Result, bail};
use bptt::data::{OwnedInputs, Sequences};
use bptt::internal::npz;
use bptt::model::Model;
use bptt::{At, Loss, Scalar};
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn run<T: Scalar>(args: &PredictArgs, model: Model<T>, output: Output) -> Result<Done> {
    let input = args.input.display();
    let out = args.out.as_ref();
    if out.is_some_and(|out| is_same_file(out, &args.input)) {
        bail!("--out: {input} is what is read, choose another file");
    }
    let bytes = Sequences::<T>::npz_memory(&args.input, false)?;
    memory::check_reading(&args.input, bytes, "use fewer or shorter sequences")?;
    let (inputs, lengths) = Sequences::<T>::inputs_only(&args.input)?;
    let network = model
        .reading(matches!(inputs, OwnedInputs::Tokens(_)))
        .network;
    let (head, inputs) = (network.architecture().head, inputs.view());
    let fits = inputs.check(network.architecture().input);
    fits.with_context(|| format!("{input} does not fit {}", args.model.display()))?;

    let mut engine = engine(&network, args.threads)?;
    let (n, t) = inputs.sequences();
    memory::check_predicting(&engine, (n, t))?;
    let bar = output.bar((n * t) as u64, BAR);
    let answers = engine.predict_in_parts(&network, inputs, lengths.as_deref(), |steps| {
        bar.inc(steps);
        Ok(output.check_interrupted()?)
    })?;
    bar.finish_and_clear();
    if let Some(((row, step, _), _)) = answers.indexed_iter().find(|(_, y)| !y.is_finite()) {
        bail!(
            "{input}: the answers to inputs [{row}, {step}] are no finite numbers: the inputs or the weights of {} are too large",
            args.model.display()
        );
    }

    let name = match head.loss {
        Loss::CrossEntropy | Loss::Binary => "probabilities",
        Loss::Mse | Loss::Huber => "values",
    };
    let shape = match head.at {
        At::Every => answers.shape().to_vec(),
        At::Last => vec![n, head.outputs],
    };
    let path = out.map_or_else(|| beside(&args.input, name), PathBuf::clone);
    let bytes = bytemuck::cast_slice(answers.as_slice().expect("in C order"));
    npz::write(&path, [(name, npz::float::<T>(), &shape[..], bytes)])?;
    let out = path.to_string_lossy();
    let fields = json!({ "out": out, "array": name, "shape": shape, "dtype": T::NAME });
    output.event("predict", &fields)?;
    output.text(format_args!("{name} {shape:?} {}: {out}", T::NAME))?;
    Ok(Done::Finished)
}

/// `a/set.npz` to `a/set-probabilities.npz`.
fn beside(input: &Path, name: &str) -> PathBuf {
    let mut file = input.file_stem().unwrap_or_default().to_owned();
    file.push(format!("-{name}.npz"));
    input.with_file_name(file)
}
