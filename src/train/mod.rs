//! Training loops, built on the engine.

pub mod plot;
