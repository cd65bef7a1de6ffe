//! `Idempotency-Key`, as in the IETF draft, and the ids of commands.
//!
//! A bucket stores each key for 24 hours, with the hash of its payload and the id of its command. A repeated request
//! publishes the same command again, and the stream or the consumer's inbox drops it. The response is the same because
//! it depends on nothing else. So a client can repeat a request whose response was lost, however far it had come.
//!
//! The id is new for each entry, and not derived from the key. Inboxes store ids for longer than the bucket stores
//! keys; with a derived id, a key reused after its 24 hours would be accepted, and its command dropped.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use async_nats::jetstream::{self, ErrorCode};
use poem_openapi::registry::MetaSchema;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::parameter::Parameter;

/// The namespace of all derived ids; any constant works, if it never changes.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b0f_3c52_97d1_4e0e_8a3b_5d1f_20c4_76e9);

/// The most characters a key may have.
const MAX_KEY: usize = 255;

/// Derives an id from parts. No part may contain a newline, so that different lists have different ids.
#[must_use]
pub fn derived_id(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join("\n").as_bytes())
}

/// Returns the SHA-256 of some bytes, in hexadecimal.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of an `Idempotency-Key` header: a structured-field string such as `"8e03978e-40d5"`, or the bare text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Returns the key, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Parameter for IdempotencyKey {
    fn schema() -> MetaSchema {
        let example = Some("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"".into());
        MetaSchema { min_length: Some(1), example, ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches([' ', '\t']);
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => text.bytes().all(is_bare).then(|| text.to_owned()),
        };
        key.filter(|key| (1..=MAX_KEY).contains(&key.len())).map(Self).ok_or_else(|| {
            format!("must be one string of 1 to {MAX_KEY} printable ASCII characters in double quotes")
        })
    }
}

/// Reads the rest of an RFC 9651 string after its opening quote.
fn unquote(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c @ ' '..='~' => key.push(c),
            _ => return None,
        }
    }
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// The operation that a key is used for: the method and the path, with the id in the path.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a> {
    /// Such as `POST /bookings/{id}/cancel`.
    pub template: &'static str,
    /// The id in the path; empty if there is none.
    pub id: &'a str,
}

impl Operation<'_> {
    fn entry(&self, key: &IdempotencyKey) -> String {
        fingerprint([self.template, self.id, key.as_str()].join("\n").as_bytes())
    }
}

/// The bucket's value for a key.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// The SHA-256 of the payload.
    payload: [u8; 32],
    command_id: Uuid,
}

impl Entry {
    /// Encodes the entry in 48 bytes: a day of keys is many entries, and their size limits their rate.
    fn bytes(&self) -> Vec<u8> {
        [self.command_id.as_bytes().as_slice(), &self.payload].concat()
    }

    /// Decodes the output of [`Entry::bytes`].
    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, payload) = bytes.split_at_checked(16)?;
        Some(Self { payload: payload.try_into().ok()?, command_id: Uuid::from_slice(id).ok()? })
    }
}

/// Why a key cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// The key was used for a request with other content.
    #[error("the key was used for another payload")]
    Reused,
    /// The bucket takes no more entries until some expire.
    #[error("the bucket of idempotency keys is full")]
    Full,
    /// The bucket is unavailable; the caller can try again later.
    #[error("the bucket of idempotency keys: {0}")]
    Unavailable(String),
}

/// The keys seen in the last 24 hours.
pub(crate) struct IdempotencyKeys {
    js: jetstream::Context,
    name: &'static str,
    bucket: OnceCell<Store>,
}

impl IdempotencyKeys {
    /// Stores keys in the bucket `name`.
    pub(crate) fn new(js: jetstream::Context, name: &'static str) -> Self {
        Self { js, name, bucket: OnceCell::new() }
    }

    /// Claims a key for a payload, or finds it claimed for the same payload; returns the id of its command.
    pub(crate) async fn claim(
        &self,
        operation: Operation<'_>,
        key: &IdempotencyKey,
        payload: &[u8],
    ) -> Result<Uuid, ClaimError> {
        let entry = Entry { payload: Sha256::digest(payload).into(), command_id: Uuid::now_v7() };
        let (name, value) = (operation.entry(key), entry.bytes());
        let bucket = self.bucket.get_or_try_init(|| self.js.get_key_value(self.name)).await.map_err(unavailable)?;
        match bucket.create(&name, value.into()).await {
            Ok(_) => return Ok(entry.command_id),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) if is_full(&error) => {
                return self.known(bucket, &name, &entry).await.unwrap_or(Err(ClaimError::Full));
            }
            Err(error) => return Err(unavailable(error)),
        }
        // The entry can only have expired between the two calls; the next attempt will create it.
        self.known(bucket, &name, &entry).await.unwrap_or_else(|| Err(unavailable("the entry expired")))
    }

    /// Compares an entry with the stored one; `None` if the bucket has none.
    async fn known(&self, bucket: &Store, name: &str, entry: &Entry) -> Option<Result<Uuid, ClaimError>> {
        let known = match bucket.get(name).await {
            Ok(known) => known?,
            Err(error) => return Some(Err(unavailable(error))),
        };
        Some(match Entry::read(&known) {
            Some(known) if known.payload == entry.payload => Ok(known.command_id),
            Some(_) => Err(ClaimError::Reused),
            None => Err(unavailable("an entry cannot be read")),
        })
    }
}

/// Returns whether the server refused an entry because the bucket is full.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let refusal = std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<jetstream::Error>());
    refusal.is_some_and(|refusal| refusal.error_code() == ErrorCode::STREAM_STORE_FAILED)
}

fn unavailable(error: impl ToString) -> ClaimError {
    ClaimError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_structured_field_string_or_bare_text() {
        let key = |text: &str| IdempotencyKey::parse(text).map(|key| key.0);
        assert_eq!(key("\"a b\"").as_deref(), Ok("a b"));
        assert_eq!(key(" \"a\\\"\\\\\" ").as_deref(), Ok("a\"\\"));
        assert_eq!(key("8e03978e-40d5:x/y=").as_deref(), Ok("8e03978e-40d5:x/y="));
        assert!(key(&"k".repeat(255)).is_ok());
        let long = "k".repeat(256);
        for bad in
            ["", "\"\"", "\"", "\"a", "a\"", "\"a\"b", "\"a\";p=1", "\"a\\b\"", "a, b", "a b", "\"a\"\"b\"", &long]
        {
            assert!(key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_are_small() {
        let entry = Entry { payload: Sha256::digest(b"{}").into(), command_id: Uuid::now_v7() };
        let bytes = entry.bytes();
        assert_eq!((bytes.len(), Entry::read(&bytes)), (48, Some(entry)));
        assert_eq!(Entry::read(b""), None);
        assert_eq!(Entry::read(&bytes[1..]), None);
    }

    #[test]
    fn an_entry_belongs_to_operation_path_and_key() {
        let key = |text: &str| IdempotencyKey::parse(text).unwrap();
        let cancel = Operation { template: "POST /bookings/{id}/cancel", id: "BOOKING_001" };
        assert_eq!(cancel.entry(&key("k")), cancel.entry(&key("\"k\"")));
        assert_ne!(cancel.entry(&key("k")), cancel.entry(&key("l")));
        assert_ne!(cancel.entry(&key("k")), Operation { id: "BOOKING_002", ..cancel }.entry(&key("k")));
        let clean = Operation { template: "POST /rooms/{id}/clean", ..cancel };
        assert_ne!(cancel.entry(&key("k")), clean.entry(&key("k")));
    }
}
