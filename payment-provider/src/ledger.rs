//! What the provider has done, for good: one JSON object a line, written before the answer is given.
//!
//! A line that a killed process left unfinished is cut off at the next start: its request was never answered.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a client wants to be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// The client's own number.
    pub order_id: String,
    /// What the provider knows the card by.
    pub token: String,
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
}

/// Something the provider has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Entry {
    /// It took money.
    Captured {
        /// The idempotency key.
        key: String,
        /// What the money is known by.
        reference: String,
        /// What was asked for.
        #[serde(flatten)]
        capture: Capture,
    },
    /// It said no.
    Declined {
        /// The idempotency key.
        key: String,
        /// What was asked for.
        #[serde(flatten)]
        capture: Capture,
    },
    /// It will not take money for that key.
    Voided {
        /// The idempotency key of the capture that will be declined.
        key: String,
    },
    /// It gave money back.
    Refunded {
        /// The idempotency key of the refund, or that of the capture where that was voided.
        key: String,
        /// What the money was known by.
        reference: String,
        /// Whether because the capture was voided.
        by_void: bool,
    },
}

/// Where a capture stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The money is taken.
    Captured,
    /// The money is not taken.
    Declined,
    /// The money will not be taken.
    Voided,
    /// The money is given back.
    Refunded,
}

/// What is known by a key.
#[derive(Debug, Clone)]
struct Known {
    status: Status,
    /// What was asked for; none where only a void came.
    capture: Option<Capture>,
    reference: Option<String>,
    voided: bool,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Where the capture stands.
    pub status: Status,
    /// What the money is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum Refusal {
    /// The key belongs to another request.
    KeyAlreadyUsed,
    /// There is nothing of that reference.
    UnknownReference,
    /// The ledger cannot be written.
    Unwritable(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error)
    }
}

/// The ledger, and what follows from it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    entries: Vec<Entry>,
    captures: BTreeMap<String, Known>,
    /// Keys of captures by reference.
    references: BTreeMap<String, String>,
    /// References by the key of the refund.
    refunds: BTreeMap<String, String>,
}

impl Ledger {
    /// Reads a ledger, or begins one.
    ///
    /// # Errors
    ///
    /// Where the file cannot be made or read, or a line of it is no [`Entry`].
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            tracing::warn!(bytes = text.len() - whole, "the last line of the ledger is unfinished and is cut off");
            file.set_len(whole as u64)?;
            file.seek(io::SeekFrom::End(0))?;
        }
        let (captures, references, refunds) = Default::default();
        let mut ledger = Self { file, entries: Vec::new(), captures, references, refunds };
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            ledger.apply(serde_json::from_slice(line)?);
        }
        Ok(ledger)
    }

    /// Returns everything that was done, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns where a capture stands; `None` where the key was never heard of.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<Told> {
        self.captures.get(key).map(|known| Told { status: known.status, reference: known.reference.clone() })
    }

    /// Takes money, or declines to; a key that was used before has the answer it had then.
    ///
    /// A capture that was given back by a void is declined from then on.
    ///
    /// # Errors
    ///
    /// [`Refusal::KeyAlreadyUsed`], [`Refusal::Unwritable`].
    pub fn capture(&mut self, key: &str, capture: Capture, decline: bool) -> Result<Told, Refusal> {
        if let Some(known) = self.captures.get(key) {
            if known.capture.as_ref().is_some_and(|before| *before != capture) {
                return Err(Refusal::KeyAlreadyUsed);
            }
            return Ok(match (&known.reference, known.voided) {
                (Some(reference), false) => Told { status: Status::Captured, reference: Some(reference.clone()) },
                _ => Told { status: Status::Declined, reference: None },
            });
        }
        let key = key.to_owned();
        if decline {
            self.write(Entry::Declined { key, capture })?;
            return Ok(Told { status: Status::Declined, reference: None });
        }
        let reference = format!("cap_{:08}", self.entries.len() + 1);
        self.write(Entry::Captured { key, reference: reference.clone(), capture })?;
        Ok(Told { status: Status::Captured, reference: Some(reference) })
    }

    /// Makes sure that no money stays taken by that key: gives it back, or takes none later.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unwritable`].
    pub fn void(&mut self, key: &str) -> Result<Told, Refusal> {
        let voided = Told { status: Status::Voided, reference: None };
        match self.captures.get(key).map(|known| (known.status, known.reference.clone())) {
            None => {
                self.write(Entry::Voided { key: key.to_owned() })?;
                Ok(voided)
            }
            Some((Status::Captured, Some(reference))) => {
                self.write(Entry::Refunded { key: key.to_owned(), reference: reference.clone(), by_void: true })?;
                Ok(Told { status: Status::Refunded, reference: Some(reference) })
            }
            Some((_, Some(reference))) => Ok(Told { status: Status::Refunded, reference: Some(reference) }),
            Some((_, None)) => Ok(voided),
        }
    }

    /// Gives money back, once.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn refund(&mut self, key: &str, reference: &str) -> Result<Told, Refusal> {
        if self.refunds.get(key).is_some_and(|before| before != reference) {
            return Err(Refusal::KeyAlreadyUsed);
        }
        let capture = self.references.get(reference).and_then(|capture| self.captures.get(capture));
        let status = capture.ok_or(Refusal::UnknownReference)?.status;
        if status == Status::Captured {
            self.write(Entry::Refunded { key: key.to_owned(), reference: reference.to_owned(), by_void: false })?;
        }
        Ok(Told { status: Status::Refunded, reference: Some(reference.to_owned()) })
    }

    /// An entry is in the file before anything follows from it.
    fn write(&mut self, entry: Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.apply(entry);
        Ok(())
    }

    fn apply(&mut self, entry: Entry) {
        match &entry {
            Entry::Captured { key, reference, capture } => {
                self.references.insert(reference.clone(), key.clone());
                self.learn(key, Status::Captured, Some(capture), Some(reference));
            }
            Entry::Declined { key, capture } => self.learn(key, Status::Declined, Some(capture), None),
            Entry::Voided { key } => self.learn(key, Status::Voided, None, None),
            Entry::Refunded { key, reference, by_void } => {
                if !by_void {
                    self.refunds.insert(key.clone(), reference.clone());
                }
                let known = self.references.get(reference).and_then(|capture| self.captures.get_mut(capture));
                if let Some(known) = known {
                    known.status = Status::Refunded;
                    known.voided = *by_void;
                }
            }
        }
        self.entries.push(entry);
    }

    fn learn(&mut self, key: &str, status: Status, capture: Option<&Capture>, reference: Option<&String>) {
        let known = Known { status, capture: capture.cloned(), reference: reference.cloned(), voided: false };
        self.captures.insert(key.to_owned(), known);
    }
}
