//! What becomes of a payment that the provider was asked to take, example by example.

use contracts::payment::DeclineReason::{ProviderDeclined, ProviderUnavailable};
use payment_service::payment::{Call, Outcome, State};
use time::Duration;

use crate::given::{
    Given, NOW, account, cancelled, captured, declined, given, given_back, order_id, placed, refunded, reserved,
    taken,
};

/// A payment of 60 that is due, with a limit of 100.
fn due() -> Given {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A")])
}

#[test]
fn what_the_provider_takes_is_captured() {
    due()
        .awaits_capture("A")
        .answered("A", &taken("A"))
        .publishes(&captured("A", 60), &reserved("A"))
        .exposes(60)
        .answered("A", &taken("A"))
        .says_nothing();
}

#[test]
fn what_the_provider_declines_frees_the_limit() {
    due()
        .awaits_capture("A")
        .answered("A", &Outcome::Declined)
        .publishes(&declined("A", ProviderDeclined), &reserved("A"))
        .exposes(0);
}

#[test]
fn a_captured_order_that_is_cancelled_is_refunded_once() {
    due()
        .awaits_capture("A")
        .answered("A", &taken("A"))
        .when(&cancelled("A"))
        .says_nothing()
        .stands("A", |state| matches!(state, State::Refunding { .. }))
        .exposes(60)
        .when(&cancelled("A"))
        .asks("A", |call| *call == Call::Refund { reference: "cap_A".to_owned() })
        .answered("A", &given_back("A"))
        .publishes(&refunded("A", 60), &cancelled("A"))
        .exposes(0)
        .answered("A", &given_back("A"))
        .says_nothing()
        .exposes(0);
}

#[test]
fn an_order_that_is_cancelled_while_the_provider_is_asked_is_given_back_what_was_taken() {
    due()
        .awaits_capture("A")
        .when(&cancelled("A"))
        .says_nothing()
        .exposes(60)
        .answered("A", &taken("A"))
        .publishes(&captured("A", 60), &reserved("A"))
        .exposes(60)
        .asks("A", |call| matches!(call, Call::Refund { .. }))
        .answered("A", &given_back("A"))
        .publishes(&refunded("A", 60), &cancelled("A"))
        .exposes(0);
}

#[test]
fn an_order_that_is_cancelled_while_the_provider_declines_is_cancelled() {
    due()
        .awaits_capture("A")
        .when(&cancelled("A"))
        .answered("A", &Outcome::Declined)
        .says_nothing()
        .stands("A", |state| *state == State::Cancelled)
        .exposes(0);
}

#[test]
fn an_order_that_is_cancelled_while_the_provider_is_silent_is_not_captured_again() {
    let silent = due()
        .awaits_capture("A")
        .when(&cancelled("A"))
        .answered("A", &Outcome::unavailable("no answer"))
        .exposes(60);
    let silent = silent.says_nothing().after(1).asks("A", |call| *call == Call::Void);
    silent
        .clone()
        .answered("A", &Outcome::Voided)
        .says_nothing()
        .stands("A", |state| *state == State::Cancelled)
        .exposes(0);
    silent.answered("A", &given_back("A")).publishes(&refunded("A", 60), &cancelled("A")).exposes(0);
}

