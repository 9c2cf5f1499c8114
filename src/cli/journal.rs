//! What the program itself writes of a run, beside the library's observers: the history and the plot ([`Journal`]).

use super::plot::LossPlot;
use super::run_folder::RunFolder;
use bptt::train::{Control, Observer, Report, StepReport, Trainer};
use bptt::{Result, Scalar};

/// Writes reports into the folder of a run, and ends the run if that is no longer there.
///
/// It must come before the observers that write files of their own: a checkpoint may not know of lines of the history that
/// are not on the disk, and nothing may be written into a folder that is another run's by now.
pub struct Journal {
    pub folder: RunFolder,
    pub plot: LossPlot,
    checkpoint_every: Option<u64>,
}

impl Journal {
    /// Of a run with these reports so far, of which checkpoints are made after so many steps, if not at reports.
    pub fn new(folder: RunFolder, history: &[Report], checkpoint_every: Option<u64>) -> Self {
        let name = folder.path.file_name().unwrap_or_default();
        let mut plot = LossPlot::new(&folder.files.plot, &name.to_string_lossy());
        history.iter().for_each(|report| plot.push(report));
        Journal {
            folder,
            plot,
            checkpoint_every,
        }
    }
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
        self.plot.push(report);
        self.plot.draw_sometimes()?;
        // For whoever writes next.
        self.folder.check_ours()
    }
}
