//! How every benchmark here is run: few samples and short ones, so that the whole suite stays under ten minutes.

use criterion::Criterion;
use std::time::Duration;

/// Ten samples in about two seconds: medians are steady to a few per cent, which is all that a shared machine allows.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args()
}
