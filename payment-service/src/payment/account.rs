//! The copy of an account: its card and its limit.

use contracts::CustomerId;
use contracts::account::{AccountDetails, Card, CardToken, CreditLimit};
use contracts::declaration::PaymentMessage;
use contracts::payment::DeclineReason;
use time::OffsetDateTime;

use super::Charge;

/// A copy of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The version of the account in account-service. An older version never overwrites a copy.
    pub version: i64,
    /// The card and the limit; `None` if the account was deleted.
    pub terms: Option<Terms>,
}

/// The card and the credit limit of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The card; `None` if the account has none.
    pub card: Option<Card>,
    /// The largest sum of payments that are not refunded.
    pub limit: CreditLimit,
}

impl Account {
    /// Returns the account that a message concerns, if any.
    #[must_use]
    pub fn of(message: &PaymentMessage) -> Option<(CustomerId, Self)> {
        match message {
            PaymentMessage::AccountChanged(changed) => {
                Some((changed.customer_id.clone(), Self::known(changed.version, &changed.details)))
            }
            PaymentMessage::AccountDeleted(deleted) => {
                Some((deleted.customer_id.clone(), Self::deleted(deleted.version)))
            }
            PaymentMessage::Placed(_) | PaymentMessage::Reserved(_) | PaymentMessage::Cancelled(_) => None,
        }
    }

    /// Copies an account.
    #[must_use]
    pub fn known(version: i64, details: &AccountDetails) -> Self {
        let terms = Terms { card: details.card.clone(), limit: details.credit_limit.clone() };
        Self { version, terms: Some(terms) }
    }

    /// Copies the deletion of an account.
    #[must_use]
    pub fn deleted(version: i64) -> Self {
        Self { version, terms: None }
    }

    /// Returns the card for a charge, given an `exposure` in minor units of its currency.
    ///
    /// # Errors
    ///
    /// The reason to decline.
    pub(super) fn authorise(
        &self,
        charge: &Charge,
        exposure: i64,
        now: OffsetDateTime,
    ) -> Result<CardToken, DeclineReason> {
        let terms = self.terms.as_ref().ok_or(DeclineReason::NoAccount)?;
        let card = terms.card.as_ref().ok_or(DeclineReason::NoCard)?;
        let today = now.to_offset(time::UtcOffset::UTC);
        let year = u16::try_from(today.year()).unwrap_or(u16::MAX);
        if !card.expiry.is_good_in(year, today.month().into()) {
            return Err(DeclineReason::CardExpired);
        }
        if terms.limit.currency != charge.currency {
            return Err(DeclineReason::CurrencyMismatch);
        }
        match exposure.checked_add(charge.amount.minor_units()) {
            Some(sum) if sum <= terms.limit.amount.minor_units() => Ok(card.token.clone()),
            _ => Err(DeclineReason::LimitExceeded),
        }
    }
}
