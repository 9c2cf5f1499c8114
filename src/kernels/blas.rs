//! The foreign half: every call into OpenBLAS and every setting of its threads.
//!
//! The engine takes from BLAS the products over all rows of a shard: the weight gradients `C = A^T B` (`gemm_tn`) and,
//! where there are many classes, the logits and what comes back from them; what runs once per time step is
//! `packed`. Each product runs on the thread that calls it: the shards are the parallelism.
//!
//! Which OpenBLAS is loaded is the user's choice at run time (on Debian by `update-alternatives`), so [`library`] asks
//! the library itself:
//!
//! | flavour | what it needs |
//! |---|---|
//! | pthread | one thread, set once for the process ([`OneThread`]) |
//! | OpenMP | the same, and again in every worker thread, which OpenMP does not own ([`prepare_worker`]) |
//! | serial | Debian builds it without locks and two products at a time give wrong numbers: calls take turns |
#![allow(unsafe_code)]

use super::number::Number;
use super::packed::Out;
use super::rows::{Rows, extent};
use crate::{Error, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

// The crate that carries the link to the library itself.
extern crate openblas_src as _;

unsafe extern "C" {
    fn openblas_get_config() -> *const c_char;
    fn openblas_get_corename() -> *const c_char;
    fn openblas_get_parallel() -> c_int;
    fn openblas_get_num_threads() -> c_int;
    fn openblas_set_num_threads(n: c_int);
}

/// How an OpenBLAS was built to run in parallel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// No threads of its own and, as Debian builds it, no locks either.
    Serial,
    /// Its own pool of POSIX threads.
    Pthread,
    /// The threads of OpenMP.
    OpenMp,
}

/// The OpenBLAS this process runs on.
#[derive(Clone, Debug)]
pub struct Library {
    /// How it was built to run in parallel.
    pub flavour: Flavour,
    /// The processor family its kernels are written for, such as `Haswell` or `SkylakeX`.
    pub core: String,
    /// Version and build options, as the library prints them.
    pub config: String,
    /// The file it was loaded from; `None` where it is linked statically.
    pub path: Option<String>,
    /// The most threads that may call it at once: half of its table of packing buffers.
    pub max_workers: usize,
}

/// The processor family that OpenBLAS has kernels for now.
pub fn core() -> String {
    // SAFETY: the function returns a pointer to a NUL-terminated string that lives as long as the library.
    unsafe { text(openblas_get_corename()) }
}

/// Has OpenBLAS choose its kernels again, by what `OPENBLAS_CORETYPE` says now; whether it could. For the beginning of a process
/// that cannot begin again: before [`library`] is asked, and while nobody else is in a product.
pub fn choose_core() -> bool {
    let Some(path) = loaded_from().and_then(|path| CString::new(path).ok()) else {
        return false;
    };
    // SAFETY: looks names up in a library that is loaded already; path and names are NUL-terminated.
    let [quit, init] = unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if library.is_null() {
            return false;
        }
        [c"gotoblas_dynamic_quit", c"gotoblas_dynamic_init"]
            .map(|name| libc::dlsym(library, name.as_ptr()))
    };
    if quit.is_null() || init.is_null() {
        return false;
    }
    // SAFETY: builds for several processors have these two functions, without arguments: one forgets the table of kernels, the
    // other, which OpenBLAS calls as it is loaded, chooses one.
    unsafe {
        for function in [quit, init] {
            std::mem::transmute::<*mut c_void, extern "C" fn()>(function)();
        }
    }
    true
}

/// Asks OpenBLAS what it is, once.
pub fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // SAFETY: as in `core`.
        let config = unsafe { text(openblas_get_config()) };
        // SAFETY: reads a constant.
        let flavour = match unsafe { openblas_get_parallel() } {
            0 => Flavour::Serial,
            1 => Flavour::Pthread,
            _ => Flavour::OpenMp,
        };
        // The table has 2 MAX_THREADS buffers. A serial build names no MAX_THREADS; its calls take turns anyway.
        let number = |word: &str| word.strip_prefix("MAX_THREADS=")?.parse().ok();
        let max_workers = config.split_whitespace().find_map(number);
        Library {
            flavour,
            core: core(),
            path: loaded_from(),
            max_workers: max_workers.unwrap_or(64),
            config,
        }
    })
}

impl std::fmt::Display for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version: Vec<_> = self.config.split_whitespace().take(2).collect();
        let version = version.join(" ");
        let flavour = match self.flavour {
            Flavour::Serial => "serial",
            Flavour::Pthread => "pthread",
            Flavour::OpenMp => "OpenMP",
        };
        write!(f, "{version} ({flavour}, {} kernels)", self.core)
    }
}

/// OpenBLAS runs each product on the calling thread for as long as one of these lives.
///
/// The setting is global to the process. The first one remembers what it was, the last one restores it.
#[derive(Debug)]
pub struct OneThread(());

/// How many [`OneThread`] live, and the setting to restore after the last.
static ONE_THREAD: Mutex<(usize, c_int)> = Mutex::new((0, 0));

impl OneThread {
    /// Sets OpenBLAS to one thread.
    pub fn new() -> Self {
        let mut users = lock(&ONE_THREAD);
        if users.0 == 0 {
            // SAFETY: both take or return plain integers; the lock orders them among ourselves.
            unsafe {
                users.1 = openblas_get_num_threads();
                openblas_set_num_threads(1);
            }
        }
        users.0 += 1;
        prepare_worker();
        OneThread(())
    }
}

impl Default for OneThread {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        let mut users = lock(&ONE_THREAD);
        users.0 -= 1;
        if users.0 == 0 {
            // SAFETY: as in `new`.
            unsafe { openblas_set_num_threads(users.1) }
        }
    }
}

