//! What stands for `confine.rs` where there is no Landlock: nothing can be held.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// What private directories of cells are called.
pub(super) const PRIVATE: &str = "harmony-cell-";

/// What this kernel can hold a cell to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// Files.
    pub files: bool,
    /// TCP connections.
    pub connections: bool,
}

/// What cells must not reach.
#[derive(Debug, Default)]
pub struct Confinement;

impl Support {
    /// Nothing.
    pub fn of_this_kernel() -> Self {
        Self { files: false, connections: false }
    }
}

impl Confinement {
    /// Of no effect but that no cell starts with it.
    pub fn new(_unreadable: Vec<PathBuf>, _ports: BTreeSet<u16>) -> Self {
        Self
    }

    pub(super) fn restrict(&self, _writable: &[&Path]) -> Result<(), String> {
        Err("this system has no Landlock".to_owned())
    }
}

pub(super) fn shared_temp() -> io::Result<PathBuf> {
    Ok(std::env::temp_dir())
}
