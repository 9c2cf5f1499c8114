//! A vocabulary's description; what is read is written as it was.
#![no_main]

use bptt::data::Vocabulary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    if let Ok(vocabulary) = Vocabulary::from_json(json) {
        assert_eq!(
            Vocabulary::from_json(&vocabulary.to_json()).unwrap(),
            vocabulary
        );
        let mut text = Vec::new();
        for id in 0..vocabulary.len().min(1000) as u32 {
            vocabulary.push_decoded(id, &mut text);
        }
    }
});
