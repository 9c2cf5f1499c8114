//! `bptt predict`: what a network answers, at every step of every sequence or once for each.

use super::args::PredictArgs;
use super::model::{engine, with_model};
use super::output::{BAR, Output, is_same_file};
use super::{Done, memory};
use anyhow::{Context, Result, bail};
use bptt::data::{OwnedInputs, Sequences};
use bptt::internal::atomic::replace;
use bptt::model::Model;
use bptt::{At, Inputs, Loss, Network, Scalar};
use ndarray::{Array3, Axis};
use ndarray_npy::{NpzWriter, WritableElement};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub fn run(args: &PredictArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| predict(args, model, output))
}

fn predict<T: Scalar + WritableElement>(
    args: &PredictArgs,
    model: Model<T>,
    output: Output,
) -> Result<Done> {
    let input = args.input.display();
    if args
        .out
        .as_ref()
        .is_some_and(|out| is_same_file(out, &args.input))
    {
        bail!("--out: {input} is what is read, choose another file");
    }
    let bytes = Sequences::<T>::npz_memory(&args.input, false)?;
    memory::check_reading(&args.input, bytes, "use fewer or shorter sequences")?;
    let (inputs, lengths) = Sequences::<T>::inputs_only(&args.input)?;
    let model = model.reading(matches!(inputs, OwnedInputs::Tokens(_)));
    let head = model.network.architecture().head;
    let fits = inputs.view().check(model.network.architecture().input);
    fits.with_context(|| format!("{input} does not fit {}", args.model.display()))?;
    let lengths = lengths.as_deref();
    let answers = compute(args, &model.network, inputs.view(), lengths, output)?;
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
    let answers = match head.at {
        At::Every => answers.into_dyn(),
        At::Last => answers.index_axis_move(Axis(1), 0).into_dyn(),
    };
    let out = args.out.clone();
    let path = out.unwrap_or_else(|| beside(&args.input, name));
    replace(&path, |file| {
        let mut file = Patient { file, error: None };
        let mut npz = NpzWriter::new(BufWriter::new(&mut file));
        let other = std::io::Error::other;
        npz.add_array(name, &answers).map_err(other)?;
        npz.finish().map_err(other)?.flush()?;
        file.error.map_or(Ok(()), Err)
    })?;
    let shape = answers.shape();
    let out = path.to_string_lossy();
    let fields = json!({ "out": out, "array": name, "shape": shape, "dtype": T::NAME });
    output.event("predict", &fields)?;
    output.text(format_args!("{name} {shape:?} {}: {out}", T::NAME))?;
    Ok(Done::Finished)
}

/// A file that keeps its first error to itself: the writer of archives, dropped after one, would print it.
struct Patient<'a> {
    file: &'a mut File,
    error: Option<io::Error>,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Patient<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The answers `[N, T, n_y]` or `[N, 1, n_y]` of all sequences; zero beyond their lengths.
fn compute<T: Scalar>(
    args: &PredictArgs,
    network: &Network<T>,
    inputs: Inputs<'_, T>,
    lengths: Option<&[usize]>,
    output: Output,
) -> Result<Array3<T>> {
    let mut engine = engine(network, args.threads)?;
    memory::check_predicting(&engine, inputs.sequences())?;
    let (n, t) = inputs.sequences();
    let bar = output.bar((n * t) as u64, BAR);
    let y = engine.predict_in_parts(network, inputs, lengths, |steps| {
        bar.inc(steps);
        Ok(output.check_interrupted()?)
    })?;
    bar.finish_and_clear();
    Ok(y)
}

/// `a/set.npz` to `a/set-probabilities.npz`.
fn beside(input: &Path, name: &str) -> PathBuf {
    let mut file = input.file_stem().unwrap_or_default().to_owned();
    file.push(format!("-{name}.npz"));
    input.with_file_name(file)
}
