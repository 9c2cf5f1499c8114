//! Tokens as they are shown, piece by piece.

use super::*;

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