#[test]
fn a_silent_provider_is_asked_again_after_growing_waits() {
    let mut given = due();
    let mut waits = Vec::new();
    for _ in 0..8 {
        given =
            given.awaits_capture("A").answered("A", &Outcome::unavailable("no answer")).says_nothing().exposes(60);
        let next = given.aggregates.payments[&order_id("A")].next_attempt_at.unwrap();
        waits.push((next - given.now).whole_milliseconds());
        given.now = next;
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    given.answered("A", &taken("A")).publishes(&captured("A", 60), &reserved("A"));
}

#[test]
fn a_payment_in_doubt_for_too_long_is_settled() {
    let overdue = due().awaits_capture("A").after(59).answered("A", &Outcome::unavailable("no answer"));
    assert_eq!(
        overdue.aggregates.payments[&order_id("A")].next_attempt_at,
        Some(NOW + Duration::seconds_f64(59.25))
    );
    let overdue = overdue.awaits_capture("A").after(1).answered("A", &Outcome::unavailable("no answer"));
    let looking = overdue.asks("A", |call| *call == Call::Lookup);
    looking
        .clone()
        .answered("A", &Outcome::Declined)
        .publishes(&declined("A", ProviderDeclined), &reserved("A"))
        .exposes(0);
    looking.clone().answered("A", &taken("A")).publishes(&captured("A", 60), &reserved("A")).exposes(60);
    looking
        .answered("A", &Outcome::unavailable("no answer"))
        .says_nothing()
        .exposes(60)
        .after(10)
        .asks("A", |call| *call == Call::Lookup);
}

#[test]
fn a_payment_in_doubt_that_the_provider_has_not_heard_of_is_voided_whatever_it_hears_later() {
    let voiding = due()
        .awaits_capture("A")
        .after(60)
        .asks("A", |call| *call == Call::Lookup)
        .answered("A", &Outcome::Unheard)
        .says_nothing()
        .stands("A", |state| *state == State::Voiding)
        .exposes(60)
        .asks("A", |call| *call == Call::Void);
    voiding
        .clone()
        .answered("A", &Outcome::unavailable("no answer"))
        .exposes(60)
        .after(10)
        .asks("A", |call| *call == Call::Void)
        .answered("A", &given_back("A"))
        .publishes(&declined("A", ProviderUnavailable), &reserved("A"))
        .exposes(0);
    voiding
        .clone()
        .answered("A", &Outcome::Voided)
        .publishes(&declined("A", ProviderUnavailable), &reserved("A"))
        .exposes(0);
    let cancelled_meanwhile = voiding.when(&cancelled("A")).says_nothing().exposes(60);
    cancelled_meanwhile
        .clone()
        .answered("A", &Outcome::Voided)
        .says_nothing()
        .stands("A", |state| *state == State::Cancelled)
        .exposes(0);
    cancelled_meanwhile.answered("A", &given_back("A")).publishes(&refunded("A", 60), &cancelled("A")).exposes(0);
}

#[test]
fn no_wait_goes_beyond_the_deadline() {
    let mut given = due().after(50);
    for _ in 0..7 {
        given = given.asks("A", |_| true).answered("A", &Outcome::unavailable("no answer"));
    }
    let given = given.after(2).asks("A", |_| true).answered("A", &Outcome::unavailable("no answer"));
    assert_eq!(given.aggregates.payments[&order_id("A")].next_attempt_at, Some(NOW + Duration::seconds(60)));
}

#[test]
fn a_payment_that_comes_to_be_asked_for_late_is_asked_for_once_before_it_is_settled() {
    due().after(3600).awaits_capture("A").answered("A", &taken("A")).publishes(&captured("A", 60), &reserved("A"));
}

#[test]
fn an_answer_to_an_attempt_that_is_not_the_latest_says_nothing() {
    due()
        .awaits_capture("A")
        .after(60)
        .asks("A", |call| *call == Call::Lookup)
        .answered_to("A", 1, &taken("A"))
        .says_nothing()
        .stands("A", |state| matches!(state, State::Capturing { .. }))
        .answered_to("A", 2, &Outcome::Unheard)
        .answered_to("A", 1, &taken("A"))
        .says_nothing()
        .stands("A", |state| *state == State::Voiding)
        .asks("A", |call| *call == Call::Void)
        .answered_to("A", 1, &taken("A"))
        .says_nothing()
        .exposes(60);
}

fn refused() -> Outcome {
    Outcome::Refused { why: "the provider refused: 422".to_owned() }
}

fn mismatch() -> Outcome {
    Outcome::Mismatch { why: "the provider says 1 EUR".to_owned() }
}

fn alarm(given: &Given) -> Option<&str> {
    let payment = &given.aggregates.payments[&order_id("A")];
    payment.alarm_since.and(payment.provider_answer.as_deref())
}

#[test]
fn a_refusal_ends_the_first_attempt_and_leaves_a_later_one_in_doubt() {
    let first = due().awaits_capture("A").answered("A", &refused());
    first.publishes(&declined("A", ProviderDeclined), &reserved("A")).exposes(0);
    let silent = due().awaits_capture("A").answered("A", &Outcome::unavailable("no answer")).after(1);
    silent
        .awaits_capture("A")
        .answered("A", &refused())
        .says_nothing()
        .stands("A", |state| *state == State::Voiding)
        .exposes(60);
}

#[test]
fn money_that_the_provider_names_otherwise_is_never_captured() {
    let given = due().awaits_capture("A").answered("A", &mismatch());
    assert_eq!(alarm(&given), Some("the provider says 1 EUR"));
    given.publishes(&declined("A", ProviderDeclined), &reserved("A")).exposes(0);
    let cancelled = due().awaits_capture("A").when(&cancelled("A")).answered("A", &mismatch());
    assert!(alarm(&cancelled).is_some());
    cancelled.says_nothing().stands("A", |state| *state == State::Cancelled).exposes(0);
}

#[test]
fn a_refund_that_is_refused_or_fails_for_too_long_is_left_to_a_person_and_counts_against_the_limit() {
    let refunding =
        || due().awaits_capture("A").answered("A", &taken("A")).when(&cancelled("A")).asks("A", |_| true);
    for outcome in [refused(), mismatch()] {
        let given = refunding().answered("A", &outcome).says_nothing().exposes(60);
        assert!(alarm(&given).is_some());
        assert_eq!(given.aggregates.payments[&order_id("A")].next_attempt_at, None);
    }
    let fails = refunding().after(3599).answered("A", &Outcome::unavailable("500"));
    assert!(alarm(&fails).is_none() && fails.aggregates.payments[&order_id("A")].next_attempt_at.is_some());
    let abandoned = fails.after(1).asks("A", |_| true).answered("A", &Outcome::unavailable("500")).exposes(60);
    assert_eq!(alarm(&abandoned), Some("500"));
}

#[test]
fn a_provider_that_asks_to_be_left_alone_is_left_alone_for_a_minute_at_most() {
    for (asked, waited) in [(1, 1), (30, 30), (3600, 60)] {
        let retry_after = Some(std::time::Duration::from_secs(asked));
        let busy = Outcome::Unavailable { why: "429".to_owned(), retry_after };
        let given = due().awaits_capture("A").answered("A", &busy);
        assert_eq!(
            given.aggregates.payments[&order_id("A")].next_attempt_at,
            Some(NOW + Duration::seconds(waited))
        );
    }
}
