#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use choreography::Topology;

use super::*;

const SINCE: &str = "2026-01-02T03:04:05Z";

fn system() -> System {
    let topology = Topology { streams: Vec::new(), buckets: Vec::new(), consumers: Vec::new() };
    System::new(topology).open_states("order-service", ["placed"])
}

/// The trace of a service that has nothing to report.
fn trace(service: &str) -> Trace {
    Trace {
        service: service.to_owned(),
        handled: Vec::new(),
        delivery_issues: Vec::new(),
        outbox_pending: Vec::new(),
        status: None,
        problems: Vec::new(),
    }
}

fn with_problem(service: &str, problem: &str) -> Trace {
    Trace { problems: vec![problem.to_owned()], ..trace(service) }
}

fn with_status(service: &str, blocked_on: &str) -> Trace {
    let status = AggregateStatus {
        state: "x".to_owned(),
        since: Some(SINCE.to_owned()),
        blocked_on: Some(blocked_on.to_owned()),
    };
    Trace { status: Some(status), ..trace(service) }
}

fn with_outbox_pending(service: &str, subject: &str, refusal: Option<&str>) -> Trace {
    let message = PendingMessage {
        message_id: Uuid::now_v7(),
        subject: subject.to_owned(),
        causation_id: None,
        since: SINCE.to_owned(),
        refusal: refusal.map(str::to_owned),
    };
    Trace { outbox_pending: vec![message], ..trace(service) }
}

/// An event that one service has not handled.
fn pending(service: &str) -> Vec<Step> {
    vec![Step {
        time: SINCE.to_owned(),
        stream: "EVENTS".to_owned(),
        sequence: 7,
        subject: "order.event.placed.K1".to_owned(),
        source: None,
        message_id: Some(Uuid::now_v7()),
        causation_id: None,
        by: None,
        depth: 0,
        outbox_delay_ms: None,
        note: None,
        consumers: vec![Consumer::pending(service)],
        order: SINCE.to_owned(),
        stored_as: None,
        dead_lettered: None,
    }]
}

/// A name, the messages, the trace of the service, and the words that the blocker must contain.
type Case = (&'static str, Vec<Step>, Result<Trace, String>, &'static [&'static str]);

/// Messages that a service has not handled.
fn unhandled() -> Vec<Case> {
    let stock = "inventory-service";
    vec![
        (
            "database outage",
            pending(stock),
            Err(format!("{stock} returned error 503: its database does not answer; try again later")),
            &["database does not answer", "order.event.placed.K1", "is unknown"],
        ),
        (
            "database outage with a reachable service",
            pending(stock),
            Ok(with_problem(stock, "database: a batch could not be committed: read-only transaction")),
            &["has not handled order.event.placed.K1", "not ready", "read-only transaction"],
        ),
        (
            "frozen service",
            pending(stock),
            Err(format!("{stock} did not reply within 2 s")),
            &["did not reply within 2 s", "is unknown"],
        ),
        (
            "service that does not run",
            pending(stock),
            Err(format!("{stock} does not run")),
            &["does not run", "is unknown"],
        ),
        (
            "missing consumer",
            pending(stock),
            Ok(with_problem(stock, "consumer EVENTS: cannot pull: consumer not found")),
            &["has not handled", "consumer not found"],
        ),
    ]
}

/// Messages that are pending in the outbox of a service.
fn outbox_pending() -> Vec<Case> {
    let (stock, published) = ("inventory-service", "inventory.event.reserved.K1");
    vec![
        (
            "full stream",
            Vec::new(),
            Ok(Trace {
                problems: vec!["outbox: 1 of inventory.event.reserved: maximum bytes exceeded".to_owned()],
                ..with_outbox_pending(stock, published, None)
            }),
            &["has not published inventory.event.reserved.K1", "maximum bytes exceeded"],
        ),
        (
            "missing permission",
            Vec::new(),
            Ok(Trace {
                problems: vec![format!("nats-permissions: Permissions Violation for Publish to \"{published}\"")],
                ..with_outbox_pending(stock, published, None)
            }),
            &["has not published", "Permissions Violation for Publish"],
        ),
        (
            "unpublishable event",
            Vec::new(),
            Ok(with_outbox_pending(stock, published, Some("message size exceeds maximum allowed"))),
            &["cannot publish", "message size exceeds maximum allowed", "redrive"],
        ),
    ]
}

/// Blockers that a service itself reports.
fn own_waits() -> Vec<Case> {
    let (stock, pay) = ("inventory-service", "payment-service");
    vec![
        (
            "backorder",
            Vec::new(),
            Ok(with_status(stock, "units (2 of P1): a restock, or an order ahead of it")),
            &["inventory-service waits for units (2 of P1)"],
        ),
        (
            "missing account",
            Vec::new(),
            Ok(with_status(pay, "the account of its customer")),
            &["payment-service waits for the account"],
        ),
        (
            "provider outage",
            Vec::new(),
            Ok(with_status(pay, "the payment provider, overdue (3 attempts): connection refused")),
            &["payment-service waits for the payment provider, overdue", "connection refused"],
        ),
        (
            "order without a message under way",
            Vec::new(),
            Ok(Trace {
                status: Some(AggregateStatus { state: "placed".to_owned(), since: None, blocked_on: None }),
                ..with_problem("order-service", "queries: the database has not answered for 4 s of 10")
            }),
            &["order-service has it at placed", "no message about it is under way", "has not answered for 4 s"],
        ),
    ]
}

#[test]
fn every_blocker_names_its_cause() {
    for (name, steps, status, words) in [unhandled(), outbox_pending(), own_waits()].into_iter().flatten() {
        let service = match &status {
            Ok(trace) => trace.service.clone(),
            Err(why) => why.split(' ').next().unwrap().to_owned(),
        };
        let blockers = of(&steps, &BTreeMap::from([(service.clone(), status)]), Reach::Everything, &system());
        assert_eq!(blockers.len(), 1, "{name}: {blockers:?}");
        assert_eq!(blockers[0].service, service, "{name}");
        for word in words {
            assert!(blockers[0].what.contains(word), "{name}: {:?} does not contain {word:?}", blockers[0].what);
        }
    }
}
