//! A model file and a checkpoint, whole.
#![no_main]

use bptt::model::Model;
use bptt::train::Checkpoint;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("model.safetensors");
    if let Ok(model) = Model::<f32>::from_bytes(path, bytes) {
        let p = model.network.parameters();
        assert!(p.as_slice().iter().all(|w| w.is_finite()));
        if let Some(vocabulary) = &model.about.vocabulary {
            assert_eq!(vocabulary.len(), p.architecture().input.size());
        }
    }
    let _ = Model::<f64>::from_bytes(path, bytes);
    if let Ok((checkpoint, _)) = Checkpoint::<f32>::from_bytes(path, bytes) {
        let networks = [&checkpoint.best, &checkpoint.parameters].map(|p| p.architecture());
        assert_eq!(networks[0], networks[1]);
    }
});
