//! Confines a cell by Landlock, where the kernel has it.
//!
//! - It writes below its working directory, its private directory and the temporary folder that cells share, to devices,
//!   and nowhere else.
//! - It reads everything but what is denied: the data directory, credentials, other cells' private directories. Landlock
//!   knows only what is allowed, so every neighbour on the way to something denied is allowed one by one; what is made
//!   there later is not.
//! - It opens no TCP connection to a denied port (from Linux 6.7 on). Ports, not addresses: a port that is denied is
//!   denied everywhere.
//! - The memory of a process outside is out of reach, as Landlock lets no process trace one that is less confined.
//!
//! The kernel confines a thread and what it starts, so a cell is started by a thread of its own, which then ends. Nothing
//! gains privileges there: `sudo` does not work in a confined cell.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

/// The newest whose rights are asked for; an older kernel takes those that it knows.
const KNOWN: ABI = ABI::V5;

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
pub struct Confinement {
    unreadable: Vec<PathBuf>,
    ports: BTreeSet<u16>,
    /// Of all ports but the denied ones, made once: it has a rule for each.
    connections: Mutex<Option<RulesetCreated>>,
}

impl Support {
    /// Asks the kernel.
    pub fn of_this_kernel() -> Self {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = strict().handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create);
        let connections = strict().handle_access(AccessNet::ConnectTcp).and_then(Ruleset::create);
        Self { files: files.is_ok(), connections: connections.is_ok() }
    }
}

impl Confinement {
    /// `unreadable` files and folders cannot be read, nor what is in them; one that is not there is not needed. No
    /// connection goes to one of `ports`.
    pub fn new(unreadable: Vec<PathBuf>, ports: BTreeSet<u16>) -> Self {
        Self { unreadable, ports, connections: Mutex::default() }
    }

    /// Confines this thread, and what it starts from now on. The error says what could not be done.
    pub(super) fn restrict(&self, writable: &[&Path]) -> Result<(), String> {
        let told = |error: RulesetError| error.to_string();
        if let Some(connections) = self.connections()? {
            // An older kernel has none to hold; that is told where the settings are.
            connections.restrict_self().map_err(told)?;
        }
        let status = self.files(writable).and_then(RulesetCreated::restrict_self).map_err(told)?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err("the kernel has no Landlock".to_owned()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }

    fn connections(&self) -> Result<Option<RulesetCreated>, String> {
        if self.ports.is_empty() {
            return Ok(None);
        }
        let mut made = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let ruleset = match made.take() {
            Some(ruleset) => ruleset,
            None => ports_but(&self.ports).map_err(|error| error.to_string())?,
        };
        let again = ruleset.try_clone().map_err(|error| error.to_string())?;
        *made = Some(ruleset);
        Ok(Some(again))
    }

    fn files(&self, writable: &[&Path]) -> Result<RulesetCreated, RulesetError> {
        let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.create()?;
        let denied: Vec<PathBuf> =
            self.unreadable.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let mut readable = Vec::new();
        allowed(Path::new("/"), &denied, &mut readable);
        let devices = Path::new("/dev");
        let read = readable.iter().map(|path| (path.as_path(), AccessFs::from_read(KNOWN)));
        let write = writable.iter().copied().chain([devices]).map(|path| (path, AccessFs::from_all(KNOWN)));
        for (path, access) in read.chain(write) {
            // What went away meanwhile needs no rule.
            if let Ok(place) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(place, fitting(path, access)))?;
            }
        }
        Ok(ruleset)
    }
}

fn ports_but(denied: &BTreeSet<u16>) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessNet::ConnectTcp)?.create()?;
    for port in (0..=u16::MAX).filter(|port| !denied.contains(port)) {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}

/// Everything below `folder` that is not denied: the folder itself where nothing in it is.
fn allowed(folder: &Path, denied: &[PathBuf], found: &mut Vec<PathBuf>) {
    let is_temp = folder == std::env::temp_dir();
    if denied.iter().any(|path| path == folder) {
        return;
    }
    if !is_temp && !is_before_temp(folder) && !denied.iter().any(|path| path.starts_with(folder)) {
        found.push(folder.to_owned());
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_private = is_temp && entry.file_name().to_string_lossy().starts_with(PRIVATE);
        // A link is where it leads, and that is decided there.
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if !is_private && !is_link {
            allowed(&entry.path(), denied, found);
        }
    }
}

fn is_before_temp(folder: &Path) -> bool {
    std::env::temp_dir().starts_with(folder)
}

/// A file has no rights that are a folder's.
fn fitting(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) }
}

/// The temporary folder that cells share, and that only this account reaches.
pub(super) fn shared_temp() -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let uid = nix::unistd::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("harmony-cells-{uid}"));
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Somebody else may have made it first, or a link that leads elsewhere.
    let found = fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != uid {
        return Err(io::Error::other(format!("{} is not a folder of this account", path.display())));
    }
    Ok(path)
}
