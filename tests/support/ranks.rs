//! Ranks that are threads, connected by channels.

use bptt::Scalar;
use bptt::ranks::{Ranks, Values};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// A rank that is a thread: a channel from each to each.
#[derive(Debug)]
struct Thread {
    rank: usize,
    /// The thread that it is, which every other rank insists on.
    home: Option<ThreadId>,
    to: Vec<Mutex<Sender<Vec<u8>>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn takes_any_thread(&self) -> bool {
        self.rank.is_multiple_of(2)
    }

    fn send(&self, bytes: &[u8], to: usize) {
        let here = std::thread::current().id();
        assert!(self.takes_any_thread() || self.home == Some(here));
        self.to[to].lock().unwrap().send(bytes.to_vec()).unwrap();
    }

    fn receive(&self, bytes: &mut [u8], from: usize) {
        bytes.copy_from_slice(&self.from[from].lock().unwrap().recv().unwrap());
    }

    fn broadcast(&self, bytes: &mut [u8], from: usize) {
        if self.rank == from {
            (0..self.size()).for_each(|to| self.send(bytes, to));
        }
        self.receive(bytes, from);
    }

    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]) {
        assert_eq!(own.len(), counts[self.rank]);
        (0..self.size()).for_each(|to| self.send(own, to));
        let mut rest = all;
        for (from, &count) in counts.iter().enumerate() {
            let (part, later) = rest.split_at_mut(count);
            self.receive(part, from);
            rest = later;
        }
        assert!(rest.is_empty());
    }

    /// From the last to the first: not the order of the shards.
    fn sum(&self, values: Values<'_>) {
        fn add<T: Scalar>(ranks: &Thread, x: &mut [T]) {
            let size = size_of_val(x);
            let mut all = vec![0; ranks.size() * size];
            ranks.all_gather(bytemuck::cast_slice(x), &vec![size; ranks.size()], &mut all);
            x.fill(T::zero());
            for part in all.chunks_exact(size).rev() {
                let part: &[T] = bytemuck::cast_slice(part);
                x.iter_mut().zip(part).for_each(|(a, &b)| *a += b);
            }
        }
        match values {
            Values::F32(x) => add(self, x),
            Values::F64(x) => add(self, x),
        }
    }
}

/// What `work` returns on each of `size` ranks.
pub fn on_ranks<R: Send>(size: usize, work: impl Fn(Arc<dyn Ranks>) -> R + Sync) -> Vec<R> {
    let mut ranks: Vec<_> = (0..size)
        .map(|rank| Thread {
            rank,
            home: None,
            to: Vec::new(),
            from: Vec::new(),
        })
        .collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = channel();
            ranks[from].to.push(Mutex::new(sender));
            ranks[to].from.push(Mutex::new(receiver));
        }
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .into_iter()
            .map(|mut rank| {
                scope.spawn(move || {
                    rank.home = Some(std::thread::current().id());
                    work(Arc::new(rank))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}
