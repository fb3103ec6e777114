//! Which build of Harmony a benchmark measures.

use std::path::PathBuf;

use crate::world::HARMONY;

/// Names another build of Harmony to measure, such as an installed release.
pub(crate) const OTHER_PROGRAM: &str = "HARMONY_BENCH_PROGRAM";

/// The program that Cargo built for the benchmark, but where another is named.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(OTHER_PROGRAM).map_or_else(|| HARMONY.into(), PathBuf::from)
}
