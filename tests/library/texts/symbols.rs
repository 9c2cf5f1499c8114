//! Text to tokens and back; vocabularies.

use super::*;

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
