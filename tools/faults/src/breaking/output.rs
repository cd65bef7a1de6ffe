//! The output of the components: written to one file, counted, searched for secrets, and left unread by a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context;
use demo::{Component, OnLine};

/// The maximum number of leaked lines that are kept.
const MAX_LEAKS: usize = 20;

/// The output of all components.
#[derive(Debug)]
pub struct Output {
    file: Mutex<File>,
    secrets: Vec<String>,
    seen: Mutex<Seen>,
    /// The components whose output is not read at the moment.
    unread: Mutex<BTreeSet<Component>>,
    read_again: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    lines: BTreeMap<Component, u64>,
    leaks: Vec<String>,
    /// Components with verbose logging: their lines do not count.
    verbose: BTreeSet<Component>,
}

impl Output {
    /// Creates the file in the data folder. No line may contain one of `secrets`.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn begin(data: &Path, secrets: Vec<String>) -> anyhow::Result<Arc<Self>> {
        let file =
            Mutex::new(File::create(data.join("components.log")).context("creating the log of all components")?);
        let (seen, unread) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { file, secrets, seen, unread, read_again: Condvar::new() }))
    }

    /// Returns the callback for lines of output.
    pub fn reader(self: &Arc<Self>) -> OnLine {
        let output = self.clone();
        Arc::new(move |component: Component, line: &str| output.take(component, line))
    }

    fn take(&self, component: Component, line: &str) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        while unread.contains(&component) {
            unread = self.read_again.wait(unread).unwrap_or_else(PoisonError::into_inner);
        }
        drop(unread);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.verbose.contains(&component) {
            *seen.lines.entry(component).or_default() += 1;
        }
        if seen.leaks.len() < MAX_LEAKS && self.secrets.iter().any(|secret| line.contains(secret)) {
            seen.leaks.push(format!("{component}: {line}"));
        }
        drop(seen);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // An error in the log must not end the campaign.
        let _ = writeln!(file, "{component:<20} | {line}");
    }

    /// Stops or continues reading the output of a component. Its lines do not count from then on.
    pub(super) fn set_unread(&self, component: Component, is_unread: bool) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).verbose.insert(component);
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if is_unread {
            unread.insert(component);
        } else {
            unread.remove(&component);
        }
        self.read_again.notify_all();
    }

    /// Continues reading all output.
    pub(super) fn read_all(&self) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.read_again.notify_all();
    }

    /// Returns the number of lines per component, and the lines that contain a secret.
    #[must_use]
    pub fn summary(&self) -> (BTreeMap<String, u64>, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = seen.lines.iter().filter(|(component, _)| !seen.verbose.contains(component));
        (lines.map(|(component, count)| (component.name().to_owned(), *count)).collect(), seen.leaks.clone())
    }
}
