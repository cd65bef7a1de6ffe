//! The outcomes of calls to the provider, example by example.

use contracts::payment::DeclineReason::{ProviderDeclined, ProviderUnavailable};
use payment_service::payment::{Call, Outcome, State};
use time::Duration;

use crate::given::{
    Given, NOW, account, cancelled, capture_outcome, captured, declined, given, order_id, placed, refund_outcome,
    refunded, reserved,
};

/// A payment of 60 that is due, with a limit of 100.
fn due() -> Given {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A")])
}

#[test]
fn a_successful_capture_is_recorded_once() {
    due()
        .calls_capture("A")
        .ends_with("A", &capture_outcome("A"))
        .publishes(&captured("A", 60), &reserved("A"))
        .exposes(60)
        .ends_with("A", &capture_outcome("A"))
        .publishes_nothing();
}

#[test]
fn a_decline_releases_the_limit() {
    due()
        .calls_capture("A")
        .ends_with("A", &Outcome::Declined)
        .publishes(&declined("A", ProviderDeclined), &reserved("A"))
        .exposes(0);
}

#[test]
fn a_captured_order_that_is_cancelled_is_refunded_once() {
    due()
        .calls_capture("A")
        .ends_with("A", &capture_outcome("A"))
        .when(&cancelled("A"))
        .publishes_nothing()
        .has_state("A", |state| matches!(state, State::Refunding { .. }))
        .exposes(60)
        .when(&cancelled("A"))
        .calls("A", |call| *call == Call::Refund { reference: "cap_A".to_owned() })
        .ends_with("A", &refund_outcome("A"))
        .publishes(&refunded("A", 60), &cancelled("A"))
        .exposes(0)
        .ends_with("A", &refund_outcome("A"))
        .publishes_nothing()
        .exposes(0);
}

#[test]
fn an_order_that_is_cancelled_during_a_capture_is_refunded() {
    due()
        .calls_capture("A")
        .when(&cancelled("A"))
        .publishes_nothing()
        .exposes(60)
        .ends_with("A", &capture_outcome("A"))
        .publishes(&captured("A", 60), &reserved("A"))
        .exposes(60)
        .calls("A", |call| matches!(call, Call::Refund { .. }))
        .ends_with("A", &refund_outcome("A"))
        .publishes(&refunded("A", 60), &cancelled("A"))
        .exposes(0);
}

#[test]
fn an_order_that_is_cancelled_during_a_declined_capture_has_a_cancelled_payment() {
    due()
        .calls_capture("A")
        .when(&cancelled("A"))
        .ends_with("A", &Outcome::Declined)
        .publishes_nothing()
        .has_state("A", |state| *state == State::Cancelled)
        .exposes(0);
}

#[test]
fn a_cancelled_order_whose_capture_has_no_response_is_voided_and_not_captured_again() {
    let unanswered = due()
        .calls_capture("A")
        .when(&cancelled("A"))
        .ends_with("A", &Outcome::unavailable("no response"))
        .exposes(60);
    let unanswered = unanswered.publishes_nothing().after(1).calls("A", |call| *call == Call::Void);
    unanswered
        .clone()
        .ends_with("A", &Outcome::Voided)
        .publishes_nothing()
        .has_state("A", |state| *state == State::Cancelled)
        .exposes(0);
    unanswered.ends_with("A", &refund_outcome("A")).publishes(&refunded("A", 60), &cancelled("A")).exposes(0);
}

