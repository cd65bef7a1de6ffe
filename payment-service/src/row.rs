//! Conversions between rows and domain types.

use choreography::envelope::{from_unix_millis, unix_millis};
use choreography::statement::invalid_row;
use contracts::account::{Card, CardToken, CreditLimit, Expiry, LastFour, Line};
use contracts::payment::DeclineReason;
use contracts::{Amount, Currency, CustomerId, OrderId};
use sea_orm::ActiveValue::Set;
use sea_orm::DbErr;
use serde_json::Value;

use crate::entity::payment::Status;
use crate::entity::{account_copy, payment};
use crate::payment::{Account, Charge, Payment, State, Terms};

/// Makes the row of a payment.
pub(crate) fn of_payment(order_id: &OrderId, payment: &Payment) -> payment::ActiveModel {
    let (status, mut reason, mut reference, mut token) = (status_of(&payment.state), None, None, None);
    match &payment.state {
        State::Capturing { token: card } => token = Some(card.as_str().to_owned()),
        State::Declined { reason: declined } => reason = reason_text(*declined),
        State::Captured { reference: known } | State::Refunding { reference: known } => {
            reference = Some(known.clone());
        }
        State::Refunded { reference: known } => reference = Some(known.clone()),
        State::Pending | State::AwaitingAccount | State::Voiding | State::Cancelled => {}
    }
    let charge = payment.charge.as_ref();
    let due = payment.next_attempt_at.map(unix_millis);
    payment::ActiveModel {
        order_id: Set(order_id.to_string()),
        status: Set(status),
        customer_id: Set(charge.map(|charge| charge.customer_id.to_string())),
        amount: Set(charge.map(|charge| charge.amount.minor_units())),
        currency: Set(charge.map(|charge| charge.currency.code().to_owned())),
        reason: Set(reason),
        reference: Set(reference),
        token: Set(token),
        reserved_id: Set(payment.reserved),
        cancelled_id: Set(payment.cancelled),
        correlation_id: Set(payment.correlation_id),
        trace_parent: Set(payment.trace_parent.clone()),
        auth: Set(payment.auth.as_ref().map(choreography::Auth::to_text)),
        due_since: Set(payment.due_since.map(unix_millis)),
        attempts: Set(payment.attempts),
        next_attempt_at: Set(due.filter(|_| payment.provider_key.is_none())),
        due_at: Set(due.filter(|_| payment.provider_key.is_some())),
        provider_key: Set(payment.provider_key.clone()),
        provider_answer: Set(payment.provider_answer.clone()),
        alarm_since: Set(payment.alarm_since.map(unix_millis)),
        // A row is written after an attempt, or to invalidate the attempt in progress.
        lease_owner: Set(None),
        version: Set(payment.version),
        updated_at: Set(unix_millis(payment.updated_at)),
    }
}

/// Reads the row of a payment.
///
/// # Errors
///
/// [`DbErr::Custom`] if the row is invalid.
pub(crate) fn to_payment(row: payment::Model) -> Result<(OrderId, Payment), DbErr> {
    let charge = charge_of(&row)?;
    let missing = |what: &str| invalid_row(format!("payment {} has no {what}", row.order_id));
    let reference = || row.reference.clone().ok_or_else(|| missing("reference"));
    let state = match row.status {
        Status::Pending => State::Pending,
        Status::AwaitingAccount => State::AwaitingAccount,
        Status::Capturing => {
            let token = row.token.clone().ok_or_else(|| missing("token"))?;
            State::Capturing { token: CardToken::parse(token).map_err(invalid_row)? }
        }
        Status::Voiding => State::Voiding,
        Status::Captured => State::Captured { reference: reference()? },
        Status::Declined => {
            State::Declined { reason: row.reason.as_deref().and_then(reason_of).ok_or_else(|| missing("reason"))? }
        }
        Status::Refunding => State::Refunding { reference: reference()? },
        Status::Refunded => State::Refunded { reference: reference()? },
        Status::Cancelled => State::Cancelled,
    };
    let due = row.due();
    let payment = Payment {
        state,
        charge,
        reserved: row.reserved_id,
        cancelled: row.cancelled_id,
        correlation_id: row.correlation_id,
        trace_parent: row.trace_parent,
        auth: row.auth.as_deref().and_then(choreography::Auth::from_text),
        due_since: row.due_since.map(from_unix_millis),
        attempts: row.attempts,
        next_attempt_at: due.map(from_unix_millis),
        provider_key: row.provider_key,
        provider_answer: row.provider_answer,
        alarm_since: row.alarm_since.map(from_unix_millis),
        version: row.version,
        updated_at: from_unix_millis(row.updated_at),
    };
    Ok((OrderId::parse(row.order_id).map_err(invalid_row)?, payment))
}

