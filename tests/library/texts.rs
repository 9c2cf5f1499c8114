//! Texts: files to tokens, tokens to text, and text of a known best loss.

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

/// More bytes than are read at a time.
const PIECE: usize = 1 << 20;

const KINDS: [TokenKind; 3] = [TokenKind::Char, TokenKind::Byte, TokenKind::Word];

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

/// The bytes of a text that is read, and what was read.
fn read(paths: &[PathBuf], kind: TokenKind) -> bptt::Result<(Vec<u8>, Reading)> {
    let (corpus, reading) = Corpus::read(paths, kind)?;
    Ok((decoded(corpus.vocabulary(), &all(&corpus)), reading))
}

/// Several threads read what one reads, whatever lies where their shares meet, and say of a problem what one says.
#[test]
fn threads_read_what_one_reads() {
    let long =
        "Zwölf Boxkämpfer jagen\r\n\u{3000}Viktor  \u{1f600}quer über den großen Sylter Deich\n"
            .repeat(2100);
    let mut bad = long.clone().into_bytes();
    bad[90_001] = 0xff;
    bad[150_001] = 0xff;
    let files: [(&str, &[u8]); 5] = [
        ("folder/a.txt", long.as_bytes()),
        ("folder/b.txt", b"ein anderer Text, ohne Zeilenende"),
        ("folder/c/d.txt", &long.as_bytes()[1..100_000]),
        ("folder/e.bin", &bad),
        ("bad.txt", &bad),
    ];
    let (root, _) = folder(&files);
    let known = [Vocabulary::of_chars("Zwölf B"), words(&["Viktor", "quer"])];
    for kind in KINDS {
        for paths in [
            vec!["folder"],
            vec!["folder/a.txt"],
            vec!["folder", "bad.txt"],
        ] {
            let paths: Vec<_> = paths.iter().map(|path| root.path().join(path)).collect();
            let read = |threads| {
                let readers = Readers {
                    threads,
                    ranks: None,
                };
                let own = Corpus::read_part(&paths, kind, WordLimits::default(), readers);
                let known = known
                    .iter()
                    .map(|known| Corpus::read_part_with(&paths, known, readers));
                let all = std::iter::once(own).chain(known);
                all.map(|read| read.map_err(|error| error.to_string()))
                    .collect::<Vec<_>>()
            };
            let one = read(1);
            assert!(
                one[0].is_ok() || paths.len() == 2 && kind != TokenKind::Byte,
                "{:?}",
                one[0]
            );
            for threads in [2, 3, 5] {
                assert!(
                    read(threads) == one,
                    "{kind:?} of {paths:?} on {threads} threads"
                );
            }
        }
    }
}

fn read_words(texts: &[&str], limits: WordLimits) -> (Vocabulary, Vec<u32>) {
    let names: Vec<String> = (0..texts.len()).map(|i| i.to_string()).collect();
    let files: Vec<_> = names
        .iter()
        .zip(texts)
        .map(|(name, text)| (name.as_str(), text.as_bytes()))
        .collect();
    let (_root, paths) = folder(&files);
    let (corpus, _) = Corpus::read_part(&paths, TokenKind::Word, limits, None).unwrap();
    (corpus.vocabulary().clone(), all(&corpus))
}

#[test]
fn unknown_words_can_be_left_out_of_a_loss() {
    let (_root, paths) = folder(&[("a", b"so it goes so it went so it goes")]);
    let limits = WordLimits {
        min_count: 2,
        ..WordLimits::default()
    };
    let (corpus, _) = Corpus::read_part(&paths, TokenKind::Word, limits, None).unwrap();
    assert_eq!(corpus.unknown_words(), Some(1));
    let counted = |leaves_out: bool| {
        let mut loader = Loader::<f32>::evaluation_text(corpus.clone()).unwrap();
        if leaves_out {
            loader.leave_out_unknown();
        }
        let n = corpus.vocabulary().len();
        let architecture = Architecture::new(Input::Tokens(n), 2, Head::softmax(n));
        let network = Network::new(architecture, Init::Orthogonal, 0).unwrap();
        let mut engine = Engine::new(architecture, EngineOptions::default()).unwrap();
        let metrics = evaluate(&mut engine, &network, &mut loader, |_| ()).unwrap();
        metrics.counted
    };
    assert_eq!(counted(true) + 1, counted(false));
}