/// How many threads OpenBLAS would use for a product now.
pub fn num_threads() -> usize {
    // SAFETY: reads an integer.
    usize::try_from(unsafe { openblas_get_num_threads() }).unwrap_or(1)
}

/// To be called first on every thread that will run products.
///
/// An OpenMP build takes the number of threads from OpenMP, which keeps one for each thread it does not own; here it is
/// set to one. The others need nothing.
pub fn prepare_worker() {
    if library().flavour != Flavour::OpenMp {
        return;
    }
    // SAFETY: looks a name up in the objects already loaded; the name is NUL-terminated.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"omp_set_num_threads".as_ptr()) };
    if !symbol.is_null() {
        // SAFETY: the OpenMP standard gives this function this signature.
        let set: extern "C" fn(c_int) =
            unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(c_int)>(symbol) };
        set(1);
    }
}

/// A pool of threads that run products.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.thread_name(|i| format!("bptt-{i}"));
    let pool = pool.start_handler(|_| prepare_worker()).build();
    pool.map_err(|source| Error::Threads { threads, source })
}

/// Runs `f` while no other thread is inside a serial, unlocked OpenBLAS; with the other flavours, just runs it.
///
/// For calls that reach the library by another way than this file (LAPACK through `ndarray-linalg`).
pub fn exclusive<R>(f: impl FnOnce() -> R) -> R {
    let _turn = turn();
    f()
}

/// Held around each call into a library that two threads may not enter at once.
fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    (library().flavour == Flavour::Serial).then(|| lock(&TURN))
}

/// `c [m, n] = a^T b + beta c` with `a [k, m]` and `b [k, n]`.
///
/// # Panics
/// If a matrix has fewer elements than its sizes ask for.
pub fn gemm_tn<T: Blas>(a: Rows<'_, T>, b: Rows<'_, T>, beta: T, c: Out<'_, T>, k: usize) {
    T::gemm([a, b], [true, false], beta, c, k);
}

/// `c [m, n] = a b^T + beta c` with `a [m, k]` and `b [n, k]`; panics as `gemm_tn`.
pub fn gemm_nt<T: Blas>(a: Rows<'_, T>, b: Rows<'_, T>, beta: T, c: Out<'_, T>, k: usize) {
    T::gemm([a, b], [false, true], beta, c, k);
}

/// `c [m, n] = a b + beta c` with `a [m, k]` and `b [k, n]`; panics as `gemm_tn`.
pub fn gemm_nn<T: Blas>(a: Rows<'_, T>, b: Rows<'_, T>, beta: T, c: Out<'_, T>, k: usize) {
    T::gemm([a, b], [false, false], beta, c, k);
}

/// A number type that OpenBLAS multiplies matrices of.
pub trait Blas: Number {
    /// The product of two matrices, either of which may be stored transposed.
    #[doc(hidden)]
    fn gemm(ab: [Rows<'_, Self>; 2], transposed: [bool; 2], beta: Self, c: Out<'_, Self>, k: usize);
}

/// Whether the matrices of a product hold what its sizes ask for.
fn check<T>([a, b]: [Rows<'_, T>; 2], transposed: [bool; 2], c: &Out<'_, T>, k: usize) {
    let operands = [("a", a, [c.n, k]), ("b", b, [k, c.m])];
    for ((name, x, mut stored), transposed) in operands.into_iter().zip(transposed) {
        if transposed {
            stored.reverse();
        }
        assert!(x.holds(stored[0], stored[1]), "{name} is {stored:?}");
    }
    let holds = c.stride >= c.m && c.data.len() >= extent(c.n, c.stride, c.m);
    assert!(holds, "c is [{}, {}]", c.n, c.m);
}

macro_rules! gemm {
    ($t:ty, $foreign:ident) => {
        impl Blas for $t {
            fn gemm(
                ab: [Rows<'_, $t>; 2],
                transposed: [bool; 2],
                beta: $t,
                c: Out<'_, $t>,
                k: usize,
            ) {
                check(ab, transposed, &c, k);
                let [a, b] = ab;
                let int = |x: usize| {
                    c_int::try_from(x).expect("a matrix dimension fits into BLAS's 32-bit integer")
                };
                let orders = [cblas_sys::CblasNoTrans, cblas_sys::CblasTrans];
                let trans = transposed.map(|transposed| orders[transposed as usize]);
                let _turn = turn();
                // SAFETY: it was checked that the slices hold as many rows as the sizes
                // say, a leading dimension apart, and `c` is borrowed exclusively.
                unsafe {
                    cblas_sys::$foreign(
                        cblas_sys::CblasRowMajor,
                        trans[0],
                        trans[1],
                        int(c.n),
                        int(c.m),
                        int(k),
                        1.0,
                        a.data.as_ptr(),
                        int(a.stride).max(1),
                        b.data.as_ptr(),
                        int(b.stride).max(1),
                        beta,
                        c.data.as_mut_ptr(),
                        int(c.stride).max(1),
                    );
                }
            }
        }
    };
}
gemm!(f32, cblas_sgemm);
gemm!(f64, cblas_dgemm);

/// The file that `cblas_sgemm` was loaded from.
fn loaded_from() -> Option<String> {
    // SAFETY: `info` is plain data that dladdr fills in; the address is that of a function.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let found = libc::dladdr(cblas_sys::cblas_sgemm as *const c_void, &mut info);
        (found != 0 && !info.dli_fname.is_null())
            .then(|| text(info.dli_fname))
            .filter(|path| path.contains("blas"))
    }
}

/// # Safety
/// `s` is null or points to a NUL-terminated string.
unsafe fn text(s: *const c_char) -> String {
    if s.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