/// Reads the charge; `None` if the order's event has not arrived.
///
/// # Errors
///
/// [`DbErr::Custom`] if the row is invalid.
pub(crate) fn charge_of(row: &payment::Model) -> Result<Option<Charge>, DbErr> {
    let (Some(customer_id), Some(amount), Some(currency)) = (&row.customer_id, row.amount, &row.currency) else {
        return Ok(None);
    };
    Ok(Some(Charge {
        customer_id: CustomerId::parse(customer_id).map_err(invalid_row)?,
        amount: Amount::parse(amount).map_err(invalid_row)?,
        currency: currency_of(currency)?,
    }))
}

/// Makes the row of an account's copy.
pub(crate) fn of_account(customer_id: &CustomerId, account: &Account) -> account_copy::ActiveModel {
    let terms = account.terms.as_ref();
    let card = terms.and_then(|terms| terms.card.as_ref());
    account_copy::ActiveModel {
        customer_id: Set(customer_id.to_string()),
        version: Set(account.version),
        deleted: Set(terms.is_none()),
        token: Set(card.map(|card| card.token.as_str().to_owned())),
        brand: Set(card.map(|card| card.brand.as_str().to_owned())),
        last_four: Set(card.map(|card| card.last_four.clone().into())),
        expiry: Set(card.map(|card| card.expiry.to_string())),
        limit_amount: Set(terms.map(|terms| terms.limit.amount.minor_units())),
        limit_currency: Set(terms.map(|terms| terms.limit.currency.code().to_owned())),
    }
}

/// Reads the row of an account's copy.
///
/// # Errors
///
/// [`DbErr::Custom`] if the row is invalid.
pub(crate) fn to_account(row: account_copy::Model) -> Result<(CustomerId, Account), DbErr> {
    let card = match (row.token, row.brand, row.last_four, row.expiry) {
        (Some(token), Some(brand), Some(last_four), Some(expiry)) => Some(Card {
            token: CardToken::parse(token).map_err(invalid_row)?,
            brand: Line::parse(brand).map_err(invalid_row)?,
            last_four: LastFour::parse(last_four).map_err(invalid_row)?,
            expiry: Expiry::parse(expiry).map_err(invalid_row)?,
        }),
        _ => None,
    };
    let terms = match (row.limit_amount, row.limit_currency) {
        (Some(amount), Some(currency)) if !row.deleted => {
            let limit = CreditLimit {
                amount: Amount::parse(amount).map_err(invalid_row)?,
                currency: currency_of(&currency)?,
            };
            Some(Terms { card, limit })
        }
        _ => None,
    };
    let account = Account { version: row.version, terms };
    Ok((CustomerId::parse(row.customer_id).map_err(invalid_row)?, account))
}

/// Reads a currency.
///
/// # Errors
///
/// [`DbErr::Custom`] if the code is unknown.
pub(crate) fn currency_of(code: &str) -> Result<Currency, DbErr> {
    Currency::from_code(code).ok_or_else(|| invalid_row(format!("unknown currency {code:?}")))
}

/// Reads a decline reason.
pub(crate) fn reason_of(text: &str) -> Option<DeclineReason> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

/// The name of a decline reason, the same as in JSON.
fn reason_text(reason: DeclineReason) -> Option<String> {
    serde_json::to_value(reason).ok().and_then(|text| text.as_str().map(str::to_owned))
}

fn status_of(state: &State) -> Status {
    match state {
        State::Pending => Status::Pending,
        State::AwaitingAccount => Status::AwaitingAccount,
        State::Capturing { .. } => Status::Capturing,
        State::Voiding => Status::Voiding,
        State::Captured { .. } => Status::Captured,
        State::Declined { .. } => Status::Declined,
        State::Refunding { .. } => Status::Refunding,
        State::Refunded { .. } => Status::Refunded,
        State::Cancelled => Status::Cancelled,
    }
}
