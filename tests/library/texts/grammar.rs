//! Text of a known best loss.

use super::*;

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
