//! From a notification to the mail that carries it.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};

use crate::entity::notification;

/// Writes the mail. The same notification yields the same `Message-ID` and `Date` each time, so that a mail that was
/// sent twice around a crash can be recognised.
///
/// # Errors
///
/// Where the address is none that mail can be sent to, in words.
pub fn write(
    notification: &notification::Model,
    from: &Mailbox,
    name: &str,
    email: &str,
) -> Result<Message, String> {
    let address = email.parse().map_err(|error| format!("the address cannot be written to: {error}"))?;
    let created = Duration::from_millis(notification.created_at.unsigned_abs());
    automatic(Message::builder())
        .from(from.clone())
        .to(Mailbox::new(Some(name.to_owned()), address))
        .subject(&notification.subject)
        .date(UNIX_EPOCH + created)
        .message_id(Some(format!("<{}@{}>", notification.event_id, from.email.domain())))
        .header(ContentType::TEXT_PLAIN)
        .body(notification.text.clone())
        .map_err(|error| format!("the mail cannot be written: {error}"))
}

/// Marks the mail as sent by a program, so that absence notes do not answer it (RFC 3834).
fn automatic(builder: MessageBuilder) -> MessageBuilder {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    builder.raw_header(HeaderValue::new(name, "auto-generated".to_owned()))
}
