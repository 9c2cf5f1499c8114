//! Data of every kind end to end, and what the program lets be seen of a run and a model.

mod curves;
mod data;
mod models;

use super::{Desk, read};
use bptt::model::Model;
use bptt::{Engine, EngineOptions, Inputs, Network, Scalar};
use ndarray::{Array2, Array3};
use ndarray_npy::NpzReader;
use serde_json::Value;

/// The probabilities of all sequences in one piece.
fn predicted<T: Scalar>(network: &Network<T>, inputs: Inputs<'_, T>) -> Array3<T> {
    let mut engine = Engine::new(network.architecture(), EngineOptions::default()).unwrap();
    engine.predict(network, inputs, None).unwrap()
}
