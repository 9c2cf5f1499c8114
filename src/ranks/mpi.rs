//! [`Ranks`] connected by MPI, with the feature `mpi`: Open MPI or MPICH, as the system has it.
//!
//! ```no_run
//! use bptt::ranks::{Reduction, mpi::World};
//! use bptt::{Architecture, Engine, EngineOptions, Head, Input};
//!
//! let world = World::start()?.expect("MPI has not been started before");
//! let options = EngineOptions { shards: 2 * world.size(), ..EngineOptions::default() };
//! let network = Architecture::new(Input::Tokens(64), 256, Head::softmax(64));
//! let engine = Engine::<f32>::new(network, options)?;
//! let engine = engine.join(world.ranks(), Reduction::Ordered)?;
//! # Ok::<(), bptt::Error>(())
//! ```

use super::{Ranks, Values, launched_processes};
use crate::{Error, Result};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::*;
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// The bytes of one message: counts are 32 bits wide, and this is a multiple of every number's size.
const MESSAGE: usize = 1 << 30;

/// MPI, from its start to its end. When it is dropped, it waits for the other ranks; in a panic, it ends them.
pub struct World {
    connection: Arc<Connection>,
    // Dropped last.
    _universe: Universe,
}

impl World {
    /// Starts MPI; `None` if it has been started before. Threads of this process may talk to the others, one at a time; only
    /// the one that calls this, if this MPI cannot do that.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a launcher started several processes, and MPI knows of one: it is another MPI's launcher.
    pub fn start() -> Result<Option<Self>> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized)
        else {
            return Ok(None);
        };
        let world = SimpleCommunicator::world();
        let unsigned = |rank: i32| usize::try_from(rank).expect("no rank is negative");
        let (rank, size) = (unsigned(world.rank()), unsigned(world.size()));
        let connection = Connection {
            rank,
            size,
            only: (threading < Threading::Serialized).then(|| thread::current().id()),
        };
        if let Some(launched) = launched_processes().filter(|&n| n > 1 && size == 1) {
            let version = mpi::environment::library_version().unwrap_or_default();
            let problem = format!(
                "{launched} processes were started, but each sees only itself: start them with the mpirun of the MPI that \
                 bptt was built with ({})",
                version.trim()
            );
            return Err(Error::invalid("MPI", problem));
        }
        Ok(Some(World {
            connection: Arc::new(connection),
            _universe: universe,
        }))
    }

    /// Which process this is, from 0.
    pub fn rank(&self) -> usize {
        self.connection.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.connection.size
    }

    /// The connection, for [`crate::Engine::join`].
    pub fn ranks(&self) -> Arc<dyn Ranks> {
        self.connection.clone()
    }

    /// Ends all processes at once, with this exit status.
    pub fn abort(&self, status: u8) -> ! {
        self.connection.world().abort(status.into())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort(101);
        }
    }
}

#[derive(Debug)]
struct Connection {
    rank: usize,
    size: usize,
    /// The thread that may call MPI, if not any may.
    only: Option<ThreadId>,
}

impl Connection {
    fn world(&self) -> SimpleCommunicator {
        let here = thread::current().id();
        let allowed = self.only.is_none_or(|only| only == here);
        assert!(
            allowed,
            "this MPI is called from the thread that started it"
        );
        SimpleCommunicator::world()
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).expect("all that is gathered fits into 2 GiB")
}

impl Ranks for Connection {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn takes_any_thread(&self) -> bool {
        self.only.is_none()
    }

    fn send(&self, bytes: &[u8], to: usize) {
        let (world, to) = (self.world(), number(to));
        let process = world.process_at_rank(to);
        bytes.chunks(MESSAGE).for_each(|bytes| process.send(bytes));
    }

    fn receive(&self, bytes: &mut [u8], from: usize) {
        let (world, from) = (self.world(), number(from));
        let process = world.process_at_rank(from);
        for bytes in bytes.chunks_mut(MESSAGE) {
            process.receive_into(bytes);
        }
    }

    fn broadcast(&self, bytes: &mut [u8], from: usize) {
        let (world, from) = (self.world(), number(from));
        let process = world.process_at_rank(from);
        for bytes in bytes.chunks_mut(MESSAGE) {
            process.broadcast_into(bytes);
        }
    }

    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]) {
        let counts: Vec<_> = counts.iter().map(|&count| number(count)).collect();
        let mut begins = vec![0; counts.len()];
        for rank in 1..counts.len() {
            begins[rank] = begins[rank - 1] + counts[rank - 1];
        }
        let mut parts = PartitionMut::new(all, counts, begins);
        self.world().all_gather_varcount_into(own, &mut parts);
    }

    fn sum(&self, values: Values<'_>) {
        let (world, sum) = (self.world(), SystemOperation::sum());
        macro_rules! sum {
            ($x:expr) => {
                for x in $x.chunks_mut(MESSAGE / 8) {
                    let own = x.to_vec();
                    world.all_reduce_into(&own[..], x, sum);
                }
            };
        }
        match values {
            Values::F32(x) => sum!(x),
            Values::F64(x) => sum!(x),
        }
    }
}
