//! `bptt inspect`: what is in a model file.

use super::Done;
use super::args::InspectArgs;
use super::dataset::{group, kind_name};
use super::output::Output;
use super::train::with_model;
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
        .map(|(name, shape, values)| json!({ "name": name, "shape": shape, "norm": norm(values) }))
        .collect();
    output.event(
        "inspect",
        &json!({
            "model": args.model,
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
    if output.json {
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
        "\n{:<6}{:>14}{:>12}{:>10}",
        "", "shape", "values", "norm"
    ))?;
    for (name, shape, values) in p.iter() {
        let shape = shape
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(" x ");
        output.text(format_args!(
            "{name:<6}{shape:>14}{:>12}{:>10.3}",
            group(values.len() as u64),
            norm(values)
        ))?;
    }
    output.text(format_args!("\nspectral radius of wh  {radius:.4}"))?;
    if let Value::Object(config) = &model.about.config {
        output.text("\ntrained with")?;
        for (name, value) in config {
            // A file may come from anywhere: no control characters to the terminal.
            let name = name.escape_debug().to_string();
            output.text(format_args!("  {name:<16} {value}"))?;
        }
    }
    Ok(Done::Finished)
}
