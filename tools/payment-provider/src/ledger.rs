//! The ledger: all entries of the provider in a file, one JSON object per line, written before the response.
//!
//! If the process was killed during a write, the next start truncates the incomplete line: its request had no response.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The content of a capture request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// The client's order id.
    pub order_id: String,
    /// The token of the card.
    pub token: String,
    /// The amount in minor units.
    pub amount: u64,
    /// The ISO 4217 code.
    pub currency: String,
}

/// The token of a capture of another client with the same key.
pub const OTHER_CLIENT: &str = "tok_other_client";

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Entry {
    /// A payment was captured.
    Captured {
        /// The idempotency key.
        key: String,
        /// The reference of the capture.
        reference: String,
        /// The content of the request.
        #[serde(flatten)]
        capture: Capture,
    },
    /// A payment was declined.
    Declined {
        /// The idempotency key.
        key: String,
        /// The content of the request.
        #[serde(flatten)]
        capture: Capture,
    },
    /// A key was voided before its capture.
    Voided {
        /// The idempotency key; a later capture is declined.
        key: String,
    },
    /// A capture was refunded.
    Refunded {
        /// The idempotency key of the refund, or that of the capture if it was voided.
        key: String,
        /// The reference of the capture.
        reference: String,
        /// Whether a void caused the refund.
        by_void: bool,
    },
}

/// The status of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The payment is captured.
    Captured,
    /// The payment is declined.
    Declined,
    /// The key is voided.
    Voided,
    /// The payment is refunded.
    Refunded,
}

/// The state of a key.
#[derive(Debug, Clone)]
struct Known {
    status: Status,
    /// The content of the request; `None` if there was only a void.
    capture: Option<Capture>,
    reference: Option<String>,
    voided: bool,
}

impl Known {
    fn reported(&self) -> CaptureState {
        let content = self.capture.as_ref().filter(|_| self.reference.is_some()).map(Content::of);
        CaptureState { status: self.status, reference: self.reference.clone(), content }
    }
}

/// Refuses a request whose content differs from the capture's.
fn expect(reported: &CaptureState, expected: Option<&Content>) -> Result<(), Refusal> {
    let same = expected.is_none_or(|expected| reported.content.as_ref() == Some(expected));
    if same { Ok(()) } else { Err(Refusal::OtherContent) }
}

/// The state of a capture in a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureState {
    /// The status of the capture.
    pub status: Status,
    /// The reference of the capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The content of the capture.
    #[serde(flatten)]
    pub content: Option<Content>,
}

/// The content that requests and responses are compared by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The client's order id.
    pub order_id: String,
    /// The amount in minor units.
    pub amount: u64,
    /// The ISO 4217 code.
    pub currency: String,
}

impl Content {
    fn of(capture: &Capture) -> Self {
        let Capture { order_id, amount, currency, .. } = capture.clone();
        Self { order_id, amount, currency }
    }
}

impl CaptureState {
    fn without_content(status: Status) -> Self {
        Self { status, reference: None, content: None }
    }
}

/// A capture in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// The reference of the capture.
    pub reference: String,
    /// The content of the capture.
    #[serde(flatten)]
    pub content: Content,
    /// Whether it was refunded.
    pub refunded: bool,
}

/// The reason for refusing a request.
#[derive(Debug)]
pub enum Refusal {
    /// The key belongs to another request.
    KeyAlreadyUsed,
    /// There is no capture with that reference.
    UnknownReference,
    /// The content of the request differs from the capture's.
    OtherContent,
    /// The ledger cannot be written.
    Unwritable(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(error)
    }
}

/// The ledger, with indexes in memory.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    entries: Vec<Entry>,
    captures: BTreeMap<String, Known>,
    /// The keys of captures by reference.
    references: BTreeMap<String, String>,
    /// The references by the key of the refund.
    refunds: BTreeMap<String, String>,
    /// The references of refunded captures.
    refunded: BTreeSet<String>,
    /// The indexes of captures in the entries, by order.
    by_order: BTreeSet<(String, usize)>,
}

