//! `bptt export`: a model in the format of another program.

use super::Done;
use super::args::ExportArgs;
use super::model::{file, with_model};
use super::output::Output;
use anyhow::{Result, bail};
use bptt::Scalar;
use bptt::export::Format;
use bptt::model::Model;
use indicatif::HumanBytes;
use serde_json::json;

pub fn run(args: &ExportArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| export(args, &model, output))
}

fn export<T: Scalar>(args: &ExportArgs, model: &Model<T>, output: Output) -> Result<Done> {
    let from = file(&args.model)?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => from.with_extension(args.to.extension()),
    };
    if fs_err::canonicalize(&path)
        .is_ok_and(|path| fs_err::canonicalize(&from).is_ok_and(|from| path == from))
    {
        bail!(
            "--out: {} is the model itself, choose another file",
            path.display()
        );
    }
    if args.to == Format::Onnx && T::NAME == "f64" {
        output.remark("ONNX engines compute in single precision: the weights are rounded to f32");
    }
    for what in model.untold() {
        output.remark(format_args!(
            "the file does not say {what}: assumed as `bptt inspect` shows it"
        ));
    }
    args.to.write(model, !args.no_lengths, &path)?;
    let bytes = fs_err::metadata(&path)?.len();
    output.event(
        "export",
        &json!({ "out": path.to_string_lossy(), "to": args.to, "bytes": bytes }),
    )?;
    output.text(format_args!("{}, {}", path.display(), HumanBytes(bytes)))?;
    Ok(Done::Finished)
}
