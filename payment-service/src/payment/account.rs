//! What is known of an account here: the card and the limit.

use contracts::account::{AccountDetails, Card, CardToken, CreditLimit};
use contracts::payment::DeclineReason;
use time::OffsetDateTime;

use super::Charge;

/// A copy of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The version the account has where it is kept. A copy never gives way to an older one.
    pub version: i64,
    /// What it says; none where it was deleted.
    pub terms: Option<Terms>,
}

/// How a customer pays, and how much at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// None until there is one.
    pub card: Option<Card>,
    /// How much may be paid for and not refunded.
    pub limit: CreditLimit,
}

impl Account {
    /// Copies an account.
    #[must_use]
    pub fn known(version: i64, details: &AccountDetails) -> Self {
        let terms = Terms { card: details.card.clone(), limit: details.credit_limit.clone() };
        Self { version, terms: Some(terms) }
    }

    /// Copies that an account is no more.
    #[must_use]
    pub fn deleted(version: i64) -> Self {
        Self { version, terms: None }
    }

    /// Says with which card a charge may be taken, where `exposure` minor units of its currency are paid for already.
    ///
    /// # Errors
    ///
    /// Why not.
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
