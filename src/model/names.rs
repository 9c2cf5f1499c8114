//! The tensors of a network under PyTorch's names.
//!
//! | tensor | shape | here |
//! |---|---|---|
//! | `rnn.weight_ih_lK` | `[gates n_h, inputs]` | the same; of a first layer that reads tokens, transposed |
//! | `rnn.weight_hh_lK` | `[gates n_h, n_h]` | the same |
//! | `rnn.bias_ih_lK`, `rnn.bias_hh_lK` | `[gates n_h]` | their sum, where the cell adds both sums |
//! | `decoder.weight` | `[n_y, n_h]` | the same |
//! | `decoder.bias` | `[n_y]` | the same |

use super::file::{File, Tensor};
use crate::architecture::{Architecture, Head, Input, Which};
use crate::cells::Cell;
use crate::{Error, Parameters, Result, Scalar};
use std::borrow::Cow;

/// The name of the other of PyTorch's two biases of a layer.
fn second_bias(first: &str) -> String {
    first.replace("bias_ih", "bias_hh")
}

/// The tensors of a network, to be written.
pub(super) fn tensors<T: Scalar>(p: &Parameters<T>) -> Vec<Tensor<'_, T>> {
    let architecture = p.architecture();
    let (form, n_h) = (architecture.cell.form(), architecture.hidden);
    let mut tensors = Vec::new();
    for (tensor, values) in p.iter() {
        let mut push = |name, shape, values| {
            tensors.push(Tensor {
                name,
                shape,
                values,
            });
        };
        let name = architecture.name(tensor.which);
        match tensor.which {
            Which::WeightIh(i) if architecture.has_table(i) => {
                let [rows, columns] = [tensor.rows, tensor.columns];
                push(name, vec![columns, rows], transposed(values, columns));
            }
            Which::Bias(_) => {
                let gates = form.gates * n_h;
                // What the cell adds to the recurrent sum alone stands in the second bias, the rest in the first.
                let mut second = vec![T::zero(); gates];
                for sum in form.sums.iter().filter(|sum| !sum.ih) {
                    if let Some(rows) = &sum.hh {
                        let from = &values[sum.columns.start * n_h..sum.columns.end * n_h];
                        second[rows.start * n_h..rows.end * n_h].copy_from_slice(from);
                    }
                }
                push(second_bias(&name), vec![gates], second.into());
                push(name, vec![gates], values[..gates].into());
            }
            _ => push(name, tensor.shape(), values.into()),
        }
    }
    tensors
}

/// A matrix with so many columns, column by column.
pub(super) fn transposed<T: Scalar>(values: &[T], columns: usize) -> Cow<'_, [T]> {
    let column = |j| values.iter().skip(j).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// What network a file without our metadata holds, by names and shapes; of one gate, for PyTorch does not say of which kind,
/// of the tanh cell, and reading features.
pub(super) fn architecture(file: &File<'_>) -> Result<Architecture> {
    // Of one direction, names do not depend on more.
    let plain = Architecture::new(Input::Features(1), 1, Head::softmax(1));
    let matrix = |which: Which| {
        let name = plain.name(which);
        match file.shape(&name)?[..] {
            [rows, columns] => Ok([rows, columns]),
            _ => Err(file.wrong(format!("tensor `{name}` must be a matrix"))),
        }
    };
    let [rows, n_x] = matrix(Which::WeightIh(0))?;
    let [_, hidden] = matrix(Which::WeightHh(0))?;
    let [outputs, _] = matrix(Which::Decoder)?;
    let layers = (0..).find(|&layer| !file.has(&plain.name(Which::WeightIh(layer))));
    let cell = Cell::ALL
        .into_iter()
        .find(|cell| cell.gates().checked_mul(hidden) == Some(rows));
    let Some(cell) = cell else {
        return Err(file.wrong(format!(
            "tensor `{}` has {rows} rows for {hidden} hidden units: no cell of bptt has as many gates",
            plain.name(Which::WeightIh(0))
        )));
    };
    Ok(Architecture {
        cell,
        layers: layers.expect("a file has finitely many tensors"),
        ..Architecture::new(Input::Features(n_x), hidden, Head::softmax(outputs))
    })
}

/// The parameters of a network, if the file has its tensors, of the right shapes, and beside them only such whose names begin
/// with `besides`.
pub(super) fn parameters<T: Scalar>(
    file: &File<'_>,
    architecture: Architecture,
    besides: &str,
) -> Result<Parameters<T>> {
    architecture
        .check()
        .map_err(|error| file.wrong(error.to_string()))?;
    let (form, n_h) = (architecture.cell.form(), architecture.hidden);
    let shape = |which| {
        let tensor = architecture.tensor(which);
        match which {
            Which::WeightIh(i) if architecture.has_table(i) => {
                vec![tensor.columns, tensor.rows]
            }
            Which::Bias(_) => vec![form.gates * n_h],
            _ => tensor.shape(),
        }
    };
    let mut known: Vec<String> = Vec::new();
    // Before anything is allocated: what one tensor says of the sizes, another need not hold.
    for tensor in architecture.tensors() {
        let name = architecture.name(tensor.which);
        file.check_shape(&name, &shape(tensor.which))?;
        if let Which::Bias(_) = tensor.which {
            known.push(second_bias(&name));
        }
        known.push(name);
    }
    refuse_unknown(file, &known, besides)?;
    let mut p = Parameters::zeros(architecture);
    for tensor in architecture.tensors() {
        let (name, shape) = (architecture.name(tensor.which), shape(tensor.which));
        let values: Vec<T> = file.values(&name, &shape)?;
        let to = p.get_mut(tensor.which);
        match tensor.which {
            Which::WeightIh(i) if architecture.has_table(i) => {
                to.copy_from_slice(&transposed(&values, tensor.rows));
            }
            Which::Bias(_) => {
                let second = second_bias(&name);
                let recurrent: Vec<T> = match file.has(&second) {
                    true => file.values(&second, &shape)?,
                    false => vec![T::zero(); values.len()],
                };
                for sum in form.sums {
                    let to = &mut to[sum.columns.start * n_h..sum.columns.end * n_h];
                    if sum.ih {
                        to.copy_from_slice(&values[sum.columns.start * n_h..sum.columns.end * n_h]);
                    }
                    if let Some(rows) = &sum.hh {
                        let from = &recurrent[rows.start * n_h..rows.end * n_h];
                        to.iter_mut().zip(from).for_each(|(to, &b)| *to += b);
                    }
                }
                if let Some(i) = to.iter().position(|b| !b.is_finite()) {
                    return Err(Error::NotFinite {
                        what: file.wrong(format!("`{name}` + `{second}`")).to_string(),
                        value: to[i].as_f64(),
                        position: vec![i],
                    });
                }
            }
            _ => to.copy_from_slice(&values),
        }
    }
    Ok(p)
}

/// A tensor that means nothing here would be left out in silence.
fn refuse_unknown(file: &File<'_>, known: &[String], besides: &str) -> Result<()> {
    let is_known =
        |name: &String| known.contains(name) || (!besides.is_empty() && name.starts_with(besides));
    match file.names().into_iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(file.wrong(format!(
            "has a tensor `{name}`, which no network of bptt has: expected the tensors of an nn.RNN named `rnn` and an \
             nn.Linear named `decoder`, and no others"
        ))),
    }
}
