//! `bptt export`: a model in the format of another program.

use super::Done;
use super::args::ExportArgs;
use super::model::file;
use super::output::{Output, is_same_file};
use anyhow::{Context, Result, bail};
use bptt::Scalar;
use bptt::export::Format;
use bptt::model::Model;
use indicatif::HumanBytes;
use serde_json::json;
use std::path::Path;

pub fn run<T: Scalar>(args: &ExportArgs, model: Model<T>, output: Output) -> Result<Done> {
    let from = file(&args.model)?;
    let out = args.out.as_deref();
    let format = args.to.or_else(|| Format::of_name(out?));
    let format = format.with_context(|| {
        let endings = Format::ALL.map(|format| format!(".{}", format.extension()));
        let (out, endings) = (out.unwrap_or(&from).display(), endings.join(", "));
        format!("--out: {out} ends in none of {endings}: say the format by --to")
    })?;
    let path = out.map_or_else(|| from.with_extension(format.extension()), Path::to_owned);
    let out = path.display();
    if is_same_file(&path, &from) {
        bail!("--out: {out} is the model itself, choose another file");
    }
    if [Format::Onnx, Format::C].contains(&format) && T::NAME == "f64" {
        output.remark(
            "what is exported computes in single precision: the weights are rounded to f32",
        );
    }
    for what in model.untold() {
        output.remark(format_args!(
            "the file does not say {what}: assumed as `bptt inspect` shows it"
        ));
    }
    let written = format.write(&model, !args.no_lengths, &path);
    written.with_context(|| from.display().to_string())?;
    let bytes = fs_err::metadata(&path)?.len();
    let fields = json!({ "out": path.to_string_lossy(), "to": format, "bytes": bytes });
    output.event("export", &fields)?;
    output.text(format_args!("{out}, {}", HumanBytes(bytes)))?;
    Ok(Done::Finished)
}
