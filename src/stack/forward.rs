//! Through the layers: from the inputs to the states of all steps.

use super::{Weights, input};
use crate::Scalar;
use crate::architecture::{At, Input, Which};
use crate::layer::{Layer, forward};
use crate::scratch::{NO_TOKEN, Scratch};
use crate::steps::Steps;

/// From the inputs (`s.load`, then `s.enter`) to the states of all layers.
pub(crate) fn states<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let a = s.architecture;
    enter(w, s);
    for i in 0..a.recurrences() {
        let (below, rest) = s.recurrences.split_at_mut(i);
        let (n, bias) = (s.steps.n, w.parameters.get(Which::Bias(i)));
        let table = w.parameters.get(Which::WeightIh(i));
        let input = input(&a, table, (&s.x, &s.ids, s.token_scale), below, n);
        let (l, weights) = (Layer::of(&a, i), &w.packed.forward[i]);
        forward(&l, weights, bias, &s.steps, input, &mut rest[0]);
        if (i + 1).is_multiple_of(a.directions()) {
            leave(s, i / a.directions());
        }
    }
}

/// What the first layer reads, in the order of each direction: tokens embedded, some of it dropped.
fn enter<T: Scalar>(w: Weights<'_, T>, s: &mut Scratch<T>) {
    let a = s.architecture;
    let width = a.input.width();
    if let Input::Embedding { .. } = a.input {
        let table = w.parameters.get(Which::Encoder);
        for (x, &id) in s.x[0].chunks_exact_mut(width).zip(&s.ids[0]) {
            x.copy_from_slice(&table[id as usize * width..][..width]);
        }
    }
    s.token_scale = T::one();
    if a.input.is_one_hot() {
        // A token is one element of its one-hot row.
        if let Some(mut dropped) = s.dropping.inputs(1) {
            s.token_scale = dropped.scale();
            for t in 0..s.steps.count() {
                let ids = &mut s.ids[0][s.steps.rows(t)];
                dropped.draw(t, ids.len(), |i, kept| {
                    if !kept {
                        ids[i] = NO_TOKEN;
                    }
                });
            }
        }
    } else if let Some(mut dropped) = s.dropping.inputs(width) {
        dropped.apply_to_steps(&s.steps, &mut s.x[0], width);
    }
    if a.bidirectional {
        let ([x, turned_x], [ids, turned_ids]) = (&mut s.x, &mut s.ids);
        match a.input.is_one_hot() {
            true => turn(&s.steps, ids, turned_ids, 1),
            false => turn(&s.steps, x, turned_x, width),
        }
    }
}

/// What leaves a layer: both directions side by side, some of it dropped, in the order of each direction that reads it. Of one
/// direction with nothing dropped, its states are read where they are.
fn leave<T: Scalar>(s: &mut Scratch<T>, index: usize) {
    let a = s.architecture;
    let (n, n_h, width) = (s.steps.n, a.hidden, a.outputs_of_layer());
    let is_top = index + 1 == a.layers;
    let mask = s.dropping.outputs(a.layers - 1 - index, width);
    // At the last step alone, the head reads states, and drops of these.
    let mask = mask.filter(|_| !(is_top && a.head.at == At::Last));
    let len = width * s.steps.extent().rows;
    let of_layer = &mut s.recurrences[index * a.directions()..][..a.directions()];
    let (forwards, backwards) = of_layer.split_first_mut().expect("one direction or two");
    if let [backwards] = backwards {
        forwards.outputs.resize(len, T::zero());
        let h = &forwards.states.h[n * n_h..];
        let turned_h = &backwards.states.h[n * n_h..];
        for (row, turned) in s.steps.turned() {
            let to = &mut forwards.outputs[row * width..][..width];
            let (to_h, to_turned) = to.split_at_mut(n_h);
            to_h.copy_from_slice(&h[row * n_h..][..n_h]);
            to_turned.copy_from_slice(&turned_h[turned * n_h..][..n_h]);
        }
    } else {
        forwards.outputs.clear();
        if mask.is_some() {
            (forwards.outputs).extend_from_slice(&forwards.states.h[n * n_h..]);
        }
    }
    if let Some(mut mask) = mask {
        mask.apply_to_steps(&s.steps, &mut forwards.outputs, width);
    }
    if let ([backwards], false) = (backwards, is_top) {
        backwards.outputs.resize(len, T::zero());
        turn(&s.steps, &forwards.outputs, &mut backwards.outputs, width);
    }
}

/// Rows of all steps in the other order.
fn turn<V: Copy>(steps: &Steps, from: &[V], to: &mut [V], width: usize) {
    for (row, turned) in steps.turned() {
        to[turned * width..][..width].copy_from_slice(&from[row * width..][..width]);
    }
}
