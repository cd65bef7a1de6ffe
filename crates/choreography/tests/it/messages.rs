//! Messages declared with the derive macros.

use choreography::publisher;
use choreography::{
    Cause, Command, DecodeError, EncodeError, Envelope, Event, Kind, Message, MessageInfo, Messages, Outgoing,
    Publish, Timer, Timing, envelope,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

const PRINTER: &str = "printer-service";

/// Print a
/// [`Page`].
///
/// On paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Command)]
#[message(context = "printer", name = "print", version = 2, key = page, producer = "api-gateway")]
struct Print {
    page: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Page {
    id: String,
}

/// A page was printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[message(context = "printer", name = "page-printed", version = 1, key = 0.id, producer = PRINTER)]
struct Printed(Page);

/// The paper deadline has passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Timer)]
#[message(context = "printer", name = "paper-deadline", version = 1, key = page, producer = PRINTER)]
struct PaperDeadline {
    page: String,
}

#[derive(Debug, Clone, PartialEq, Messages)]
enum PrinterMessage {
    Print(Print),
    Printed(Printed),
    Deadline(PaperDeadline),
}

fn printed(page: &str) -> Printed {
    Printed(Page { id: page.to_owned() })
}

fn an_envelope() -> Envelope<PrinterMessage> {
    let id = Uuid::now_v7();
    Envelope {
        id,
        message_type: Print::TYPE.to_owned(),
        source: "/api-gateway".to_owned(),
        key: "P1".to_owned(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload: Print { page: "P1".to_owned() }.into(),
    }
}

#[test]
fn everything_about_a_message_follows_from_its_declaration() {
    let MessageInfo { context, kind, name, version, message_type, filter, producer, description, .. } = Print::INFO;
    assert_eq!((context, kind, name, version), ("printer", Kind::Command, "print", 2));
    assert_eq!((message_type, filter), ("printer.print.v2", "printer.command.print.*"));
    assert_eq!((producer, description), ("api-gateway", "Print a `Page`."));

    assert_eq!((Printed::TYPE, Printed::PRODUCER), ("printer.page-printed.v1", "printer-service"));
    assert_eq!(printed("P1").subject(), "printer.event.page-printed.P1");
    let deadline = PaperDeadline { page: "P1".to_owned() };
    assert_eq!(deadline.subject(), "printer.timer.paper-deadline.P1");
    assert_eq!(deadline.schedule_subject(), "printer.schedule.paper-deadline.P1");
}

#[test]
fn a_set_decodes_its_messages_and_encodes_only_their_bodies() {
    let types: Vec<&str> = PrinterMessage::MESSAGES.iter().map(|info| info.message_type).collect();
    assert_eq!(types, ["printer.print.v2", "printer.page-printed.v1", "printer.paper-deadline.v1"]);

    let message = PrinterMessage::decode("printer.page-printed.v1", br#"{"id":"P1"}"#).unwrap();
    assert_eq!(message, printed("P1").into());
    assert_eq!((message.message_type(), message.key()), ("printer.page-printed.v1", "P1"));
    assert_eq!(serde_json::to_value(&message).unwrap(), json!({"id": "P1"}));

    let unknown = PrinterMessage::decode("printer.print.v1", b"{}").unwrap_err();
    assert!(matches!(&unknown, DecodeError::UnknownType(name) if name == "printer.print.v1"), "{unknown}");
    let body = PrinterMessage::decode("printer.print.v2", b"{}").unwrap_err();
    assert!(matches!(&body, DecodeError::Body { message_type: "printer.print.v2", .. }), "{body}");
    assert!(body.to_string().contains("missing field `page`"), "{body}");
}

/// A set of sets, and of a message.
#[derive(Debug, PartialEq, Messages)]
enum OfficeMessage {
    Printer(PrinterMessage),
    Scanned(Scanned),
}

/// A page was scanned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[message(context = "scanner", name = "scanned", version = 1, key = page, producer = "scanner-service")]
struct Scanned {
    page: String,
}

#[test]
fn a_set_holds_other_sets_and_a_message_is_a_set_of_one() {
    let types: Vec<&str> = OfficeMessage::MESSAGES.iter().map(|info| info.message_type).collect();
    let printer = ["printer.print.v2", "printer.page-printed.v1", "printer.paper-deadline.v1"];
    assert_eq!((&types[..3], &types[3..]), (&printer[..], &["scanner.scanned.v1"][..]));

    let message = OfficeMessage::decode("printer.page-printed.v1", br#"{"id":"P1"}"#).unwrap();
    assert_eq!(message, OfficeMessage::Printer(printed("P1").into()));
    assert_eq!(message.subject(), "printer.event.page-printed.P1");
    let scanned = OfficeMessage::decode(Scanned::TYPE, br#"{"page":"P1"}"#).unwrap();
    assert_eq!(scanned, Scanned { page: "P1".to_owned() }.into());

    assert_eq!(Scanned::decode(Scanned::TYPE, br#"{"page":"P1"}"#).unwrap().page, "P1");
    assert!(matches!(Scanned::decode(Print::TYPE, b"{}"), Err(DecodeError::UnknownType(_))));
}

#[test]
fn a_type_that_is_in_a_set_twice_is_found() {
    use choreography::__private::distinct;
    assert!(distinct(OfficeMessage::MESSAGES) && distinct(&[]));
    assert!(!distinct(&[Print::INFO, Scanned::INFO, Print::INFO]));
    assert!(!distinct(&[Scanned::INFO, Print::INFO, Print::INFO]));
}

#[test]
fn an_emitted_event_equals_one_built_by_hand() {
    let cause = an_envelope();
    let emitted = cause.emit_change(&printed("P1"), 3).unwrap();
    let of_set = cause.emit_change(&PrinterMessage::from(printed("P1")), 3).unwrap();
    let (subject, body) = ("printer.event.page-printed.P1".to_owned(), br#"{"id":"P1"}"#.to_vec());
    let by_hand = Outgoing::new(cause.cause(), subject, "printer.page-printed.v1", "P1", Some(3), body);
    for emitted in [emitted, of_set] {
        assert_eq!(format!("{emitted:?}"), format!("{by_hand:?}"));
    }
    let other_flow = Cause { correlation_id: Uuid::now_v7(), ..cause.cause() };
    assert_eq!(Outgoing::of(other_flow.clone(), &printed("P1"), None).unwrap().cause, other_flow);
}

#[test]
fn a_timer_is_scheduled_and_cancelled_on_the_subject_that_holds_it() {
    let (cause, deadline) = (an_envelope(), PaperDeadline { page: "P1".to_owned() });
    let scheduled = cause.schedule(&deadline, Some(1), OffsetDateTime::UNIX_EPOCH).unwrap();
    assert_eq!(scheduled.subject, "printer.schedule.paper-deadline.P1");
    let target = "printer.timer.paper-deadline.P1".to_owned();
    assert_eq!(scheduled.timing, Timing::At { time: OffsetDateTime::UNIX_EPOCH, target });
    let cancelled = cause.cancel(&deadline, Some(2)).unwrap();
    assert_eq!((cancelled.subject, cancelled.timing), (scheduled.subject, Timing::Cancel));
    assert_ne!(cancelled.id, scheduled.id);
}

#[test]
fn a_key_that_is_not_a_valid_subject_token_is_refused() {
    for key in ["", "a.b", "*", ">", "a b", "a\n"] {
        let refused = an_envelope().emit(&printed(key)).unwrap_err();
        assert!(matches!(&refused, EncodeError::Key { key: named, .. } if named == key), "{refused}");
        assert!(publisher::Command::new(Uuid::now_v7(), &Print { page: key.to_owned() }).is_err());
    }
    let command = publisher::Command::new(Uuid::nil(), &Print { page: "Ä-1".to_owned() }).unwrap();
    assert_eq!((command.subject.as_str(), command.key.as_str()), ("printer.command.print.Ä-1", "Ä-1"));
    assert_eq!((command.message_type, &command.body[..]), ("printer.print.v2", r#"{"page":"Ä-1"}"#.as_bytes()));
}

/// Decodes a delivery of a type from a source.
fn read(subject: &str, message_type: &str, source: &str) -> Result<Envelope<PrinterMessage>, envelope::Malformed> {
    let attributes = envelope::Attributes {
        id: Uuid::now_v7(),
        message_type,
        source,
        key: "P1",
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
    };
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in attributes.headers() {
        headers.insert(name.as_ref(), value);
    }
    envelope::decode(subject, Some(&headers), br#"{"page":"P1","id":"P1"}"#)
}

#[test]
fn a_delivery_must_come_from_the_declared_producer() {
    use envelope::Malformed::{SourceMismatch, Undecodable};

    let (event, event_type) = ("printer.event.page-printed.P1", "printer.page-printed.v1");
    assert_eq!(read(event, event_type, "/printer-service").unwrap().payload, printed("P1").into());
    let mismatched = read(event, event_type, "/api-gateway").unwrap_err();
    assert!(
        matches!(&mismatched, SourceMismatch(text) if text.contains("belongs to /printer-service")),
        "{mismatched}"
    );
    // A producer of events must not publish a command as an event.
    let disguised = read("printer.event.print.P1", "printer.print.v2", "/printer-service").unwrap_err();
    assert!(
        matches!(&disguised, SourceMismatch(text) if text.contains("not a subject of the type")),
        "{disguised}"
    );
    // A name that is not in the set belongs to the producer of its context and kind.
    let newer = read("printer.event.jammed.P1", "printer.jammed.v1", "/printer-service").unwrap_err();
    assert!(matches!(&newer, Undecodable(text) if text.contains("unknown message type")), "{newer}");
    let newer = read(event, "printer.page-printed.v12", "/printer-service").unwrap_err();
    assert_eq!(
        newer.to_string(),
        "printer.page-printed.v12 is newer than v1, the newest version that this instance knows"
    );
    let older = read("printer.command.print.P1", "printer.print.v1", "/api-gateway").unwrap_err();
    assert!(matches!(&older, Undecodable(text) if text.contains("unknown message type")), "{older}");
    let newer = read("printer.event.jammed.P1", "printer.jammed.v1", "/api-gateway").unwrap_err();
    assert!(matches!(&newer, SourceMismatch(_)), "{newer}");
    let other = read("scanner.event.scanned.P1", "scanner.scanned.v1", "/scanner-service").unwrap_err();
    assert!(matches!(&other, SourceMismatch(text) if text.contains("consumes no scanner.event")), "{other}");
}