#[track_caller]
fn refused<A: std::fmt::Debug>(result: bptt::Result<A>, expected: &[&str]) {
    let error = result.unwrap_err().to_string();
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn a_folder_is_sorted_and_the_rest_skipped_and_counted() {
    // Two pieces, and a third that is no text.
    let late = [vec![b'x'; 2 * PIECE + 9], vec![0xff]].concat();
    let (root, _) = folder(&[
        ("c.txt", b"3"),
        ("b/z.txt", b"2"),
        ("a.txt", b"1"),
        ("empty", b""),
        ("late.bin", &late),
        ("binary", b"\xff\xfe\0\0"),
        (".hidden", b"no"),
        ("b/.git/config", b"no"),
    ]);
    let at = |name: &str| root.path().join(name);
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!(text, b"123");
    let expected = Reading {
        files: 3,
        skipped: 3,
        ignored: 0,
        bytes: 3,
        other_formats: 0,
    };
    assert_eq!(reading, expected);
    let (text, _) = read(&[at("c.txt"), at("b"), at("c.txt")], TokenKind::Byte).unwrap();
    assert_eq!(text, b"323");
}

/// However a text is cut while it is read, its tokens are those of the whole, and an error knows its place.
#[test]
fn long_texts_are_read_as_in_one_piece() {
    // Characters of two bytes, so that every other cut would fall into one; then a word longer than a piece.
    let mut text = format!("{}\n{}", "éé é\n".repeat(PIECE / 4), "é".repeat(PIECE));
    let (_root, paths) = folder(&[("a", text.as_bytes())]);
    for kind in KINDS {
        let (corpus, reading) = Corpus::read(&paths, kind).unwrap();
        let mut ids = corpus.vocabulary().encode(text.as_bytes()).unwrap();
        ids.extend((kind == TokenKind::Word).then_some(1));
        assert!(
            all(&corpus) == ids && reading.bytes == text.len() as u64,
            "{kind:?}"
        );
    }
    // A character of four bytes at every place around the end of a piece.
    for before in PIECE - 8..PIECE + 1 {
        let text = "x".repeat(before) + "\u{1f600}\u{1f600}y";
        fs::write(&paths[0], &text).unwrap();
        let (found, _) = read(&paths, TokenKind::Char).unwrap();
        assert!(found == text.as_bytes(), "{before}");
    }
    text.push('?');
    fs::write(&paths[0], &text).unwrap();
    let known = Vocabulary::of_chars("é \n");
    let place = format!("line {}, column {}: '?'", PIECE / 4 + 2, PIECE + 1);
    refused(Corpus::read_with(&paths, &known), &[&place]);
    fs::write(&paths[0], [vec![b'x'; 3 * PIECE + 7], vec![0xff]].concat()).unwrap();
    let offset = format!("offset {}", 3 * PIECE + 7);
    refused(read(&paths, TokenKind::Char), &[&offset]);
}

/// As `git` and `ripgrep` read ignore files: those of the folder and of folders below it, the nearest last.
#[test]
fn what_gitignore_names_is_left_out_and_counted() {
    let (root, paths) = folder(&[
        (".gitignore", b"build/\n*.log\n/top.txt\n"),
        ("a.txt", b"1"),
        ("a.log", b"no"),
        ("top.txt", b"no"),
        ("b/top.txt", b"2"),
        ("b/.ignore", b"!keep.log\nc.txt"),
        ("b/c.txt", b"no"),
        ("b/keep.log", b"3"),
        ("b/build/d.txt", b"no"),
    ]);
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!(text, b"132");
    assert_eq!((reading.files, reading.skipped, reading.ignored), (3, 0, 4));
    // What is named by itself is read.
    let (text, _) = read(
        &[paths[2].clone(), root.path().join("b/build")],
        TokenKind::Char,
    )
    .unwrap();
    assert_eq!(text, b"nono");
    fs::write(&paths[0], "[z-a]").unwrap();
    refused(
        read(&[root.path().to_owned()], TokenKind::Char),
        &[".gitignore", "z"],
    );
    fs::write(&paths[0], "*.txt\n*.log").unwrap();
    let bare = read(&[root.path().to_owned()], TokenKind::Char).map(|(text, _)| text);
    assert_eq!(bare.unwrap(), b"3");
    fs::remove_file(&paths[5]).unwrap();
    refused(
        read(&[root.path().to_owned()], TokenKind::Char),
        &["no text", ".gitignore"],
    );
}

#[test]
fn gzip_is_unpacked() {
    let text = "one two\n".repeat(PIECE / 5);
    // Two members, as of two files that were joined.
    let mut packed = gzip(text.as_bytes());
    packed.extend(gzip("last é".as_bytes()));
    let (root, paths) = folder(&[("a.txt.gz", &packed), ("b", b"plain")]);
    for kind in [TokenKind::Char, TokenKind::Byte] {
        let (found, reading) = read(&[root.path().to_owned()], kind).unwrap();
        assert!(found == format!("{text}last éplain").as_bytes());
        assert_eq!(reading.bytes, found.len() as u64);
    }
    let known = Vocabulary::of_chars(&text);
    let place = format!("line {}, column 1: 'l'", PIECE / 5 + 1);
    refused(
        Corpus::read_with(&paths[..1], &known),
        &["a.txt.gz", &place, "'é'"],
    );
    fs::write(&paths[0], &packed[..packed.len() / 2]).unwrap();
    refused(
        read(&paths[..1], TokenKind::Char),
        &["a.txt.gz", "gzip", "damaged"],
    );
    let (found, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!((found.as_slice(), reading.skipped), (&b"plain"[..], 1));
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    let (root, _) = folder(&[("a/t.txt", b"t")]);
    std::os::unix::fs::symlink("..", root.path().join("a/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("broken")).unwrap();
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!((text.as_slice(), reading.skipped), (&b"t"[..], 1));
}

#[test]
fn errors_name_the_file() {
    let (root, _) = folder(&[("empty.txt", b""), ("latin.txt", b"caf\xe9")]);
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("bare")).unwrap();
    for (name, kind, expected) in [
        ("missing.txt", TokenKind::Char, "No such file"),
        ("empty.txt", TokenKind::Byte, "empty"),
        ("latin.txt", TokenKind::Char, "offset 3"),
        ("bare", TokenKind::Char, "no text"),
    ] {
        refused(read(&[at(name)], kind), &[name, expected]);
    }
    let (text, _) = read(&[at("latin.txt")], TokenKind::Byte).unwrap();
    assert_eq!(text, b"caf\xe9");
    if cfg!(unix) {
        let device = Path::new("/dev/zero").to_owned();
        refused(read(&[device], TokenKind::Byte), &["/dev/zero: a device"]);
    }
    assert!(read(&[], TokenKind::Byte).is_err());
}

#[test]
fn files_are_joined_and_encoded_with_their_own_symbols() {
    let (_root, paths) = folder(&[("b", "bé".as_bytes()), ("a", b"ab")]);
    let (corpus, reading) = Corpus::read(&paths, TokenKind::Char).unwrap();
    assert_eq!(corpus.vocabulary(), &Vocabulary::of_chars("abé"));
    assert_eq!(all(&corpus), [1, 2, 0, 1]);
    assert_eq!((reading.files, reading.bytes), (2, 5));
    let (bytes, _) = Corpus::read(&paths, TokenKind::Byte).unwrap();
    assert_eq!(all(&bytes), [98, 0xc3, 0xa9, 97, 98]);
    for kind in KINDS {
        let (corpus, _) = Corpus::read(&paths, kind).unwrap();
        let (again, _) = Corpus::read_with(&paths, corpus.vocabulary()).unwrap();
        assert_eq!(again, corpus);
    }
}

#[test]
fn words_are_ordered_by_frequency_then_spelling() {
    // Every file ends its last line.
    let (vocabulary, ids) = read_words(&["b a c\nc", "d\n"], WordLimits::default());
    assert_eq!(vocabulary, words(&["c", "a", "b", "d"]));
    assert_eq!(ids, [4, 3, 2, 1, 2, 1, 5, 1]);
}

#[test]
fn limits_send_the_rest_to_unk() {
    let limits = |min_count, vocab_size| WordLimits {
        min_count,
        vocab_size,
    };
    let text = ["x y y z z z <unk> w w w w\n"];
    let (vocabulary, ids) = read_words(&text, limits(2, Some(4)));
    assert_eq!(vocabulary, words(&["w", "z"]));
    assert_eq!(ids, [0, 0, 0, 3, 3, 3, 0, 2, 2, 2, 2, 1]);
    assert_eq!(read_words(&text, limits(3, None)).0.len(), 4);
    let (_root, paths) = folder(&[("a", b"b")]);
    let too_small = Corpus::read_part(&paths, TokenKind::Word, limits(0, Some(2)), None);
    refused(too_small, &["vocab_size: 2"]);
}

#[test]
fn ids_widen_and_narrow_as_needed() {
    let text: String = (0x4e00..0x4e00 + 300).filter_map(char::from_u32).collect();
    let (_root, paths) = folder(&[("a", text.as_bytes())]);
    let (corpus, _) = Corpus::read(&paths, TokenKind::Char).unwrap();
    assert!(matches!(corpus.ids(), Ids::U16(_)));
    assert_eq!(all(&corpus), (0..300).collect::<Vec<u32>>());

    let words: String = (0..70_000).map(|i| format!("w{i} same ")).collect();
    let (_root, paths) = folder(&[("a", words.as_bytes())]);
    let (corpus, _) = Corpus::read(&paths, TokenKind::Word).unwrap();
    assert!(matches!(corpus.ids(), Ids::U32(_)));
    assert_eq!(corpus.vocabulary().len(), 70_003);
    let limits = WordLimits {
        min_count: 2,
        vocab_size: None,
    };
    let (corpus, _) = Corpus::read_part(&paths, TokenKind::Word, limits, None).unwrap();
    assert!(matches!(corpus.ids(), Ids::U8(_)));
    assert_eq!(all(&corpus)[..4], [0, 2, 0, 2]);
}

#[test]
fn an_unknown_symbol_is_named_with_its_place() {
    let (_root, paths) = folder(&[("good.txt", b"ab"), ("bad.txt", b"ab\nab?")]);
    let known = Vocabulary::of_chars("ab\n");
    refused(
        Corpus::read_with(&paths, &known),
        &["bad.txt: line 2, column 3: '?'"],
    );
    refused(
        known.encode("ab\naéb".as_bytes()),
        &["line 2, column 2: 'é' (U+00E9)", "3 characters"],
    );
    refused(known.encode(b"ab\xff"), &["offset 2", "as bytes"]);
}

#[test]
fn a_split_keeps_every_token() {
    let corpus = Corpus::from_text("0123456789", &Vocabulary::bytes()).unwrap();
    let (train, valid) = corpus.clone().split(0.1).unwrap();
    assert_eq!([all(&train), all(&valid)].concat(), all(&corpus));
    assert_eq!(valid.len(), 1);
    assert!(corpus.clone().split(0.0).unwrap().1.is_empty());
    for fraction in [1.0, -0.1, f64::NAN] {
        refused(corpus.clone().split(fraction), &["valid_fraction"]);
    }
}

/// What `encode` makes of a text, and what comes back: `(vocabulary, text, ids, decoded)`.
#[test]
fn symbols_have_their_ids_and_come_back() {
    let characters = "zebra\n\u{1F600}éa";
    let v = Vocabulary::of_chars(characters);
    assert_eq!((v.len(), v.kind()), (8, TokenKind::Char));
    let bytes: Vec<u8> = (0..=255).collect();
    let own: Vec<u32> = (0..=255).collect();
    let text = b"the  dog\tcat\n\nthe";
    for (v, text, ids, back) in [
        (
            v,
            characters.as_bytes(),
            &[5, 3, 2, 4, 1, 0, 7, 6, 1][..],
            characters.as_bytes(),
        ),
        (Vocabulary::bytes(), &bytes, &own, &bytes),
        (
            words(&["the", "cat"]),
            text,
            &[2, 0, 3, 1, 1, 2],
            b"the <unk> cat \n\nthe ",
        ),
    ] {
        assert_eq!(v.encode(text).unwrap(), ids);
        assert_eq!(decoded(&v, ids), back);
    }
}

#[test]
fn json_comes_back_and_is_compact() {
    for v in [
        Vocabulary::bytes(),
        Vocabulary::of_chars("b\"\\\n\u{0}é\u{1F600}"),
        words(&["a", "b"]),
    ] {
        assert_eq!(Vocabulary::from_json(&v.to_json()).unwrap(), v);
    }
    assert_eq!(Vocabulary::bytes().to_json(), r#"{"kind":"byte"}"#);
    assert_eq!(
        Vocabulary::of_chars("ba").to_json(),
        r#"{"kind":"char","chars":"ab"}"#
    );
}

#[test]
fn json_is_checked() {
    for (json, expected) in [
        ("", "EOF"),
        (r#"{"kind":"char","chars":"aba"}"#, "1 of 3 symbols"),
        (r#"{"kind":"char","chars":""}"#, "0 symbols"),
        (r#"{"kind":"char"}"#, "Char"),
        (r#"{"kind":"byte","chars":"a"}"#, "Byte"),
        (r#"{"kind":"word","words":["a"]}"#, "<unk>"),
        (
            r#"{"kind":"word","words":["<unk>","<eos>","<eos>"]}"#,
            "1 of 3",
        ),
        (r#"{"kind":"line"}"#, "line"),
        (r#"{"kind":"byte","more":1}"#, "more"),
    ] {
        refused(Vocabulary::from_json(json), &["vocabulary: ", expected]);
    }
}

/// What is shown after each id, and at the end.
fn pieces(vocabulary: &Vocabulary, mut decoder: Decoder<'_>, text: &[u8]) -> Vec<String> {
    let mut pieces = Vec::new();
    for id in vocabulary.encode(text).unwrap() {
        let mut piece = String::new();
        decoder.push(id, &mut piece);
        pieces.push(piece);
    }
    let mut rest = String::new();
    decoder.finish(&mut rest);
    pieces.push(rest);
    pieces
}

#[test]
fn words_are_shown_with_spaces_and_lines_end_without() {
    let v = words(&["the", "cat"]);
    let text = b"the dog cat\n\nthe";
    let shown = pieces(&v, Decoder::new(&v), text).concat();
    assert_eq!(shown, "the <unk> cat\n\nthe");
    for (before, expected) in [("a", " cat"), ("a ", "cat"), ("a\n", "cat"), ("", "cat")] {
        let shown = pieces(&v, Decoder::after(&v, before), b"cat").concat();
        assert_eq!(shown, expected, "after {before:?}");
    }
}

#[test]
fn bytes_are_shown_as_whole_characters() {
    let v = Vocabulary::bytes();
    let shown = pieces(&v, Decoder::new(&v), "aé\u{1F600}".as_bytes());
    assert_eq!(shown, ["a", "", "é", "", "", "", "\u{1F600}", ""]);
}

proptest! {
    /// Of bytes: a character that another one interrupts, one that cannot begin, one that never ends.
    #[test]
    fn what_is_shown_is_the_text(
        text in "\\PC*", bytes in prop::collection::vec(prop::sample::select(&b"a\xe2\x82\xff\xf0\x9f\xc3\xa9"[..]), 0..9),
    ) {
        let v = Vocabulary::of_chars(&text);
        prop_assert_eq!(pieces(&v, Decoder::new(&v), text.as_bytes()).concat(), text);
        let v = Vocabulary::bytes();
        let shown = pieces(&v, Decoder::new(&v), &bytes).concat();
        prop_assert_eq!(shown, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn reber_strings_of_the_literature_belong_to_the_grammar() {
    for string in [
        "BTSXSE",
        "BTXSE",
        "BPVVE",
        "BPTVPSE",
        "BTSSXXTVVE",
        "BTXXVPSE",
        "BPVPXVPXVVE",
    ] {
        assert!(best_loss(string).is_some(), "{string}");
    }
    for string in [
        "BTSE", "BPVE", "BTXXSE", "TXSE", "BTXSEB", "BTXS\n", "BTTXSE", "", "B",
    ] {
        assert!(best_loss(string).is_none(), "{string}");
    }
}

#[test]
fn generated_text_has_the_expected_best_loss() {
    let text = reber(20_000, 7);
    assert_eq!(text.lines().count(), 20_000);
    let expected = 6.0 * 2f64.ln() / 9.0;
    let loss = best_loss(&text).unwrap();
    // The mean of 20,000 strings: three standard errors are about 0.001.
    assert!((loss - expected).abs() < 2e-3, "{loss} {expected}");
    assert_eq!(
        Vocabulary::of_chars(&text),
        Vocabulary::of_chars("\nBEPSTVX")
    );
    // The seed decides, and the end may be cut.
    assert_ne!(reber(50, 1), reber(50, 2));
    let text = reber(50, 1);
    for end in 2..text.len() {
        assert!(best_loss(&text[..end]).is_some());
    }
    assert!(best_loss(&text[3..]).is_none());
}
