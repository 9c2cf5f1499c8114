//! A training step allocates nothing after the first: counted, on every thread of the process.

use bptt::{Batch, Dims, Engine, EngineOptions, Init, Rnn};
use ndarray::Array2;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let dims = Dims::new(20, 70, 20).unwrap();
    let mut rnn = Rnn::<f32>::new(dims, Init::Orthogonal, 0).unwrap();
    let mut engine = Engine::new(
        dims,
        EngineOptions {
            threads: 2,
            shards: 3,
            ..EngineOptions::default()
        },
    )
    .unwrap();
    let ids = Array2::from_shape_fn((10, 15), |(i, t)| ((i * 3 + t * 7) % 20) as u32);
    let batch = Batch::new(&ids, &ids);
    let mut steps = |count: usize, batch: &Batch<'_, f32>| {
        let mut state = Array2::zeros((batch.inputs.sequences().0, 70));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..count {
            engine
                .gradient(rnn.parameters(), batch, Some(&mut state))
                .unwrap();
            bptt::optim::gradient_descent_step(rnn.parameters_mut(), engine.gradients(), 0.1);
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    assert!(
        steps(1, &batch) > 10,
        "the first step allocates: the counter counts"
    );
    // Rayon's queue of work from outside its pool takes a block of 64 entries at a time.
    let hand_overs = 2 * 200;
    let allowed = hand_overs / 32;
    let seen = steps(200, &batch);
    assert!(seen <= allowed, "{seen} allocations in 200 steps");
    // A smaller batch fits into what is there.
    let small = ids.slice(ndarray::s![..7, ..9]).to_owned();
    let seen = steps(64, &Batch::new(&small, &small));
    assert!(seen <= allowed, "{seen} allocations in 64 smaller steps");
}
