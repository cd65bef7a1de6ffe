//! A stream that goes back, as after the restore of an older disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error};
use crate::scratch::Scratch;

/// A copy of the messages of a stream. A server that has not synchronized its disk starts with an older state after a
/// power cut, too.
#[derive(Debug)]
pub struct StreamCopy {
    messages: PathBuf,
    copy: Scratch,
}

impl StreamCopy {
    /// Copies the messages of a stream from the store folder of a server that does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also if the server has no such stream.
    pub fn take(store_dir: &Path, stream: &str) -> Result<Self, Error> {
        let messages = find(store_dir, stream).doing(|| format!("looking for the messages of stream {stream}"))?;
        let copy = Scratch::new("stream")?;
        copy_files(&messages, copy.path()).doing(|| format!("copying the messages of stream {stream}"))?;
        Ok(Self { messages, copy })
    }

    /// Puts the copied messages in the place of the present ones. The server must not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn restore(&self) -> Result<(), Error> {
        fs::remove_dir_all(&self.messages)
            .and_then(|()| fs::create_dir(&self.messages))
            .and_then(|()| copy_files(self.copy.path(), &self.messages))
            .doing(|| format!("replacing {}", self.messages.display()))
    }
}

/// Returns the folder of the messages of a stream, in the first account that has it.
fn find(store_dir: &Path, stream: &str) -> io::Result<PathBuf> {
    for account in fs::read_dir(store_dir.join("jetstream"))? {
        let messages = account?.path().join("streams").join(stream).join("msgs");
        if messages.is_dir() {
            return Ok(messages);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
