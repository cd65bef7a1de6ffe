//! Invariants of messages, independent of their content.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::recorded::{Recorded, Stored};

pub(super) fn acknowledged_is_stored(recorded: &Recorded) -> Found {
    let subjects: BTreeSet<&str> = recorded.stream("COMMANDS").map(|command| command.subject.as_str()).collect();
    let mut found = Found::default();
    for exchange in recorded.exchanges.iter().filter(|exchange| exchange.is_acknowledged()) {
        let mut parts = exchange.path.split('/').skip(1);
        let (what, id) = (parts.next().unwrap_or_default(), parts.next());
        let subject = match (exchange.method.as_str(), what, id, parts.next()) {
            ("POST", "orders", None, _) => {
                format!("order.command.place.{}", exchange.answer["orderId"].as_str().unwrap_or_default())
            }
            ("POST", "orders", Some(id), Some("cancel")) => format!("order.command.cancel.{id}"),
            ("POST", "products", Some(id), _) => format!("inventory.command.restock.{id}"),
            ("POST", "accounts", None, _) => {
                format!("account.command.create.{}", exchange.body["customerId"].as_str().unwrap_or_default())
            }
            ("PUT", "accounts", Some(id), _) => format!("account.command.update.{id}"),
            ("DELETE", "accounts", Some(id), _) => format!("account.command.delete.{id}"),
            _ => continue,
        };
        found.expect(&subject, subjects.contains(subject.as_str()), || {
            format!("{} {} was acknowledged, but no command is stored", exchange.method, exchange.path)
        });
    }
    found
}

pub(super) fn commands_are_effective(recorded: &Recorded) -> Found {
    let events = recorded.by_key("EVENTS");
    let causes: BTreeSet<&str> = recorded.stream("EVENTS").map(Stored::cause).collect();
    let mut found = Found::default();
    for command in recorded.distinct("COMMANDS") {
        let key = command.key();
        let about = events.get(key).map_or(&[][..], Vec::as_slice);
        let status = recorded.orders.get(key).and_then(|order| order["status"].as_str());
        // A command whose result exists already needs no event.
        let needs_no_event = match command.kind() {
            "order.place" => about.iter().any(|event| event.kind() == "order.placed" && event.body == command.body),
            "order.cancel" => match status {
                Some(status) => status == "cancelled",
                None => about.iter().any(|event| event.kind() == "order.cancel-deferred"),
            },
            "account.create" => about.iter().any(|event| event.body["details"] == command.body["details"]),
            _ => false,
        };
        found.expect(key, needs_no_event || causes.contains(command.id()), || {
            format!("no event is caused by the command {} ({})", command.subject, command.id())
        });
    }
    found
}

pub(super) fn causes_exist(recorded: &Recorded) -> Found {
    let by_id: BTreeMap<&str, &Stored> = recorded.messages.iter().map(|message| (message.id(), message)).collect();
    let commands: BTreeSet<&str> = recorded.stream("COMMANDS").map(Stored::id).collect();
    let flows: BTreeMap<&str, &str> = recorded
        .stream("EVENTS")
        .filter(|event| event.kind() == "order.placed")
        .map(|event| (event.key(), event.correlation()))
        .collect();
    let mut found = Found::default();
    for event in recorded.distinct("EVENTS") {
        let wrong = match by_id.get(event.cause()) {
            None => Some("its cause is not stored".to_owned()),
            Some(_) if !commands.contains(event.correlation()) => {
                Some("it belongs to the flow of a command that is not stored".to_owned())
            }
            // Or to the order's own flow, if another message advanced the order.
            Some(cause) => {
                let flow =
                    [Some(&cause.correlation()), flows.get(event.key())].contains(&Some(&event.correlation()));
                (!flow).then(|| format!("it does not belong to the flow of its cause, {}", cause.subject))
            }
        };
        found.examine(event.key(), wrong.map(|wrong| format!("{} ({}): {wrong}", event.subject, event.id())));
    }
    found
}

