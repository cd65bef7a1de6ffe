//! What is due, and whether it may be taken, example by example.

use contracts::Currency;
use contracts::payment::DeclineReason::{CardExpired, CurrencyMismatch, LimitExceeded, NoAccount, NoCard};
use payment_service::payment::{Policy, State};
use time::Duration;

use crate::given::{
    NOW, POLICY, account, account_with, cancelled, card, cause, declined, deleted, given, order_id, placed,
    placed_in, reserved, taken,
};

#[test]
fn a_payment_is_due_once_the_order_is_placed_and_its_stock_reserved_whichever_comes_first() {
    for pair in [[placed("A", "ANN", 60), reserved("A")], [reserved("A"), placed("A", "ANN", 60)]] {
        given(&[account("ANN", 1, 100)])
            .when(&pair[0])
            .says_nothing()
            .stands("A", |state| *state == State::Pending)
            .exposes(0)
            .when(&pair[1])
            .says_nothing()
            .stands("A", |state| matches!(state, State::Capturing { .. }))
            .exposes(60)
            .when(&pair[0])
            .when(&pair[1])
            .exposes(60)
            .awaits_capture("A");
    }
}

#[test]
fn a_payment_of_a_deleted_account_is_declined() {
    given(&[account("ANN", 1, 100), deleted("ANN", 2), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoAccount), &reserved("A"))
        .stands("A", |state| *state == State::Declined { reason: NoAccount })
        .exposes(0)
        .when(&cancelled("A"))
        .says_nothing()
        .stands("A", |state| *state == State::Declined { reason: NoAccount });
}

#[test]
fn an_account_that_is_changed_late_does_not_come_back() {
    given(&[deleted("ANN", 2), account("ANN", 1, 100), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoAccount), &reserved("A"));
    given(&[account("ANN", 3, 100), account("ANN", 2, 10), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .says_nothing()
        .exposes(60);
}

#[test]
fn a_payment_without_a_card_is_declined() {
    given(&[account_with("ANN", 1, None, 100), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", NoCard), &reserved("A"));
}

#[test]
fn a_card_is_good_until_its_month_is_over() {
    let with = |expiry| account_with("ANN", 1, Some(card("tok_1", expiry)), 100);
    given(&[with("2030-05"), placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .publishes(&declined("A", CardExpired), &reserved("A"));
    given(&[with("2030-06"), placed("A", "ANN", 60)]).when(&reserved("A")).says_nothing().exposes(60);
}

#[test]
fn a_payment_in_another_currency_than_the_limits_is_declined() {
    given(&[account("ANN", 1, 100), placed_in("A", "ANN", 60, Currency::USD)])
        .when(&reserved("A"))
        .publishes(&declined("A", CurrencyMismatch), &reserved("A"))
        .exposes(0);
}

#[test]
fn what_is_taken_may_reach_the_limit_and_not_exceed_it() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), placed("B", "ANN", 41), placed("C", "ANN", 40)])
        .when(&reserved("A"))
        .exposes(60)
        .when(&reserved("B"))
        .publishes(&declined("B", LimitExceeded), &reserved("B"))
        .exposes(60)
        .when(&reserved("C"))
        .says_nothing()
        .exposes(100);
}

#[test]
fn a_card_that_is_changed_meanwhile_is_not_the_one_that_is_asked_again() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A")])
        .when(&account_with("ANN", 2, Some(card("tok_2", "2999-12")), 100))
        .stands("A", |state| matches!(state, State::Capturing { token } if token.as_str() == "tok_1"));
}

#[test]
fn a_payment_whose_account_is_not_known_awaits_it() {
    given(&[placed("A", "ANN", 60)])
        .when(&reserved("A"))
        .says_nothing()
        .stands("A", |state| *state == State::AwaitingAccount)
        .after(29)
        .looked_again("A")
        .says_nothing()
        .stands("A", |state| *state == State::AwaitingAccount)
        .when(&account("ANN", 1, 100))
        .looked_again("A")
        .says_nothing()
        .exposes(60)
        .awaits_capture("A");
}

#[test]
fn a_payment_whose_account_never_comes_is_declined_in_the_end() {
    given(&[placed("A", "ANN", 60), reserved("A")])
        .after(30)
        .looked_again("A")
        .publishes(&declined("A", NoAccount), &reserved("A"))
        .when(&account("ANN", 1, 100))
        .looked_again("A")
        .says_nothing()
        .exposes(0);
}

#[test]
fn a_payment_that_a_clock_ahead_has_made_due_awaits_its_account_from_now_on() {
    let mut given = given(&[placed("A", "ANN", 60), reserved("A")]);
    given.now -= Duration::hours(1);
    given
        .looked_again("A")
        .says_nothing()
        .after(30)
        .looked_again("A")
        .publishes(&declined("A", NoAccount), &reserved("A"));
}

#[test]
fn an_account_that_comes_too_late_but_is_there_is_used() {
    given(&[placed("A", "ANN", 60), reserved("A"), account("ANN", 1, 100)])
        .after(31)
        .looked_again("A")
        .says_nothing()
        .exposes(60);
}

#[test]
fn an_account_is_looked_for_at_once_where_it_can_be_asked_for() {
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
fn an_order_that_is_cancelled_before_it_is_due_leaves_nothing_to_pay() {
    let messages = [placed("A", "ANN", 60), reserved("A"), cancelled("A")];
    for order in [[0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        order
            .iter()
            .fold(given(&[account("ANN", 1, 100)]), |given, index| given.when(&messages[*index]).says_nothing())
            .stands("A", |state| *state == State::Cancelled)
            .exposes(0);
    }
    given(&[placed("A", "ANN", 60), reserved("A"), cancelled("A"), account("ANN", 1, 100)])
        .looked_again("A")
        .says_nothing()
        .stands("A", |state| *state == State::Cancelled);
}

#[test]
fn an_order_that_is_cancelled_before_the_provider_was_asked_frees_the_limit() {
    given(&[account("ANN", 1, 100), placed("A", "ANN", 60), reserved("A"), placed("B", "ANN", 60)])
        .when(&cancelled("A"))
        .says_nothing()
        .stands("A", |state| *state == State::Cancelled)
        .exposes(0)
        .when(&reserved("B"))
        .exposes(60)
        .awaits_capture("B")
        .answered("B", &taken("B"))
        .exposes(60);
}

#[test]
fn an_order_that_was_cancelled_first_tells_afterwards_who_would_have_paid() {
    let given = given(&[cancelled("A"), placed("A", "ANN", 60)]);
    assert_eq!(given.aggregates.payments[&order_id("A")].charge.as_ref().unwrap().amount.minor_units(), 60);
}
