//! The processes of a run ([`Processes`]): this one alone, or the ranks that `mpirun` started.

use anyhow::{Context, Result};
use bptt::internal::{blas, simd};
use bptt::ranks::{self, Ranks};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// All processes of a run; what each does follows from its rank.
pub struct Processes {
    /// The connection among them, unless this process is the only one.
    pub ranks: Option<Arc<dyn Ranks>>,
    /// The cores of this machine that are this process's to use.
    pub cores: usize,
    #[cfg(feature = "mpi")]
    mpi: Option<bptt::ranks::mpi::World>,
}

impl Processes {
    /// This process by itself.
    pub fn alone() -> Self {
        Processes {
            ranks: None,
            cores: cores(),
            #[cfg(feature = "mpi")]
            mpi: None,
        }
    }

    /// Meets the other processes, if a launcher started any.
    pub fn join() -> Result<Self> {
        #[allow(unused_mut)] // without MPI
        let mut processes = Processes::alone();
        #[cfg(feature = "mpi")]
        if ranks::launched_processes().is_some() {
            processes.mpi = bptt::ranks::mpi::World::start()?;
            let ranks = processes.mpi.as_ref().map(|mpi| mpi.ranks());
            processes.ranks = ranks.filter(|ranks| ranks.size() > 1);
            if let Some(ranks) = &processes.ranks {
                processes.cores = binding::cores(&**ranks, processes.cores).min(most_threads());
            }
        }
        Ok(processes)
    }

    /// Whether all processes are the same program with the same arguments.
    pub fn check_same_program(&self) -> Result<()> {
        if self.ranks.is_none() {
            return Ok(());
        }
        let program = std::env::current_exe().and_then(fs_err::read);
        self.check_same("another build of bptt", &program.unwrap_or_default())?;
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        self.check_same("other arguments", format!("{arguments:?}").as_bytes())
    }

    pub fn rank(&self) -> usize {
        self.ranks.as_ref().map_or(0, |ranks| ranks.rank())
    }

    pub fn size(&self) -> usize {
        self.ranks.as_ref().map_or(1, |ranks| ranks.size())
    }

    /// Whether this is the process that writes files and talks to people.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// The value that rank 0 gives, on every rank; the other ranks give `None`.
    pub fn broadcast<T: Serialize + DeserializeOwned>(&self, found: Option<T>) -> Result<T> {
        let json = self.broadcast_bytes(serde_json::to_vec(&found)?);
        let shared: Option<T> = serde_json::from_slice(&json)?;
        shared.context("rank 0 has found nothing")
    }

    /// The bytes that rank 0 gives, on every rank.
    pub fn broadcast_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.ranks {
            None => bytes,
            Some(ranks) => ranks::broadcast_bytes(&**ranks, &bytes, 0),
        }
    }

    /// Whether all ranks give the same bytes; the error says that the first rank which differs from rank 0 has `what`.
    pub fn check_same(&self, what: &'static str, bytes: &[u8]) -> Result<()> {
        if let Some(ranks) = &self.ranks {
            ranks::check_equal(&**ranks, what, bytes)?;
        }
        Ok(())
    }

    /// Lets this process use as many cores as it has threads, where a launcher has bound it to fewer.
    pub fn make_room(&self, threads: usize) {
        #[cfg(feature = "mpi")]
        if self.ranks.is_some() {
            binding::make_room(threads);
        }
        let _ = threads;
    }

    /// Ends the processes of all ranks; does nothing if this process is the only one.
    pub fn abort(&self, status: u8) {
        #[cfg(feature = "mpi")]
        if let Some(mpi) = self.mpi.as_ref().filter(|mpi| mpi.size() > 1) {
            mpi.abort(status);
        }
        let _ = status;
    }

    /// Remarks on processes that cannot work together, and on ranks whose last bits may differ.
    pub fn warn(&self, output: super::output::Output) {
        let launched = ranks::launched_processes().unwrap_or(1);
        if launched > 1 && self.size() == 1 {
            output.remark(format_args!(
                "{launched} processes were started, and each trains by itself: to share the work they need a bptt built \
                 with `cargo build --release --features mpi`"
            ));
        }
        let kernels = format!("{} {}", simd::name(simd::level()), blas::library());
        let same = self.check_same("other kernels", kernels.as_bytes());
        if same.is_err() {
            output.remark(format_args!(
                "the ranks' machines differ in vector instructions or OpenBLAS, so the last bits depend on which rank runs \
                 where: {} and OPENBLAS_CORETYPE in the environment of all can make them equal",
                simd::VARIABLE
            ));
        }
    }
}

/// The cores that are this process's to use: those that the system leaves it, and no more than the environment says.
pub fn cores() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(most_threads())
}

/// What `OMP_NUM_THREADS` says of the threads of every program, and SLURM of the cores that a job has asked for.
fn most_threads() -> usize {
    let number = |name| -> Option<usize> {
        // Of `4,2` the second number is that of threads inside threads.
        let value = std::env::var(name).ok()?;
        value.split(',').next()?.trim().parse().ok()
    };
    let limits = ["OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"].map(number);
    let limits = limits.into_iter().flatten().filter(|&threads| threads > 0);
    limits.min().unwrap_or(usize::MAX)
}

/// Which cores a process may use among the ranks of its machine.
///
/// Open MPI binds each of two processes to one core unless told otherwise, and a rank is to use its part of the machine:
/// then what `mpirun` itself may use counts. Other launchers bind as they were asked to.
#[cfg(feature = "mpi")]
mod binding {
    use bptt::ranks::{Ranks, gather_values};
    use rustix::process::getppid;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// The cores of this process, and of the launcher's if that bound it.
    fn sets() -> Option<(CpuSet, CpuSet)> {
        let own = sched_getaffinity(None).ok()?;
        let by_open_mpi = std::env::var_os("OMPI_COMM_WORLD_LOCAL_SIZE").is_some();
        let launcher = getppid().filter(|_| by_open_mpi);
        let all = launcher.and_then(|launcher| sched_getaffinity(Some(launcher)).ok());
        Some((own, all.unwrap_or(own)))
    }

    /// The cores for this process: its share of the cores that several ranks of a machine may use.
    pub fn cores(ranks: &dyn Ranks, available: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        let machine = rustix::system::uname();
        machine.nodename().hash(&mut hasher);
        let cores = sets().map_or(available, |(own, all)| {
            all.hash(&mut hasher);
            // A quota on processor time counts as well, where it is known.
            match own == all {
                true => available,
                false => all.count() as usize,
            }
        });
        let own = hasher.finish();
        let all = gather_values(ranks, own).into_iter();
        (cores / all.filter(|&other| other == own).count()).max(1)
    }

    pub fn make_room(threads: usize) {
        if let Some((own, all)) = sets()
            && (own.count() as usize) < threads
        {
            // What is not allowed is left as it is: slower, and as right.
            let _ = sched_setaffinity(None, &all);
        }
    }
}
