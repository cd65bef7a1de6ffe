//! When a payment is due, and whether it is authorised, example by example.

use contracts::Currency;
use contracts::payment::DeclineReason::{CardExpired, CurrencyMismatch, LimitExceeded, NoAccount, NoCard};
use payment_service::payment::{Policy, State};
use time::Duration;

use crate::given::{
    NOW, POLICY, account, account_with, cancelled, capture_outcome, card, cause, declined, deleted, given,
    order_id, placed, placed_in, reserved,
};

#[test]
fn a_payment_is_due_once_the_order_is_placed_and_its_stock_reserved_whichever_comes_first() {
    for pair in [[placed("A", "ANN", 60), reserved("A")], [reserved("A"), placed("A", "ANN", 60)]] {
        given(&[account("ANN", 1, 100)])
            .when(&pair[0])
            .publishes_nothing()
            .has_state("A", |state| *state == State::Pending)
            .exposes(0)
            .when(&pair[1])
            .publishes_nothing()
            .has_state("A", |state| matches!(state, State::Capturing { .. }))
            .exposes(60)
            .when(&pair[0])
            .when(&pair[1])
            .exposes(60)
            .calls_capture("A");
    }
}

#[test]
fn a_payment_of_a_deleted_account_is_declined() {
    given(&[account("ANN", 1, 100), deleted("ANN", 2), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoAccount), &reserved("A"))
        .has_state("A", |state| *state == State::Declined { reason: NoAccount })
        .exposes(0)
        .when(&cancelled("A"))
        .publishes_nothing()
        .has_state("A", |state| *state == State::Declined { reason: NoAccount });
}

#[test]
fn a_late_change_of_an_account_does_not_overwrite_a_newer_version() {
    given(&[deleted("ANN", 2), account("ANN", 1, 100), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoAccount), &reserved("A"));
    given(&[account("ANN", 3, 100), account("ANN", 2, 10), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes_nothing()
        .exposes(60);
}

#[test]
fn a_payment_without_a_card_is_declined() {
    given(&[account_with("ANN", 1, None, 100), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoCard), &reserved("A"));
}

#[test]
fn a_card_is_valid_until_the_end_of_its_month() {
    let with = |expiry| account_with("ANN", 1, Some(card("tok_1", expiry)), 100);
    given(&[with("2030-05"), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", CardExpired), &reserved("A"));
    given(&[with("2030-06"), placed("A", "ANN", 60)]).when(&reserved("A")).publishes_nothing().exposes(60);
}

#[test]
fn a_payment_in_another_currency_than_the_limits_is_declined() {
    given(&[account("ANN", 1, 100), placed_in("A", "ANN", 60, Currency::USD)])
        .when(&reserved("A"))
        .publishes(&declined("A", CurrencyMismatch), &reserved("A"))
        .exposes(0);
}

#[test]
fn captures_may_reach_the_limit_and_not_exceed_it() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), placed("B", "ANN", 41), placed("C", "ANN", 40)])
        .when(&reserved("A"))
        .exposes(60)
        .when(&reserved("B"))
        .publishes(&declined("B", LimitExceeded), &reserved("B"))
        .exposes(60)
        .when(&reserved("C"))
        .publishes_nothing()
        .exposes(100);
}

#[test]
fn a_repeated_capture_uses_the_card_of_the_first_attempt() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A")])
        .when(&account_with("ANN", 2, Some(card("tok_2", "2999-12")), 100))
        .has_state("A", |state| matches!(state, State::Capturing { token } if token.as_str() == "tok_1"));
}

#[test]
fn a_payment_awaits_a_missing_account() {
    given(&[placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes_nothing()
        .has_state("A", |state| *state == State::AwaitingAccount)
        .after(29)
        .rechecked("A")
        .publishes_nothing()
        .has_state("A", |state| *state == State::AwaitingAccount)
        .when(&account("ANN", 1, 100))
        .rechecked("A")
        .publishes_nothing()
        .exposes(60)
        .calls_capture("A");
}

#[test]
fn a_payment_whose_account_never_arrives_is_declined() {
    given(&[placed("A", "ANN", 60), reserved("A")])
        .after(30)
        .rechecked("A")
        .publishes(&declined("A", NoAccount), &reserved("A"))
        .when(&account("ANN", 1, 100))
        .rechecked("A")
        .publishes_nothing()
        .exposes(0);
}

#[test]
fn a_due_time_of_a_clock_that_was_ahead_is_replaced_by_now() {
    let mut given = given(&[placed("A", "ANN", 60), reserved("A")]);
    given.now -= Duration::hours(1);
    given
        .rechecked("A")
        .publishes_nothing()
        .after(30)
        .rechecked("A")
        .publishes(&declined("A", NoAccount), &reserved("A"));
}

#[test]
fn an_account_that_arrives_after_the_time_limit_but_before_the_check_is_used() {
    given(&[placed("A", "ANN", 60), reserved("A"), account("ANN", 1, 100)])
        .after(31)
        .rechecked("A")
        .publishes_nothing()
        .exposes(60);
}

#[test]
fn a_missing_account_is_queried_at_once_if_queries_are_enabled() {
    let given = given(&[placed("A", "ANN", 60)]);
    for (fetch_accounts, wait) in [(true, Duration::ZERO), (false, Duration::seconds(30))] {
        let policy = Policy { fetch_accounts, ..POLICY };
        let mut aggregates = given.aggregates.clone();
        aggregates.apply(&reserved("A"), &cause(&reserved("A")), NOW, &policy);
        assert_eq!(aggregates.payments[&order_id("A")].next_attempt_at, Some(NOW + wait));
        aggregates.recheck(&order_id("A"), NOW, &policy);
        assert_eq!(aggregates.payments[&order_id("A")].next_attempt_at, Some(NOW + Duration::seconds(30)));
    }
}

#[test]
fn a_payment_is_cancelled_if_its_order_is_cancelled_before_it_is_due() {
    let messages = [placed("A", "ANN", 60), reserved("A"), cancelled("A")];
    for order in [[0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        order
            .iter()
            .fold(given(&[account("ANN", 1, 100)]), |given, index| {
                given.when(&messages[*index]).publishes_nothing()
            })
            .has_state("A", |state| *state == State::Cancelled)
            .exposes(0);
    }
    given(&[placed("A", "ANN", 60), reserved("A"), cancelled("A"), account("ANN", 1, 100)])
        .rechecked("A")
        .publishes_nothing()
        .has_state("A", |state| *state == State::Cancelled);
}

#[test]
fn an_order_that_is_cancelled_before_the_first_call_releases_the_limit() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A"), placed("B", "ANN", 60)])
        .when(&cancelled("A"))
        .publishes_nothing()
        .has_state("A", |state| *state == State::Cancelled)
        .exposes(0)
        .when(&reserved("B"))
        .exposes(60)
        .calls_capture("B")
        .ends_with("B", &capture_outcome("B"))
        .exposes(60);
}

#[test]
fn an_order_that_was_cancelled_first_still_records_its_charge() {
    let given = given(&[cancelled("A"), placed("A", "ANN", 60)]);
    assert_eq!(given.aggregates.payments[&order_id("A")].charge.as_ref().unwrap().amount.minor_units(), 60);
}
