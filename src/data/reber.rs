//! Text whose best possible loss is known: strings of the Reber grammar (Reber 1967; as drawn in
//! Hochreiter and Schmidhuber 1997).
//!
//! | state | letters and the states they lead to |
//! |---|---|
//! | 0 | `T` 1, `P` 2 |
//! | 1 | `S` 1, `X` 3 |
//! | 2 | `T` 2, `V` 4 |
//! | 3 | `X` 2, `S` 5 |
//! | 4 | `P` 3, `V` 5 |
//! | 5 | the end |
//!
//! A string is `B`, the letters along a way from state 0 to 5, either letter half of the time, and
//! `E`; a line holds one. Nothing but the choice of one of two letters is uncertain: `ln 2` where
//! there is a choice, 0 elsewhere, `6 ln 2 / 9 = 0.462` nats a character on average (a string has 6
//! choices and 9 characters in the mean, the line feed included).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The two ways on from each state that has a choice: letter and next state.
const WAYS: [[(u8, usize); 2]; 5] = [
    [(b'T', 1), (b'P', 2)],
    [(b'S', 1), (b'X', 3)],
    [(b'T', 2), (b'V', 4)],
    [(b'X', 2), (b'S', 5)],
    [(b'P', 3), (b'V', 5)],
];
/// `E` is next.
const LAST: usize = 5;
/// The line feed is next.
const AFTER: usize = 6;
/// `B` is next.
const BEFORE: usize = 7;

/// So many strings of the grammar, one a line, over the letters `BTPSXVE` and the line feed.
///
/// ```
/// use bptt::data::reber;
///
/// let text = reber(2, 0);
/// assert!(text.lines().all(|line| line.starts_with('B') && line.ends_with('E')));
/// assert_eq!(text, reber(2, 0));
/// ```
pub fn reber(strings: usize, seed: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut text = String::new();
    for _ in 0..strings {
        text.push('B');
        let mut state = 0;
        while state != LAST {
            let (letter, next) = WAYS[state][usize::from(rng.random::<bool>())];
            text.push(char::from(letter));
            state = next;
        }
        text.push_str("E\n");
    }
    text
}

/// The mean loss, in nats a character, of the best predictor there can be: one that knows the grammar.
///
/// The mean is over all characters but the first, which nothing predicts. `None` if the text leaves
/// the grammar or has fewer than two characters; it may end within a string but not begin there.
///
/// ```
/// use bptt::data::best_loss;
///
/// let loss = best_loss("BPVVE\n").unwrap(); // a choice at P, V and V
/// assert!((loss - 3.0 * 2f64.ln() / 5.0).abs() < 1e-12);
/// assert!(best_loss("BTVE\n").is_none());
/// ```
pub fn best_loss(text: &str) -> Option<f64> {
    let (mut state, mut choices) = (BEFORE, 0u64);
    for letter in text.bytes() {
        state = match (state, letter) {
            (BEFORE, b'B') => 0,
            (LAST, b'E') => AFTER,
            (AFTER, b'\n') => BEFORE,
            _ => {
                let ways = WAYS.get(state)?;
                choices += 1;
                ways.iter().find(|way| way.0 == letter)?.1
            }
        };
    }
    let predicted = text.len().checked_sub(1).filter(|&n| n > 0)?;
    Some(choices as f64 * std::f64::consts::LN_2 / predicted as f64)
}