impl Ledger {
    /// Opens a ledger, or creates one.
    ///
    /// # Errors
    ///
    /// If the file cannot be created or read, or a line of it is not a valid [`Entry`].
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            tracing::warn!(bytes = text.len() - whole, "the last line of the ledger is incomplete; truncating it");
            file.set_len(whole as u64)?;
            file.seek(io::SeekFrom::End(0))?;
        }
        let (captures, references, refunds, refunded, by_order) = Default::default();
        let mut ledger = Self { file, entries: Vec::new(), captures, references, refunds, refunded, by_order };
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            ledger.apply(serde_json::from_slice(line)?);
        }
        Ok(ledger)
    }

    /// Returns all entries, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the state of a capture; `None` if the key is unknown.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<CaptureState> {
        self.captures.get(key).map(Known::reported)
    }

    /// Returns the captures of the orders after `after`, in the byte order of the order ids: all captures of each
    /// order, and at least `limit` of them if there are as many. The second value is the last order, if others follow.
    #[must_use]
    pub fn charges(&self, after: &str, limit: usize) -> (Vec<Charge>, Option<String>) {
        let mut charges: Vec<Charge> = Vec::new();
        for (order_id, place) in self.by_order.range((after.to_owned(), usize::MAX)..) {
            let last = charges.last().map(|charge| charge.content.order_id.clone());
            if charges.len() >= limit && last.as_ref() != Some(order_id) {
                return (charges, last);
            }
            if let Some(Entry::Captured { key, reference, capture }) = self.entries.get(*place) {
                let (key, reference, content) = (key.clone(), reference.clone(), Content::of(capture));
                let refunded = self.refunded.contains(&reference);
                charges.push(Charge { key, reference, content, refunded });
            }
        }
        (charges, None)
    }

    /// Captures or declines a payment; a repeated key has the same result as before.
    ///
    /// A capture that a void has refunded is declined from then on.
    ///
    /// # Errors
    ///
    /// [`Refusal::KeyAlreadyUsed`], [`Refusal::Unwritable`].
    pub fn capture(&mut self, key: &str, capture: Capture, decline: bool) -> Result<CaptureState, Refusal> {
        if let Some(known) = self.captures.get(key) {
            if known.capture.as_ref().is_some_and(|before| *before != capture) {
                return Err(Refusal::KeyAlreadyUsed);
            }
            return Ok(match (&known.reference, known.voided) {
                (Some(_), false) => CaptureState { status: Status::Captured, ..known.reported() },
                _ => CaptureState::without_content(Status::Declined),
            });
        }
        let key = key.to_owned();
        if decline {
            self.write(Entry::Declined { key, capture })?;
            return Ok(CaptureState::without_content(Status::Declined));
        }
        let reference = format!("cap_{:08}", self.entries.len() + 1);
        let content = Some(Content::of(&capture));
        self.write(Entry::Captured { key, reference: reference.clone(), capture })?;
        Ok(CaptureState { status: Status::Captured, reference: Some(reference), content })
    }

    /// Captures another payment under a new key: alternately of another order, or of the same order with another
    /// amount.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unwritable`].
    pub fn take_key(&mut self, key: &str, request: &Capture) -> Result<(), Refusal> {
        if self.captures.contains_key(key) {
            return Ok(());
        }
        let mut other = Capture { token: OTHER_CLIENT.to_owned(), ..request.clone() };
        if self.entries.len().is_multiple_of(2) {
            other.order_id = format!("OTHER_{}", self.entries.len());
        } else {
            other.amount += 1;
        }
        self.capture(key, other, false).map(|_| ())
    }

    /// Voids a key: refunds its capture, or prevents a later one. A capture with other content than `expected` stays.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherContent`], [`Refusal::Unwritable`].
    pub fn void(&mut self, key: &str, expected: Option<&Content>) -> Result<CaptureState, Refusal> {
        let Some(known) = self.captures.get(key) else {
            self.write(Entry::Voided { key: key.to_owned() })?;
            return Ok(CaptureState::without_content(Status::Voided));
        };
        let reported = CaptureState { status: Status::Refunded, ..known.reported() };
        let Some(reference) = reported.reference.clone() else {
            return Ok(CaptureState::without_content(Status::Voided));
        };
        expect(&reported, expected)?;
        if known.status == Status::Captured {
            self.write(Entry::Refunded { key: key.to_owned(), reference, by_void: true })?;
        }
        Ok(reported)
    }

    /// Refunds a capture, once; a capture with other content than `expected` stays.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn refund(
        &mut self,
        key: &str,
        reference: &str,
        expected: Option<&Content>,
    ) -> Result<CaptureState, Refusal> {
        if self.refunds.get(key).is_some_and(|before| before != reference) {
            return Err(Refusal::KeyAlreadyUsed);
        }
        let capture = self.references.get(reference).and_then(|capture| self.captures.get(capture));
        let known = capture.ok_or(Refusal::UnknownReference)?;
        let reported = CaptureState { status: Status::Refunded, ..known.reported() };
        expect(&reported, expected)?;
        if known.status == Status::Captured {
            self.write(Entry::Refunded { key: key.to_owned(), reference: reference.to_owned(), by_void: false })?;
        }
        Ok(reported)
    }

    /// Writes an entry to the file before it applies it to the indexes.
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
                self.by_order.insert((capture.order_id.clone(), self.entries.len()));
                self.references.insert(reference.clone(), key.clone());
                self.record(key, Status::Captured, Some(capture), Some(reference));
            }
            Entry::Declined { key, capture } => self.record(key, Status::Declined, Some(capture), None),
            Entry::Voided { key } => self.record(key, Status::Voided, None, None),
            Entry::Refunded { key, reference, by_void } => {
                self.refunded.insert(reference.clone());
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

    fn record(&mut self, key: &str, status: Status, capture: Option<&Capture>, reference: Option<&String>) {
        let known = Known { status, capture: capture.cloned(), reference: reference.cloned(), voided: false };
        self.captures.insert(key.to_owned(), known);
    }
}
