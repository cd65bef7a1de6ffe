//! Temporary folders that exist as long as a server.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error};
use crate::ports;

/// A new folder below the system's temporary folder, removed on drop.
///
/// A killed process drops nothing; then the server's guard removes the folder (`process`).
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(purpose: &str) -> Result<Self, Error> {
        let name = format!("choreo-{purpose}-{}-{:08x}", std::process::id(), ports::random() as u32);
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .doing(|| format!("creating the temporary folder {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(folder = %self.path.display(), %error, "a temporary folder could not be removed");
        }
    }
}
