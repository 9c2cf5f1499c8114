//! The first of a run's observers: it writes the history, and sees to it that the others may write ([`Journal`]).

use super::run_folder::RunFolder;
use bptt::train::{Control, Observer, Report, StepReport, Trainer};
use bptt::{Result, Scalar};
use std::rc::Rc;

/// Writes reports into the folder of a run, and ends the run if that is no longer there.
///
/// It comes before the observers that write files of their own: a checkpoint may not know of lines of the history that are
/// not on the disk, and nothing may be written into a folder that is another run's by now.
pub struct Journal {
    pub folder: Rc<RunFolder>,
    /// Steps from checkpoint to checkpoint, if they are not made at reports.
    pub checkpoint_every: Option<u64>,
}

impl<T: Scalar> Observer<T> for Journal {
    fn step(&mut self, _: &Trainer<T>, step: &StepReport) -> Result<Control> {
        let due = |every| step.step.is_multiple_of(every);
        if self.checkpoint_every.is_some_and(due) {
            self.folder.check_ours()?;
        }
        Ok(Control::Continue)
    }

    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        self.folder.check_ours()?;
        self.folder.append(report)?;
        // Once more for whoever writes next: a disk may take its time.
        self.folder.check_ours()
    }
}
