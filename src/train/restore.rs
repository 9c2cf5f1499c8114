//! A run taken down as a checkpoint, and set up again from one.

use super::{CarriedState, Checkpoint, Report, Trainer, checkpoint, copy};
use crate::model::About;
use crate::optim::Optimizer;
use crate::{Error, Network, Parameters, Result, Scalar};
use ndarray::Array2;
use std::borrow::Cow;
use std::path::Path;

impl<T: Scalar> Trainer<T> {
    /// Goes to where `checkpoint` was taken, with the reports up to there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is of another network, [`Error::Shape`] if of another optimiser; [`Error::Option`] if its
    /// position is not in the data.
    pub fn restore(&mut self, checkpoint: Checkpoint<T>, history: Vec<Report>) -> Result<()> {
        let expected = self.network.architecture();
        let weights = [&checkpoint.parameters, &checkpoint.best];
        let mut all = weights.iter().copied().chain(&checkpoint.moments);
        let other = all.find(|p| p.architecture() != expected);
        if other.is_some() || checkpoint.state.ncols() != expected.state() {
            let found = other.map_or("its state".into(), |p| p.architecture().to_string());
            let problem = format!("it is of another network ({found}), expected {expected}");
            return Err(Error::invalid("checkpoint", problem));
        }
        self.optimizer = Optimizer::resume(
            self.optimizer.options(),
            checkpoint.progress.optimizer_steps,
            checkpoint.moments.clone(),
        )?;
        self.loader.seek(checkpoint.progress.position)?;
        self.network = Network::from_parameters(checkpoint.parameters.clone());
        self.best = checkpoint.best.clone();
        self.state = CarriedState::of(checkpoint.state.clone());
        self.progress = checkpoint.progress.clone();
        self.history = history;
        self.thin_history();
        self.good = checkpoint;
        Ok(())
    }

    /// All that is needed to go on from here. Of several ranks, all must ask for it.
    pub fn checkpoint(&self) -> Checkpoint<T> {
        Checkpoint {
            parameters: self.network.parameters().clone(),
            best: self.best.clone(),
            moments: self.optimizer.moments().to_vec(),
            state: self.whole_state().into_owned(),
            progress: self.progress.clone(),
        }
    }

    /// Writes the checkpoint without a copy of it, on rank 0 and if all its numbers are finite; says whether they are. Of
    /// several ranks, all must ask for it.
    pub(super) fn write_checkpoint(&self, path: &Path, about: &About) -> Result<bool> {
        let (state, moments) = (self.whole_state(), self.optimizer.moments());
        let weights = [self.network.parameters(), &self.best];
        let mut all = weights.into_iter().chain(moments);
        let finite = all.all(Parameters::all_finite) && state.iter().all(|x| x.is_finite());
        if finite && self.engine.rank() == 0 {
            checkpoint::write(path, about, weights, moments, &state, &self.progress)?;
        }
        Ok(finite)
    }

    /// The carried state of all streams, which several ranks bring together.
    fn whole_state(&self) -> Cow<'_, Array2<T>> {
        let mut state = Cow::Borrowed(self.state.streams());
        if self.engine.ranks() > 1 {
            self.engine.gather_state(state.to_mut());
        }
        state
    }

    /// The present checkpoint as the one to go back to, in the memory that is there for it.
    pub(super) fn remember(&mut self) {
        let good = &mut self.good;
        copy(&mut good.parameters, self.network.parameters());
        copy(&mut good.best, &self.best);
        for (to, from) in good.moments.iter_mut().zip(self.optimizer.moments()) {
            copy(to, from);
        }
        good.state.clone_from(self.state.streams());
        good.progress.clone_from(&self.progress);
    }
}
