//! Any bytes as text: read with a vocabulary of their own, and with one of other text.
#![no_main]

use bptt::data::{Corpus, Vocabulary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, other) = input;
    let words = r#"{"kind":"word","words":["<unk>","<eos>","a","b"]}"#;
    let words = Vocabulary::from_json(words).unwrap();
    for vocabulary in [Vocabulary::bytes(), Vocabulary::of_chars(other), words] {
        let Ok(ids) = vocabulary.encode(bytes) else {
            continue;
        };
        assert!(ids.iter().all(|&id| (id as usize) < vocabulary.len()));
        let mut back = Vec::new();
        ids.iter()
            .for_each(|&id| vocabulary.push_decoded(id, &mut back));
        // Symbols come back as they were; words come back with one space behind each, so that they stay what they are.
        if vocabulary.kind() == bptt::data::TokenKind::Word {
            assert_eq!(vocabulary.encode(&back).unwrap(), ids);
        } else {
            assert_eq!(back, bytes);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let own = Vocabulary::of_chars(text);
        let corpus = Corpus::from_text(text, &own).unwrap();
        assert_eq!(corpus.len(), text.chars().count());
        if !text.is_empty() {
            assert_eq!(Vocabulary::from_json(&own.to_json()).unwrap(), own);
        }
    }
});
