//! What memory is taken, counted by an allocator that every test here shares; which is why they are not in `library`.

#[path = "../support/mod.rs"]
mod support;

mod models;
mod sets;
mod steps;

use bptt::internal::measure::{forget_peak_resident, peak_resident};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, with a memory for how often it was called, and the most that was ever held.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    let held = HELD.fetch_add(bytes, Ordering::SeqCst) + bytes;
    MOST.fetch_max(held, Ordering::SeqCst);
}

// SAFETY: every call is handed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::SeqCst);
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        HELD.fetch_sub(layout.size(), Ordering::SeqCst);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time, or they would count each other's.
static TURN: Mutex<()> = Mutex::new(());

/// What `work` returns, and the most bytes that were held meanwhile, beyond those held before.
fn most_held<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    let result = work();
    (result, MOST.load(Ordering::SeqCst) - before)
}

/// How many allocations `work` makes, on all threads.
fn allocations(work: impl FnOnce()) -> usize {
    let before = CALLS.load(Ordering::SeqCst);
    work();
    CALLS.load(Ordering::SeqCst) - before
}

/// What `read` returns for a file of so many bytes, with its memory held against them.
#[track_caller]
fn within<R>(length: usize, read: impl FnOnce() -> R) -> R {
    let (result, most) = most_held(read);
    let limit = 2 * length + (64 << 20);
    assert!(most <= limit, "{most} bytes for a file of {length}");
    result
}

#[track_caller]
fn refused<R>(result: bptt::Result<R>, expected: &str) {
    match result {
        Ok(_) => panic!("accepted, where {expected:?} was expected"),
        Err(error) => assert!(error.to_string().contains(expected), "{error}"),
    }
}

/// Reads a file that is all right, cut off anywhere, and with each byte another.
#[track_caller]
fn any_byte_wrong(whole: &[u8], is_read: impl Fn(&[u8]) -> bool) {
    assert!(is_read(whole));
    for length in 0..whole.len() {
        assert!(!is_read(&whole[..length]), "cut at {length}");
    }
    let mut errors = 0;
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= flip;
            errors += usize::from(!is_read(&bytes));
        }
    }
    // Weights may be other numbers, dates of an archive other dates.
    assert!(errors > whole.len() / 2, "{errors} errors");
}

/// The peak rises with what is touched, and is forgotten when asked.
#[test]
fn peaks_are_seen_and_forgotten() {
    let _turn = TURN.lock();
    const BYTES: usize = 200 << 20;
    if !forget_peak_resident() {
        eprintln!("skipped: this system does not let a process forget its peak");
        return;
    }
    let before = peak_resident().unwrap();
    drop(std::hint::black_box(vec![1u8; BYTES]));
    let peak = peak_resident().unwrap();
    assert!(peak >= before + BYTES as u64 / 2, "{before} {peak}");
    assert!(forget_peak_resident());
    let after = peak_resident().unwrap();
    assert!(after <= peak - BYTES as u64 / 2, "{after} {peak}");
}
