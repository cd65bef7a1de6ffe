#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use choreography::stats::{Repeated, Stats};
use time::macros::datetime;

use super::super::{DeadLetters, Lag, Reply, Violation, once};
use super::*;

/// A consistent observation of one service.
fn quiet() -> Observed {
    Observed {
        stats: BTreeMap::from([("order-service".to_owned(), stats())]),
        lags: Ok(vec![lag(0, 10)]),
        unknown_consumers: Vec::new(),
        dead_letters: Ok(DeadLetters::default()),
        at: datetime!(2026-11-21 10:00:30 UTC),
        quiet: true,
    }
}

fn stats() -> Reply<Stats> {
    Ok(Stats {
        service: "order-service".to_owned(),
        outbox_depth: 0,
        outbox_unpublishable: 0,
        outbox_age_ms: None,
        examined: 10,
        repeated: Vec::new(),
        repeated_total: 0,
    })
}

fn lag(pending: u64, floor: u64) -> Lag {
    Lag {
        service: "order-service".to_owned(),
        stream: "EVENTS".to_owned(),
        pending,
        unacknowledged: 0,
        floor,
        delivered: floor,
        deliveries: floor,
        first: 1,
        last: floor + pending,
        missing: None,
        has_events: true,
        has_timers: false,
    }
}

fn find<'a>(board: &'a Board, name: &str) -> &'a Check {
    let Some(check) = board.checks.iter().find(|check| check.name == name) else { unreachable!() };
    check
}

fn status_of(board: &Board, name: &str) -> Status {
    find(board, name).status
}

/// Decides with the library's checks only.
fn decide(judge: &mut Judge, observed: &Observed, now: Instant) -> Board {
    judge.decide(observed, Vec::new(), now)
}

#[test]
fn a_mismatch_is_a_violation_only_if_it_persists_while_no_message_is_under_way() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    let mut at = |seconds: u64, quiet: bool, mismatch: bool| {
        let suspected = if mismatch { vec![Violation::of("K", "it differs")] } else { Vec::new() };
        let findings = Findings { suspected, ..Findings::default() };
        let own = vec![(Check::new("own", "They agree", 1, String::new()), findings)];
        let observed = Observed { quiet, ..self::quiet() };
        status_of(&judge.decide(&observed, own, now + Duration::from_secs(seconds)), "own")
    };
    assert_eq!(at(0, true, true), Status::Unknown);
    assert_eq!(at(1, true, true), Status::Unknown);
    assert_eq!(at(2, true, true), Status::Fail);
    assert_eq!(at(4, false, true), Status::Unknown, "a message is under way");
    assert_eq!(at(5, true, true), Status::Unknown, "since then it has not persisted");
    assert_eq!(at(6, true, true), Status::Fail);
    assert_eq!(at(7, true, false), Status::Pass);
    assert_eq!(at(9, true, true), Status::Unknown, "after an interruption, the mismatch is new");
}

#[test]
fn a_repeated_message_fails_the_check_of_its_system_and_names_the_service() {
    let repeated = vec![Repeated { subject: "order.event.placed.ORDER_001".to_owned(), count: 2 }];
    let stats = stats().map(|stats| Stats { repeated, repeated_total: 7, ..stats });
    let observed = Observed { stats: BTreeMap::from([("order-service".to_owned(), stats)]), ..quiet() };
    let board = Judge::default().decide(&observed, vec![once(&observed)], Instant::now());
    let check = find(&board, "handled-once");
    assert_eq!((check.status, check.total, &*check.violations[0].key), (Status::Fail, 7, "ORDER_001"));
    assert_eq!(check.violations[0].explanation, "order-service published order.event.placed 2 times");
}

#[test]
fn a_lagging_consumer_is_a_violation_only_if_it_makes_no_progress() {
    let (mut judge, start) = (Judge::default(), Instant::now());
    let mut at = |seconds: u64, pending: u64, floor: u64| {
        let observed = Observed { lags: Ok(vec![lag(pending, floor)]), quiet: false, ..quiet() };
        status_of(&decide(&mut judge, &observed, start + Duration::from_secs(seconds)), "consumers")
    };
    assert_eq!(at(0, 100, 10), Status::Pass);
    assert_eq!(at(10, 100, 20), Status::Pass);
    assert_eq!(at(24, 100, 20), Status::Pass);
    assert_eq!(at(26, 100, 20), Status::Fail);
    assert_eq!(at(27, 0, 120), Status::Pass);
    assert_eq!(at(60, 5, 120), Status::Pass);
}

#[test]
fn messages_that_a_stream_deletes_before_their_delivery_are_lost() {
    let (mut judge, now) = (Judge::default(), Instant::now());
    let mut at =
        |lag: Lag| status_of(&decide(&mut judge, &Observed { lags: Ok(vec![lag]), ..quiet() }, now), "consumers");
    assert_eq!(at(lag(3, 10)), Status::Pass);
    // Delivered in between, and deleted afterwards.
    assert_eq!(at(Lag { first: 13, ..lag(1, 12) }), Status::Pass);
    // The last one is deleted instead.
    assert_eq!(at(Lag { first: 14, delivered: 13, ..lag(0, 12) }), Status::Fail);
    // A watcher that starts later sees the gap, but not whether the messages matched the filter.
    let later = Observed { lags: Ok(vec![Lag { first: 14, delivered: 13, ..lag(0, 12) }]), ..quiet() };
    assert_eq!(status_of(&decide(&mut Judge::default(), &later, now), "consumers"), Status::Unknown);
}

#[test]
fn a_consumer_that_is_missing_or_does_not_acknowledge_is_reported() {
    let (mut judge, start) = (Judge::default(), Instant::now());
    let mut at = |seconds: u64, lag: Lag| {
        let observed = Observed { lags: Ok(vec![lag]), quiet: false, ..quiet() };
        status_of(&decide(&mut judge, &observed, start + Duration::from_secs(seconds)), "consumers")
    };
    assert_eq!(at(0, Lag { missing: Some("provision".to_owned()), ..lag(0, 0) }), Status::Fail);
    let frozen = || Lag { unacknowledged: 2, ..lag(0, 10) };
    assert_eq!(at(1, frozen()), Status::Pass);
    assert_eq!(at(60, frozen()), Status::Pass);
    assert_eq!(at(62, frozen()), Status::Fail);
    assert_eq!(at(63, Lag { deliveries: 11, ..frozen() }), Status::Pass, "a redelivery is progress");
}

#[test]
fn dead_letters_of_one_key_have_distinct_ids_and_are_all_counted() {
    let subject = |service: &str| format!("dead-letter.{service}.rejected.ORDER_001");
    let subjects = vec![(subject("order-service"), 1), (subject("payment-service"), 3)];
    let dead_letters = Ok(DeadLetters { count: 4, subjects });
    let board = decide(&mut Judge::default(), &Observed { dead_letters, ..quiet() }, Instant::now());
    let check = find(&board, "dead-letters");
    assert_eq!((check.total, check.violations.len()), (4, 2));
    assert_ne!(check.violations[0].id, check.violations[1].id);
}
