//! Helpers of several tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use choreography_test::Places;

/// An empty folder, removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("choreography-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        // PostgreSQL may run as another user, so the folder must not depend on the `umask`.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a program that prints this and ends.
    pub(crate) fn program(&self, name: &str, output: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{output}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Returns places that contain only the `tools` folder in here.
    pub(crate) fn places(&self) -> Places {
        let tools = self.0.join("tools");
        fs::create_dir(&tools).unwrap();
        fs::set_permissions(&tools, fs::Permissions::from_mode(0o755)).unwrap();
        Places { named: None, path: "".into(), system: Vec::new(), tools }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Returns whether a process with this id runs; a zombie does not.
pub(crate) fn runs(id: u32) -> bool {
    let state = if Path::new("/proc/self/stat").exists() {
        // The state follows the name, which is in parentheses and may contain anything.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().to_owned()
    } else {
        let output =
            std::process::Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
