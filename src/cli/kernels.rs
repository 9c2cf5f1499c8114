//! Whether OpenBLAS has chosen kernels for this processor.
//!
//! It chooses as it is loaded, before the program begins: by a table of processors, or by `OPENBLAS_CORETYPE`. A processor that
//! is newer than the table gets kernels of 2004, several times slower; kernels for another processor end the program by an
//! illegal instruction.

use anyhow::{Result, bail};
use bptt::internal::blas;
use std::os::unix::process::CommandExt;
use std::process::Command;

const VARIABLE: &str = "OPENBLAS_CORETYPE";

/// Kernels for each set of vector instructions; of those with AVX, the first is a good choice wherever they run.
const AVX512: [&str; 3] = ["SkylakeX", "Cooperlake", "SapphireRapids"];
const AVX2: [&str; 3] = ["Haswell", "Zen", "Excavator"];
const OLDER: [&str; 6] = [
    "Prescott",
    "Core2",
    "Penryn",
    "Dunnington",
    "Nehalem",
    "Generic",
];

/// Refuses kernels that this processor cannot run. Where it can run much better ones, and nobody has chosen, the program begins
/// again with them.
pub fn fit() -> Result<()> {
    if let Some(better) = better()?
        && let Ok(program) = std::env::current_exe()
    {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let mut again = Command::new(program);
        again.arg0(name).args(arguments).env(VARIABLE, better);
        // It returns only where that failed: then the program goes on as it is, slower and as right.
        let _ = again.exec();
    }
    Ok(())
}

/// The much better kernels that this processor can run, if nobody has chosen; refuses those that it cannot run.
pub fn better() -> Result<Option<&'static str>> {
    let core = &blas::core()[..];
    let (avx512, avx2) = instructions();
    let needs = match core {
        _ if AVX512.contains(&core) && !avx512 => Some("AVX-512"),
        _ if AVX2.contains(&core) && !avx2 => Some("AVX2"),
        _ => None,
    };
    if let Some(needs) = needs {
        bail!(
            "{VARIABLE}: the {core} kernels of OpenBLAS need {needs}, which this processor has not: leave it out, or choose \
             kernels for this processor, such as {}",
            if avx2 { AVX2[0] } else { OLDER[0] }
        );
    }
    let is_slow = OLDER.contains(&core) && avx2 && std::env::var_os(VARIABLE).is_none();
    Ok(is_slow.then_some(if avx512 { AVX512[0] } else { AVX2[0] }))
}

/// Whether the processor has AVX-512 and AVX2, as far as OpenBLAS uses them.
fn instructions() -> (bool, bool) {
    #[cfg(target_arch = "x86_64")]
    return (
        is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq"),
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    );
    #[cfg(not(target_arch = "x86_64"))]
    (false, false)
}
