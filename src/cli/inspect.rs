//! `bptt inspect`: what is in a model file.

use super::Done;
use super::args::InspectArgs;
use super::dataset::kind_name;
use super::format::group;
use super::model::with_model;
use super::output::Output;
use super::settings::flatten;
use anyhow::Result;
use bptt::architecture::Which;
use bptt::model::Model;
use bptt::{Parameters, Scalar};
use ndarray::Axis;
use ndarray_linalg::EigVals;
use serde_json::{Value, json};

pub fn run(args: &InspectArgs, output: Output) -> Result<Done> {
    with_model!(&args.model, |model| inspect(args, &model, output))
}

fn inspect<T: Scalar>(args: &InspectArgs, model: &Model<T>, output: Output) -> Result<Done> {
    let p = model.network.parameters().cast::<f64>();
    let network = p.architecture();
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    let radii = spectral_radii(&p)?;
    let vocabulary = model.about.vocabulary.as_ref();
    let tensors: Vec<Value> = p
        .iter()
        .map(|(tensor, values)| {
            json!({
                "name": network.name(tensor.which),
                "shape": tensor.shape(),
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
            "n_x": network.input.size(),
            "n_h": network.hidden,
            "n_y": network.head.outputs,
            "cell": network.cell,
            "layers": network.layers,
            "architecture": network,
            "dtype": T::NAME,
            "parameters": network.len(),
            "spectral_radius": radii.iter().copied().fold(0.0, f64::max),
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
        "{network}: {} parameters in {}",
        group(network.len() as u64),
        T::NAME
    ))?;
    if model.about.foreign {
        output.text(
            "a file of another program: whether it reads features or tokens, and whether its cell is tanh or relu, it does \
             not say",
        )?;
    }
    if let Some(vocabulary) = vocabulary {
        output.text(format_args!(
            "text in {} tokens: {}s",
            vocabulary.len(),
            kind_name(vocabulary.kind())
        ))?;
    }
    output.text(format_args!(
        "\n{:<18}{:>16}{:>14}{:>12}{:>12}",
        "", "shape", "values", "norm", "largest"
    ))?;
    for (tensor, values) in p.iter() {
        let shape = tensor
            .shape()
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>();
        output.text(format_args!(
            "{:<18}{:>16}{:>14}{:>12.4}{:>12.4}",
            network.name(tensor.which),
            shape.join(" x "),
            group(values.len() as u64),
            norm(values),
            largest(values)
        ))?;
    }
    output.text("")?;
    for (i, radius) in radii.iter().enumerate() {
        let name = network.name(Which::WeightHh(i));
        output.text(format_args!("spectral radius of {name}  {radius:.4}"))?;
    }
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

/// The largest size of an eigenvalue of each layer's recurrent weights, of any gate: above 1, states may grow from step to
/// step.
fn spectral_radii(p: &Parameters<f64>) -> Result<Vec<f64>> {
    let recurrences = 0..p.architecture().recurrences();
    recurrences
        .map(|i| {
            let mut radius = 0.0f64;
            let weights = p.matrix(Which::WeightHh(i));
            for gate in weights.axis_chunks_iter(Axis(0), p.architecture().hidden) {
                let eigenvalues = gate.to_owned().eigvals()?;
                radius = eigenvalues.iter().fold(radius, |max, z| max.max(z.norm()));
            }
            Ok(radius)
        })
        .collect()
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
