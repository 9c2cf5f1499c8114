//! The tensors of a network under PyTorch's names, of modules called `encoder`, `rnn` and `decoder`.
//!
//! | tensor | shape | here |
//! |---|---|---|
//! | `encoder.weight` | `[tokens, size]` | the same |
//! | `rnn.weight_ih_lK`, of the second direction `..._reverse` | `[gates n_h, inputs]` | the same; of a first layer that reads one-hot tokens, transposed |
//! | `rnn.weight_hh_lK` | `[gates n_h, n_h]` | the same |
//! | `rnn.bias_ih_lK`, `rnn.bias_hh_lK` | `[gates n_h]` | their sum, where the cell adds both sums |
//! | `decoder.weight` | `[n_y, D n_h]` | the same; tied to the encoder, that one again |
//! | `decoder.bias` | `[n_y]` | the same |

use super::TRAINING;
use super::file::{File, Tensor};
use crate::architecture::{Architecture, Head, Input, Which};
use crate::cells::Cell;
use crate::{Parameters, Result, Scalar};
use std::borrow::Cow;

/// The name of the other of PyTorch's two biases of a layer.
pub(crate) fn second_bias(first: &str) -> String {
    first.replace("bias_ih", "bias_hh")
}

/// The tensors of a network, to be written.
pub(super) fn tensors<T: Scalar>(p: &Parameters<T>) -> Vec<Tensor<'_, T>> {
    let architecture = p.architecture();
    let (form, n_h) = (architecture.cell.form(), architecture.hidden);
    let mut tensors = Vec::new();
    let mut push = |name, shape, values| {
        tensors.push(Tensor {
            name,
            shape,
            values,
        })
    };
    for (tensor, values) in p.iter() {
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
            Which::Encoder if architecture.head.tied => {
                let decoder = architecture.name(Which::Decoder);
                push(decoder, tensor.shape(), values.into());
                push(name, tensor.shape(), values.into());
            }
            _ => push(name, tensor.shape(), values.into()),
        }
    }
    tensors
}

/// A matrix with so many columns, column by column.
pub(crate) fn transposed<T: Scalar>(values: &[T], columns: usize) -> Cow<'_, [T]> {
    let column = |j| values.iter().skip(j).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// What network a file without our metadata holds, by names and shapes. Where these leave it open ([`super::Model::untold`]):
/// features, the tanh cell, and classes at every step.
pub(super) fn architecture(file: &File<'_>) -> Result<Architecture> {
    // The names of one direction do not depend on more, and the second direction of the first layer is recurrence 1.
    let plain = Architecture::new(Input::Features(1), 1, Head::softmax(1));
    let name = |which| plain.name(which);
    let matrix = |which: Which| match file.shape(&name(which))?[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => Err(file.wrong(format!("tensor `{}` must be a matrix", name(which)))),
    };
    let [rows, n_x] = matrix(Which::WeightIh(0))?;
    let [_, hidden] = matrix(Which::WeightHh(0))?;
    let layers = (0..).find(|&layer| !file.has(&name(Which::WeightIh(layer))));
    let fits = |cell: &Cell| cell.gates().checked_mul(hidden) == Some(rows);
    let Some(cell) = Cell::ALL.into_iter().find(fits) else {
        return Err(file.wrong(format!(
            "tensor `{}` has {rows} rows for {hidden} hidden units: no cell of bptt has as many gates",
            name(Which::WeightIh(0))
        )));
    };
    let embedded = file.has(&name(Which::Encoder));
    let input = match embedded.then(|| matrix(Which::Encoder)).transpose()? {
        None => Input::Features(n_x),
        Some([tokens, size]) => Input::Embedding { tokens, size },
    };
    let tied = embedded && file.is_again(&name(Which::Decoder), &name(Which::Encoder));
    let [outputs, _] = matrix(if tied { Which::Encoder } else { Which::Decoder })?;
    let (mut both_ways, mut head) = (plain, Head::softmax(outputs));
    (both_ways.bidirectional, head.tied) = (true, tied);
    Ok(Architecture {
        cell,
        layers: layers.expect("a file has finitely many tensors"),
        bidirectional: file.has(&both_ways.name(Which::WeightIh(1))),
        ..Architecture::new(input, hidden, head)
    })
}

/// The parameters of a network, if the file has its tensors, of the right shapes, and beside them only those of a
/// checkpoint. Where biases `may_lack`, those that are not there are zero: of layers with `bias=False` all of them.
pub(super) fn parameters<T: Scalar>(
    file: &File<'_>,
    architecture: Architecture,
    may_lack: bool,
) -> Result<Parameters<T>> {
    let checked = architecture.check();
    checked.map_err(|error| file.wrong(error.to_string()))?;
    let (form, n_h) = (architecture.cell.form(), architecture.hidden);
    let shape = |which| {
        let tensor = architecture.tensor(which);
        match which {
            Which::WeightIh(i) if architecture.has_table(i) => vec![tensor.columns, tensor.rows],
            Which::Bias(_) => vec![form.gates * n_h],
            _ => tensor.shape(),
        }
    };
    let lacks = |which| match which {
        Which::Bias(_) => may_lack && !file.has(&architecture.name(Which::Bias(0))),
        Which::DecoderBias => may_lack && !file.has(&architecture.name(which)),
        _ => false,
    };
    let tensors = || architecture.tensors().filter(|tensor| !lacks(tensor.which));
    let mut known: Vec<String> = Vec::new();
    // Before anything is allocated: what one tensor says of the sizes, another need not hold.
    for tensor in tensors() {
        let name = architecture.name(tensor.which);
        file.check_shape(&name, &shape(tensor.which))?;
        if let Which::Bias(_) = tensor.which {
            known.push(second_bias(&name));
        }
        known.push(name);
    }
    if architecture.head.tied {
        let [decoder, encoder] = [Which::Decoder, Which::Encoder].map(|w| architecture.name(w));
        if !file.is_again(&decoder, &encoder) {
            let problem = format!("its `{decoder}` is tied to `{encoder}`, and not the same");
            return Err(file.wrong(problem));
        }
        known.push(decoder);
    }
    refuse_unknown(file, &known)?;
    let mut p = Parameters::zeros(architecture);
    for tensor in tensors() {
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
                file.check_finite(&format!("`{name}` + `{second}`"), to)?;
            }
            _ => to.copy_from_slice(&values),
        }
    }
    Ok(p)
}

/// A tensor that means nothing here would be left out in silence.
fn refuse_unknown(file: &File<'_>, known: &[String]) -> Result<()> {
    let is_known = |name: &String| known.contains(name) || name.starts_with(TRAINING);
    let Some(name) = file.names().into_iter().find(|name| !is_known(name)) else {
        return Ok(());
    };
    let problem = match name.contains("weight_hr") {
        true => format!(
            "has `{name}`, the projection of an nn.LSTM with `proj_size`, which bptt does not have: train one without"
        ),
        false => format!(
            "has a tensor `{name}`, which no network of bptt has: expected the tensors of an nn.RNN, nn.GRU or nn.LSTM named \
             `rnn`, an nn.Linear named `decoder`, perhaps an nn.Embedding named `encoder`, and no others"
        ),
    };
    Err(file.wrong(problem))
}
