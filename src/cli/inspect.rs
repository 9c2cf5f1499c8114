//! `bptt inspect`: what is in a model file.

use super::Done;
use super::args::InspectArgs;
use super::dataset::kind_name;
use super::output::Output;
use anyhow::Result;
use bptt::Scalar;
use bptt::architecture::Which;
use bptt::model::Model;
use indicatif::HumanCount;
use ndarray::Axis;
use ndarray_linalg::EigVals;
use serde_json::{Value, json};

pub fn run<T: Scalar>(args: &InspectArgs, model: Model<T>, output: Output) -> Result<Done> {
    let p = model.network.parameters().cast::<f64>();
    let network = p.architecture();
    let vocabulary = model.about.vocabulary.as_ref();
    let radii: Vec<f64> = (0..network.recurrences())
        .map(|i| spectral_radius(p.matrix(Which::WeightHh(i)), network.hidden))
        .collect::<Result<_>>()?;
    let (mut table, mut tensors) = (String::new(), Vec::new());
    for (tensor, values) in p.iter() {
        let name = network.name(tensor.which);
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let largest = values.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        let shape = tensor.shape();
        let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
        let (sizes, count) = (
            sizes.join(" x "),
            HumanCount(values.len() as u64).to_string(),
        );
        table += &format!("\n{name:<26}{sizes:>16}{count:>14}{norm:>12.4}{largest:>12.4}");
        tensors.push(json!({
            "name": name, "shape": shape, "values": values.len(), "norm": norm, "largest": largest,
        }));
    }
    let fields = json!({
        "model": args.model.to_string_lossy(),
        "n_x": network.input.size(),
        "n_h": network.hidden,
        "n_y": network.head.outputs,
        "cell": network.cell,
        "layers": network.layers,
        "bidirectional": network.bidirectional,
        "loss": network.head.loss,
        "at": network.head.at,
        "architecture": network,
        "dtype": T::NAME,
        "parameters": network.len(),
        "spectral_radius": radii.iter().copied().fold(0.0, f64::max),
        "tokens": vocabulary.map(|v| v.kind()),
        "vocabulary": vocabulary.map(|v| v.len()),
        "tensors": tensors,
        "config": model.about.config,
    });
    output.event("inspect", &fields)?;
    let (parameters, loss) = (HumanCount(network.len() as u64), network.head.loss.title());
    output.text(format_args!(
        "{network}: {parameters} parameters in {}, judged by {loss}",
        T::NAME
    ))?;
    if model.about.foreign {
        let untold = model.untold().join("; ");
        output.text(format_args!(
            "a file of another program, which does not say {untold}"
        ))?;
    }
    if let Some(vocabulary) = vocabulary {
        let (n, kind) = (vocabulary.len(), kind_name(vocabulary.kind()));
        output.text(format_args!("text in {n} tokens: {kind}s"))?;
    }
    output.text(format_args!(
        "\n{:<26}{:>16}{:>14}{:>12}{:>12}{table}\n",
        "", "shape", "values", "norm", "largest"
    ))?;
    for (layer, radius) in radii.iter().enumerate() {
        let name = network.name(Which::WeightHh(layer));
        output.text(format_args!("spectral radius of {name}  {radius:.4}"))?;
    }
    let Some(settings) = model.about.config.as_object() else {
        output.text("\nThe file does not say how it was trained.")?;
        return Ok(Done::Finished);
    };
    output.text("\ntrained with")?;
    let width = settings.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in settings {
        // A file may come from anywhere: no control characters to the terminal.
        let (name, value) = (name.escape_debug().to_string(), shown(value));
        output.text(format_args!("  {name:<width$}  {}", value.escape_debug()))?;
    }
    Ok(Done::Finished)
}

/// The largest size of an eigenvalue of a layer's recurrent weights, of any gate: above 1, states may grow from step to
/// step.
fn spectral_radius(weights: ndarray::ArrayView2<'_, f64>, hidden: usize) -> Result<f64> {
    let mut radius = 0.0f64;
    for gate in weights.axis_chunks_iter(Axis(0), hidden) {
        let eigenvalues = gate.to_owned().eigvals()?;
        radius = eigenvalues.iter().fold(radius, |max, z| max.max(z.norm()));
    }
    Ok(radius)
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
