//! The user whom PostgreSQL runs as: it refuses to run as root.

use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::error::{Doing, Error};

/// Whom PostgreSQL's programs are run as.
#[derive(Debug, Clone)]
pub(super) enum RunAs {
    /// Whoever runs this process.
    Self_,
    /// Somebody with fewer rights, because this process runs as root.
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
            .ok_or_else(|| io::Error::other("there is no user `postgres` or `nobody`"))
            .doing(|| "choosing whom to run PostgreSQL as, because it refuses root".to_owned())
    }

    /// Begins a command run as this user, in a folder that this user may enter.
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
                .doing(|| format!("giving {} to {}", folder.display(), user.name)),
        }
    }

    /// Tells whether this user may enter the folder, or the part of its path that exists already.
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
