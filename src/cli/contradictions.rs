//! Settings that are each right by themselves, and together wrong or without effect.

use super::dataset::npz;
use super::errors::{Usage, flag};
use super::settings::Settings;
use anyhow::Result;
use bptt::data::TokenKind;
use bptt::train::Schedule;
use bptt::{At, Cell, Loss};

/// The flags for which a model speaks, where a run begins with one.
const OF_MODEL: &str = "--tokens, --min-count, --vocab-size, --cell, --hidden, --layers, --bidirectional, --embedding, \
                        --tie, --loss, --at, --init, --forget-bias";

impl Settings {
    /// Refuses settings that contradict each other, or of which some, as far as they were given by `names`, would have no effect.
    pub fn check(&self, names: &[String]) -> Result<()> {
        let given = |name| names.iter().any(|given| given == name);
        let words = self.tokens == TokenKind::Word;
        let set = npz(&self.data)?.is_some();
        let plateau = given("schedule") && self.schedule == Schedule::HalveOnPlateau;
        let of_model = |name: &String| OF_MODEL.split(", ").any(|of| of == flag(name));
        if self.from.is_some() && names.iter().any(of_model) {
            let why = "--from: the network and its tokens are those of the model, and flags that say otherwise are to be left out";
            return Err(Usage(format!("{why} ({OF_MODEL})")).into());
        }
        let wrong = [
            (
                self.from.is_some() && self.data.is_empty(),
                "--from: DATA to go on with is needed",
            ),
            (
                self.forget_bias.is_some() && self.cell != Cell::Lstm,
                "--forget-bias: only an LSTM has forget gates: give --cell lstm",
            ),
            (
                self.bidirectional && !set,
                "--bidirectional: a text is predicted from what came before, and reading it backwards would show the answer",
            ),
            (
                self.at == Some(At::Last) && !set,
                "--at last: every token of a text is predicted, not only the last",
            ),
            (
                !set && !matches!(self.loss, None | Some(Loss::CrossEntropy)),
                "--loss: the next token of a text is one of several classes, which only cross-entropy judges",
            ),
            (
                set && given("tokens"),
                "--tokens: an .npz holds numbers or ids of tokens, and no text",
            ),
            (
                self.data.is_empty() && (given("tokens") || !self.valid.is_empty()),
                "--tokens, --valid: they are for DATA; without, the letters of the Reber grammar are learnt",
            ),
            (
                set && self.reset_state && self.seq_len.is_none(),
                "--reset-state: whole sequences start from a zero state anyhow; it is for windows of them, --seq-len",
            ),
            (
                (given("min_count") || self.vocab_size.is_some()) && !words,
                "--min-count, --vocab-size: only --tokens word leaves rare words out",
            ),
            (
                self.valid_fraction == Some(0.0) && (self.patience > 0 || plateau),
                "--patience, --schedule halve-on-plateau: the validation loss decides, and --valid-fraction 0 leaves none",
            ),
        ];
        let wrong = wrong.into_iter().find(|(is_wrong, _)| *is_wrong);
        wrong.map_or(Ok(()), |(_, why)| Err(Usage(why.into()).into()))
    }
}
