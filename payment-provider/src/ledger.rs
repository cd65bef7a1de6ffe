//! What the provider has done, for good: one JSON object a line, written before the answer is given.
//!
//! A line that a killed process left unfinished is cut off at the next start: its request was never answered.

use std::collections::{BTreeMap, BTreeSet};
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

/// The token of a capture that another client made under a key of this one.
pub const OTHER_CLIENT: &str = "tok_other_client";

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

impl Known {
    fn reported(&self) -> Told {
        let content = self.capture.as_ref().filter(|_| self.reference.is_some()).map(Content::of);
        Told { status: self.status, reference: self.reference.clone(), content }
    }
}

/// Refuses a request that names other money.
fn expect(reported: &Told, expected: Option<&Content>) -> Result<(), Refusal> {
    let same = expected.is_none_or(|expected| reported.content.as_ref() == Some(expected));
    if same { Ok(()) } else { Err(Refusal::OtherContent) }
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Where the capture stands.
    pub status: Status,
    /// What the money is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Which money that is.
    #[serde(flatten)]
    pub content: Option<Content>,
}

/// The money of a request or of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The client's own number.
    pub order_id: String,
    /// In minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: String,
}

impl Content {
    fn of(capture: &Capture) -> Self {
        let Capture { order_id, amount, currency, .. } = capture.clone();
        Self { order_id, amount, currency }
    }
}

impl Told {
    fn nothing(status: Status) -> Self {
        Self { status, reference: None, content: None }
    }
}

/// A capture in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// What the money is known by.
    pub reference: String,
    /// Which money that is.
    #[serde(flatten)]
    pub content: Content,
    /// Whether it was given back.
    pub refunded: bool,
}

/// Why nothing was done.
#[derive(Debug)]
pub enum Refusal {
    /// The key belongs to another request.
    KeyAlreadyUsed,
    /// There is nothing of that reference.
    UnknownReference,
    /// The request names other money than the capture's.
    OtherContent,
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
    /// The references of what was given back.
    given_back: BTreeSet<String>,
    /// The places of captures, by order.
    by_order: BTreeSet<(String, usize)>,
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
        let (captures, references, refunds, given_back, by_order) = Default::default();
        let mut ledger = Self { file, entries: Vec::new(), captures, references, refunds, given_back, by_order };
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
        self.captures.get(key).map(Known::reported)
    }

    /// Returns the captures of the orders behind `after`, in the byte order of the orders; all of an order, and at
    /// least `limit` of them if there are so many. The second value is the last order, if others follow it.
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
                let refunded = self.given_back.contains(&reference);
                charges.push(Charge { key, reference, content, refunded });
            }
        }
        (charges, None)
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
                (Some(_), false) => Told { status: Status::Captured, ..known.reported() },
                _ => Told::nothing(Status::Declined),
            });
        }
        let key = key.to_owned();
        if decline {
            self.write(Entry::Declined { key, capture })?;
            return Ok(Told::nothing(Status::Declined));
        }
        let reference = format!("cap_{:08}", self.entries.len() + 1);
        let content = Some(Content::of(&capture));
        self.write(Entry::Captured { key, reference: reference.clone(), capture })?;
        Ok(Told { status: Status::Captured, reference: Some(reference), content })
    }

    /// Captures other money under a key that is new: in turns of another order, or of the same order and another amount.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unwritable`].
    pub fn take_key(&mut self, key: &str, wanted: &Capture) -> Result<(), Refusal> {
        if self.captures.contains_key(key) {
            return Ok(());
        }
        let mut other = Capture { token: OTHER_CLIENT.to_owned(), ..wanted.clone() };
        if self.entries.len().is_multiple_of(2) {
            other.order_id = format!("OTHER_{}", self.entries.len());
        } else {
            other.amount += 1;
        }
        self.capture(key, other, false).map(|_| ())
    }

    /// Makes sure that no money stays taken by that key: gives it back, or takes none later. Money other than
    /// `expected` stays where it is.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherContent`], [`Refusal::Unwritable`].
    pub fn void(&mut self, key: &str, expected: Option<&Content>) -> Result<Told, Refusal> {
        let Some(known) = self.captures.get(key) else {
            self.write(Entry::Voided { key: key.to_owned() })?;
            return Ok(Told::nothing(Status::Voided));
        };
        let reported = Told { status: Status::Refunded, ..known.reported() };
        let Some(reference) = reported.reference.clone() else { return Ok(Told::nothing(Status::Voided)) };
        expect(&reported, expected)?;
        if known.status == Status::Captured {
            self.write(Entry::Refunded { key: key.to_owned(), reference, by_void: true })?;
        }
        Ok(reported)
    }

    /// Gives money back, once; money other than `expected` stays where it is.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn refund(&mut self, key: &str, reference: &str, expected: Option<&Content>) -> Result<Told, Refusal> {
        if self.refunds.get(key).is_some_and(|before| before != reference) {
            return Err(Refusal::KeyAlreadyUsed);
        }
        let capture = self.references.get(reference).and_then(|capture| self.captures.get(capture));
        let known = capture.ok_or(Refusal::UnknownReference)?;
        let reported = Told { status: Status::Refunded, ..known.reported() };
        expect(&reported, expected)?;
        if known.status == Status::Captured {
            self.write(Entry::Refunded { key: key.to_owned(), reference: reference.to_owned(), by_void: false })?;
        }
        Ok(reported)
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
                self.by_order.insert((capture.order_id.clone(), self.entries.len()));
                self.references.insert(reference.clone(), key.clone());
                self.learn(key, Status::Captured, Some(capture), Some(reference));
            }
            Entry::Declined { key, capture } => self.learn(key, Status::Declined, Some(capture), None),
            Entry::Voided { key } => self.learn(key, Status::Voided, None, None),
            Entry::Refunded { key, reference, by_void } => {
                self.given_back.insert(reference.clone());
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
