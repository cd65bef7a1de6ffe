//! The user that runs PostgreSQL, which refuses to run as root.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::error::{Doing, Error};

/// The user that runs the programs of PostgreSQL.
#[derive(Debug, Clone)]
pub(super) enum RunAs {
    /// The user of this process.
    Self_,
    /// An unprivileged user, because this process runs as root.
    Other(Box<User>),
}

impl RunAs {
    pub(super) fn new() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self::Self_);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self::Other(Box::new(user)))
            .ok_or_else(|| io::Error::other("neither the user `postgres` nor `nobody` exists"))
            .doing(|| "choosing a user for PostgreSQL, which refuses to run as root".to_owned())
    }

    /// Makes a command that runs as this user, in a folder that the user may enter.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Self::Other(user) = self {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    pub(super) fn own(&self, folder: &Path) -> Result<(), Error> {
        match self {
            Self::Self_ => Ok(()),
            Self::Other(user) => chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .doing(|| format!("changing the owner of {} to {}", folder.display(), user.name)),
        }
    }

    /// Returns whether this user may enter the folder, or the existing part of its path.
    pub(super) fn can_enter(&self, folder: &Path) -> bool {
        match self {
            Self::Self_ => true,
            Self::Other(_) => folder
                .ancestors()
                .filter_map(|folder| folder.metadata().ok())
                .all(|metadata| metadata.mode() & 0o001 != 0),
        }
    }
}
