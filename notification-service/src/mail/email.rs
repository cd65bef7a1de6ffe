//! The mail of a notification.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};

use crate::entity::notification;

/// Writes the mail. The same notification always has the same `Message-ID` and `Date`, so that a mail that is sent
/// twice after a crash can be recognised.
///
/// # Errors
///
/// The reason why the address or the mail is not valid.
pub fn write(
    notification: &notification::Model,
    from: &Mailbox,
    name: &str,
    email: &str,
) -> Result<Message, String> {
    let address = email.parse().map_err(|error| format!("the mail address is not valid: {error}"))?;
    let created = Duration::from_millis(notification.created_at.unsigned_abs());
    automatic(Message::builder())
        .from(from.clone())
        .to(Mailbox::new(Some(name.to_owned()), address))
        .subject(&notification.subject)
        .date(UNIX_EPOCH + created)
        .message_id(Some(format!("<{}@{}>", notification.event_id, from.email.domain())))
        .header(ContentType::TEXT_PLAIN)
        .body(notification.text.clone())
        .map_err(|error| format!("cannot write the mail: {error}"))
}

/// Marks the mail as automatic, so that out-of-office programs do not reply (RFC 3834).
fn automatic(builder: MessageBuilder) -> MessageBuilder {
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    builder.raw_header(HeaderValue::new(name, "auto-generated".to_owned()))
}