#[test]
fn a_call_without_a_response_is_repeated_with_growing_back_off() {
    let mut given = due();
    let mut waits = Vec::new();
    for _ in 0..8 {
        given = given
            .calls_capture("A")
            .ends_with("A", &Outcome::unavailable("no response"))
            .publishes_nothing()
            .exposes(60);
        let next = given.aggregates.payments[&order_id("A")].next_attempt_at.unwrap();
        waits.push((next - given.now).whole_milliseconds());
        given.now = next;
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    given.ends_with("A", &capture_outcome("A")).publishes(&captured("A", 60), &reserved("A"));
}

#[test]
fn a_capture_whose_outcome_is_unknown_for_too_long_is_looked_up() {
    let overdue = due().calls_capture("A").after(59).ends_with("A", &Outcome::unavailable("no response"));
    assert_eq!(
        overdue.aggregates.payments[&order_id("A")].next_attempt_at,
        Some(NOW + Duration::seconds_f64(59.25))
    );
    let overdue = overdue.calls_capture("A").after(1).ends_with("A", &Outcome::unavailable("no response"));
    let lookup = overdue.calls("A", |call| *call == Call::Lookup);
    lookup
        .clone()
        .ends_with("A", &Outcome::Declined)
        .publishes(&declined("A", ProviderDeclined), &reserved("A"))
        .exposes(0);
    lookup.clone().ends_with("A", &capture_outcome("A")).publishes(&captured("A", 60), &reserved("A")).exposes(60);
    lookup
        .ends_with("A", &Outcome::unavailable("no response"))
        .publishes_nothing()
        .exposes(60)
        .after(10)
        .calls("A", |call| *call == Call::Lookup);
}

#[test]
fn an_overdue_capture_that_the_provider_does_not_know_is_voided_even_if_it_arrives_later() {
    let voiding = due()
        .calls_capture("A")
        .after(60)
        .calls("A", |call| *call == Call::Lookup)
        .ends_with("A", &Outcome::NotFound)
        .publishes_nothing()
        .has_state("A", |state| *state == State::Voiding)
        .exposes(60)
        .calls("A", |call| *call == Call::Void);
    voiding
        .clone()
        .ends_with("A", &Outcome::unavailable("no response"))
        .exposes(60)
        .after(10)
        .calls("A", |call| *call == Call::Void)
        .ends_with("A", &refund_outcome("A"))
        .publishes(&declined("A", ProviderUnavailable), &reserved("A"))
        .exposes(0);
    voiding
        .clone()
        .ends_with("A", &Outcome::Voided)
        .publishes(&declined("A", ProviderUnavailable), &reserved("A"))
        .exposes(0);
    let cancelled_meanwhile = voiding.when(&cancelled("A")).publishes_nothing().exposes(60);
    cancelled_meanwhile
        .clone()
        .ends_with("A", &Outcome::Voided)
        .publishes_nothing()
        .has_state("A", |state| *state == State::Cancelled)
        .exposes(0);
    cancelled_meanwhile
        .ends_with("A", &refund_outcome("A"))
        .publishes(&refunded("A", 60), &cancelled("A"))
        .exposes(0);
}

#[test]
fn no_back_off_exceeds_the_deadline() {
    let mut given = due().after(50);
    for _ in 0..7 {
        given = given.calls("A", |_| true).ends_with("A", &Outcome::unavailable("no response"));
    }
    let given = given.after(2).calls("A", |_| true).ends_with("A", &Outcome::unavailable("no response"));
    assert_eq!(given.aggregates.payments[&order_id("A")].next_attempt_at, Some(NOW + Duration::seconds(60)));
}

#[test]
fn an_overdue_payment_without_an_attempt_is_captured_once() {
    due()
        .after(3600)
        .calls_capture("A")
        .ends_with("A", &capture_outcome("A"))
        .publishes(&captured("A", 60), &reserved("A"));
}

#[test]
fn an_outcome_of_an_attempt_that_is_not_the_latest_is_ignored() {
    due()
        .calls_capture("A")
        .after(60)
        .calls("A", |call| *call == Call::Lookup)
        .attempt_ends_with("A", 1, &capture_outcome("A"))
        .publishes_nothing()
        .has_state("A", |state| matches!(state, State::Capturing { .. }))
        .attempt_ends_with("A", 2, &Outcome::NotFound)
        .attempt_ends_with("A", 1, &capture_outcome("A"))
        .publishes_nothing()
        .has_state("A", |state| *state == State::Voiding)
        .calls("A", |call| *call == Call::Void)
        .attempt_ends_with("A", 1, &capture_outcome("A"))
        .publishes_nothing()
        .exposes(60);
}

fn refused() -> Outcome {
    Outcome::Refused { why: "the provider refused: 422".to_owned() }
}

fn mismatch() -> Outcome {
    Outcome::Mismatch { why: "the provider has 1 EUR".to_owned() }
}

fn alarm(given: &Given) -> Option<&str> {
    let payment = &given.aggregates.payments[&order_id("A")];
    payment.alarm_since.and(payment.provider_answer.as_deref())
}

#[test]
fn a_refusal_of_the_first_attempt_declines_and_a_later_one_is_voided() {
    let first = due().calls_capture("A").ends_with("A", &refused());
    first.publishes(&declined("A", ProviderDeclined), &reserved("A")).exposes(0);
    let unanswered = due().calls_capture("A").ends_with("A", &Outcome::unavailable("no response")).after(1);
    unanswered
        .calls_capture("A")
        .ends_with("A", &refused())
        .publishes_nothing()
        .has_state("A", |state| *state == State::Voiding)
        .exposes(60);
}

#[test]
fn a_response_with_another_amount_is_never_captured() {
    let given = due().calls_capture("A").ends_with("A", &mismatch());
    assert_eq!(alarm(&given), Some("the provider has 1 EUR"));
    given.publishes(&declined("A", ProviderDeclined), &reserved("A")).exposes(0);
    let cancelled = due().calls_capture("A").when(&cancelled("A")).ends_with("A", &mismatch());
    assert!(alarm(&cancelled).is_some());
    cancelled.publishes_nothing().has_state("A", |state| *state == State::Cancelled).exposes(0);
}

#[test]
fn a_refund_that_is_refused_or_fails_for_too_long_needs_an_operator_and_counts_against_the_limit() {
    let refunding = || {
        due().calls_capture("A").ends_with("A", &capture_outcome("A")).when(&cancelled("A")).calls("A", |_| true)
    };
    for outcome in [refused(), mismatch()] {
        let given = refunding().ends_with("A", &outcome).publishes_nothing().exposes(60);
        assert!(alarm(&given).is_some());
        assert_eq!(given.aggregates.payments[&order_id("A")].next_attempt_at, None);
    }
    let fails = refunding().after(3599).ends_with("A", &Outcome::unavailable("500"));
    assert!(alarm(&fails).is_none() && fails.aggregates.payments[&order_id("A")].next_attempt_at.is_some());
    let abandoned = fails.after(1).calls("A", |_| true).ends_with("A", &Outcome::unavailable("500")).exposes(60);
    assert_eq!(alarm(&abandoned), Some("500"));
}

#[test]
fn a_retry_after_of_the_provider_is_respected_for_at_most_a_minute() {
    for (requested, waited) in [(1, 1), (30, 30), (3600, 60)] {
        let retry_after = Some(std::time::Duration::from_secs(requested));
        let busy = Outcome::Unavailable { why: "429".to_owned(), retry_after };
        let given = due().calls_capture("A").ends_with("A", &busy);
        assert_eq!(
            given.aggregates.payments[&order_id("A")].next_attempt_at,
            Some(NOW + Duration::seconds(waited))
        );
    }
}
