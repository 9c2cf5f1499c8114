//! Texts: files to tokens, tokens to text, and text of a known best loss.

mod grammar;
mod reading;
mod shown;
mod symbols;

use bptt::data::{
    Corpus, Decoder, Ids, Loader, Readers, Reading, TokenKind, Vocabulary, WordLimits, best_loss,
    reber,
};
use bptt::train::evaluate;
use bptt::{Architecture, Engine, EngineOptions, Head, Init, Input, Network};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (name, content) in files {
        paths.push(root.path().join(name));
        fs::create_dir_all(paths.last().unwrap().parent().unwrap()).unwrap();
        fs::write(paths.last().unwrap(), content).unwrap();
    }
    (root, paths)
}

fn words(list: &[&str]) -> Vocabulary {
    let list: Vec<&str> = ["<unk>", "<eos>"].iter().chain(list).copied().collect();
    let json = serde_json::json!({ "kind": "word", "words": list });
    Vocabulary::from_json(&json.to_string()).unwrap()
}

fn all(corpus: &Corpus) -> Vec<u32> {
    let mut out = vec![0; corpus.len()];
    corpus.ids().copy_to(0, &mut out);
    out
}

fn decoded(vocabulary: &Vocabulary, ids: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    ids.iter()
        .for_each(|&id| vocabulary.push_decoded(id, &mut out));
    out
}

#[track_caller]
fn refused<A: std::fmt::Debug>(result: bptt::Result<A>, expected: &[&str]) {
    let error = result.unwrap_err().to_string();
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
}
