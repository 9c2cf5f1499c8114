//! `bptt inspect`: what is in a model file.

use super::Done;
use super::args::InspectArgs;
use super::dataset::kind_name;
use super::format::group;
use super::model::with_model;
use super::output::Output;
use super::settings::flatten;
use anyhow::Result;
use bptt::Scalar;
use bptt::model::Model;
use ndarray_linalg::EigVals;
use serde_json::{Value, json};

pub fn run(args: &InspectArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| inspect(args, &model, output))
}

fn inspect<T: Scalar>(args: &InspectArgs, model: &Model<T>, output: Output) -> Result<Done> {
    let p = model.rnn.parameters().cast::<f64>();
    let dims = p.dims();
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    // The largest size of an eigenvalue: above 1, states may grow from step to step.
    let radius = p
        .wh()
        .to_owned()
        .eigvals()?
        .iter()
        .fold(0.0f64, |max, z| max.max(z.norm()));
    let vocabulary = model.about.vocabulary.as_ref();
    let tensors: Vec<Value> = p
        .iter()
        .map(|(name, shape, values)| {
            json!({
                "name": name,
                "shape": shape,
                "values": values.len(),
                "norm": norm(values),
                "largest": largest(values),
            })
        })
        .collect();
    output.event(
        "inspect",
        &json!({
            "model": args.model.to_string_lossy(),
            "n_x": dims.n_x,
            "n_h": dims.n_h,
            "n_y": dims.n_y,
            "dtype": T::NAME,
            "parameters": dims.len(),
            "spectral_radius": radius,
            "tokens": vocabulary.map(|v| v.kind()),
            "vocabulary": vocabulary.map(|v| v.len()),
            "tensors": tensors,
            "config": model.about.config,
        }),
    )?;
    if !output.is_human() {
        return Ok(Done::Finished);
    }
    output.text(format_args!(
        "Elman network, {} inputs, {} hidden units, {} classes, {} parameters in {}",
        dims.n_x,
        dims.n_h,
        dims.n_y,
        group(dims.len() as u64),
        T::NAME
    ))?;
    if let Some(vocabulary) = vocabulary {
        output.text(format_args!(
            "text in {} tokens: {}s",
            vocabulary.len(),
            kind_name(vocabulary.kind())
        ))?;
    }
    output.text(format_args!(
        "\n{:<6}{:>16}{:>14}{:>12}{:>12}",
        "", "shape", "values", "norm", "largest"
    ))?;
    for (name, shape, values) in p.iter() {
        let shape = shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(" x ");
        output.text(format_args!(
            "{name:<6}{shape:>16}{:>14}{:>12.4}{:>12.4}",
            group(values.len() as u64),
            norm(values),
            largest(values)
        ))?;
    }
    output.text(format_args!("\nspectral radius of wh  {radius:.4}"))?;
    let settings = match &model.about.config {
        Value::Null => Default::default(),
        config => flatten(config),
    };
    match settings.is_empty() {
        true => output.text("\nThe file does not say how it was trained.")?,
        false => output.text("\ntrained with")?,
    }
    let width = settings.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in settings {
        // A file may come from anywhere: no control characters to the terminal.
        let (name, value) = (name.escape_debug().to_string(), shown(value));
        output.text(format_args!("  {name:<width$}  {}", value.escape_debug()))?;
    }
    Ok(Done::Finished)
}

/// A setting as a reader wants it; `-` for one that was not given.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".into(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
