//! A model as an `.npz` archive: what `numpy.load` reads.

use super::tensors;
use crate::model::Model;
use crate::{Result, Scalar, atomic};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Writes it, all or not at all.
pub fn write<T: Scalar>(model: &Model<T>, path: &Path) -> Result<()> {
    let (tensors, meta) = tensors(model);
    atomic::replace(path, |file| {
        let mut zip = ZipWriter::new(BufWriter::new(file));
        let stored = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(true);
        let mut array = |name: &str, described: &str, shape: &[usize], bytes: &[u8]| {
            zip.start_file(format!("{name}.npy"), stored)?;
            zip.write_all(&header(described, shape))?;
            zip.write_all(bytes)
        };
        for tensor in &tensors {
            let described = format!("<f{}", size_of::<T>());
            let bytes = bytemuck::cast_slice(&tensor.values);
            array(&tensor.name, &described, &tensor.shape, bytes)?;
        }
        let text: Vec<u32> = meta.to_string().chars().map(u32::from).collect();
        let described = format!("<U{}", text.len());
        array("bptt", &described, &[], bytemuck::cast_slice(&text))?;
        zip.finish().map_err(io::Error::other)?.flush()
    })
}

/// The header of an `.npy` array, version 1.0: ended so that the elements begin where 64 divides the place.
fn header(described: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let dict = format!("{{'descr': '{described}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = length - 1).as_bytes());
    bytes
}