pub(super) fn versions_are_contiguous(recorded: &Recorded) -> Found {
    let mut aggregates = BTreeMap::<(&str, &str), BTreeMap<i64, BTreeSet<&str>>>::new();
    for event in recorded.stream("EVENTS") {
        if let Some(version) = event.version() {
            let versions = aggregates.entry((event.context(), event.key())).or_default();
            versions.entry(version).or_default().insert(event.id());
        }
    }
    let products: BTreeSet<&str> = recorded.products.keys().map(String::as_str).collect();
    let mut found = Found::default();
    for ((context, key), versions) in aggregates {
        for (version, ids) in &versions {
            found.expect(key, ids.len() == 1, || {
                format!("{context} has {} messages of version {version}", ids.len())
            });
        }
        // Reservations and payments also change without an event.
        let is_complete = match context {
            "order" | "account" => true,
            "inventory" => products.contains(key),
            _ => false,
        };
        if is_complete {
            let contiguous = versions.keys().copied().eq(1..=i64::try_from(versions.len()).unwrap_or(i64::MAX));
            found.expect(key, contiguous, || format!("{context} has the versions {:?}", versions.keys()));
        }
    }
    found
}

pub(super) fn duplicates_are_equal(recorded: &Recorded) -> Found {
    let mut first = BTreeMap::<&str, &Stored>::new();
    let mut found = Found::default();
    for message in recorded.messages.iter().filter(|message| !message.id().is_empty()) {
        let known = first.entry(message.id()).or_insert(message);
        let equal = (&known.subject, &known.body, known.kind(), known.cause(), known.version())
            == (&message.subject, &message.body, message.kind(), message.cause(), message.version());
        // A schedule and its timer are one message on two subjects.
        let scheduled = message.stream == "TIMERS" && known.body == message.body;
        found.expect(message.key(), equal || scheduled, || {
            format!(
                "{} differs between {} {} and {}",
                message.id(),
                message.stream,
                known.sequence,
                message.sequence
            )
        });
    }
    found
}

pub(super) fn histories_are_published(recorded: &Recorded) -> Found {
    let published: BTreeSet<&str> = recorded.stream("EVENTS").map(Stored::id).collect();
    let kept: BTreeSet<&str> = recorded.history.iter().map(|event| event.message_id.as_str()).collect();
    let mut found = Found::default();
    for event in &recorded.history {
        found.expect(&event.order_id, published.contains(event.message_id.as_str()), || {
            format!("{} is in the history, but not published", event.message_type)
        });
    }
    for event in recorded.distinct("EVENTS").into_iter().filter(|event| event.context() == "order") {
        if event.version().is_some() {
            found.expect(event.key(), kept.contains(event.id()), || {
                format!("{} is published, but not in the history", event.kind())
            });
        }
    }
    found
}

pub(super) fn nothing_is_left(recorded: &Recorded) -> Found {
    let mut found = Found::default();
    for (service, left) in &recorded.outbox_pending {
        found.expect(service, *left == 0, || format!("{left} batches are pending in its outbox"));
    }
    for (consumer, left) in &recorded.unsettled {
        found.expect(consumer, *left == 0, || format!("{left} messages are not delivered or not settled"));
    }
    for dead_letter in &recorded.dead_letters {
        let detail = dead_letter.headers.get("Dead-Letter-Detail").map_or("no reason", String::as_str);
        found.examine(dead_letter.key(), Some(format!("{} is a dead letter: {detail}", dead_letter.subject)));
    }
    found
}

pub(super) fn all_are_copied(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for (stream, missed) in &recorded.missed {
        found.expect(stream, *missed == 0, || format!("{missed} messages were deleted before they were copied"));
    }
    found
}

pub(super) fn all_recover(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for unready in &recorded.unready {
        found.examine(unready, Some("it is not ready long after all faults were cleared".to_owned()));
    }
    found
}

pub(super) fn no_crashes(recorded: &Recorded) -> Found {
    let mut found = Found { examined: 1, ..Found::default() };
    for ended in &recorded.ended {
        found.expect(&ended.component, ended.in_order, || {
            format!("it ended by itself {} ms into the run ({})", ended.at, ended.how)
        });
    }
    found
}
