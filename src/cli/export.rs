//! `bptt export`: a model in the format of another program.

use super::Done;
use super::args::ExportArgs;
use super::model::{file, with_model};
use super::output::{Output, is_same_file};
use anyhow::{Context, Result, bail};
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
    let beside = || from.with_extension(args.to.extension());
    let path = args.out.clone().unwrap_or_else(beside);
    let out = path.display();
    if is_same_file(&path, &from) {
        bail!("--out: {out} is the model itself, choose another file");
    }
    if [Format::Onnx, Format::C].contains(&args.to) && T::NAME == "f64" {
        output.remark(
            "what is exported computes in single precision: the weights are rounded to f32",
        );
    }
    for what in model.untold() {
        output.remark(format_args!(
            "the file does not say {what}: assumed as `bptt inspect` shows it"
        ));
    }
    let written = args.to.write(model, !args.no_lengths, &path);
    written.with_context(|| from.display().to_string())?;
    let bytes = fs_err::metadata(&path)?.len();
    let fields = json!({ "out": path.to_string_lossy(), "to": args.to, "bytes": bytes });
    output.event("export", &fields)?;
    output.text(format_args!("{out}, {}", HumanBytes(bytes)))?;
    Ok(Done::Finished)
}
