//! What a stand-in remembers, kept in a file between two runs.
//!
//! A vendor does not forget because Harmony was restarted: links of old incidents lead somewhere, and their channels can be
//! written to. Written every second where something changed, and when the stand-in stops; a killed process loses the last
//! second. The file holds what the vendor would hold, also what was redacted in Harmony's log since.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::stand_in::StandIn;

/// Between two looks for something new.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes what one stand-in remembers.
pub(crate) struct Keeper<S> {
    stand_in: Arc<S>,
    path: PathBuf,
    /// What is in the file.
    last: Mutex<String>,
}

impl<S: StandIn> Keeper<S> {
    /// Has the stand-in go on from what is in the file, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is of another release.
    pub(crate) fn take_up(stand_in: Arc<S>, path: PathBuf) -> io::Result<Self> {
        let last = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        if !last.is_empty() {
            stand_in.memory().take_up(&last).map_err(|error| {
                let what = format!("{}: {error}; delete it, and {} begins anew", path.display(), S::NAME);
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
        }
        Ok(Self { stand_in, path, last: Mutex::new(last) })
    }

    /// Writes for as long as it is polled.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            self.save();
        }
    }
}

/// Writes what changed.
pub(crate) trait Save: Send + Sync {
    /// Once; what goes wrong is logged.
    fn save(&self);
}

impl<S: StandIn> Save for Keeper<S> {
    fn save(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.stand_in.memory().written().map_err(io::Error::from);
        let saved = written.and_then(|text| {
            if *last != text {
                let fresh = self.path.with_extension("new");
                fs::write(&fresh, &text)?;
                fs::rename(&fresh, &self.path)?;
                *last = text;
            }
            Ok(())
        });
        if let Err(error) = saved {
            tracing::warn!(path = %self.path.display(), %error, "a stand-in's memory cannot be kept");
        }
    }
}
