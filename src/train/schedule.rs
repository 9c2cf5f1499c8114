//! How the learning rate goes over a run: [`Schedule`].

/// The course of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same from first to last.
    Constant,
    /// Down to zero along half a cosine over all steps of the run (Loshchilov & Hutter 2017).
    Cosine,
    /// Halved, and the best weights loaded again, when the validation loss has stopped falling.
    HalveOnPlateau,
}

impl Schedule {
    /// The rate's factor at update `step` of `total`, counted from 1, rising evenly over the first `warmup` updates.
    pub fn factor(self, step: u64, total: u64, warmup: u64) -> f64 {
        if step <= warmup {
            return step as f64 / (warmup as f64 + 1.0);
        }
        match self {
            Schedule::Constant | Schedule::HalveOnPlateau => 1.0,
            Schedule::Cosine => {
                let run = (total.saturating_sub(warmup)).max(1) as f64;
                let done = (step - warmup - 1) as f64 / run;
                0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
            }
        }
    }
}
