//! The library: properties that hold for every architecture, and how runs go.
//!
//! [`support`] makes random problems of every kind; each property is one test over all of them.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod determinism;
mod documents;
mod dropout;
mod equality;
mod evaluation;
mod files;
mod gradients;
mod initial;
mod kernels;
mod loaders;
mod losses;
mod measure;
mod networks;
mod optimizers;
mod parts;
mod products;
mod pytorch;
mod ranks;
mod refused;
mod resume;
mod sampling;
mod segments;
mod sets;
mod texts;
mod tour;
mod training;
mod whole_files;
mod windows;
