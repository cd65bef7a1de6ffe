//! Money in integer minor units, and counts of units.

use serde::{Deserialize, Serialize};

pub use iso_currency::Currency;

/// The largest amount and the largest sum: 2⁵³ − 1, the largest integer every JSON implementation reads exactly
/// (RFC 8259, section 6).
pub const MAX_AMOUNT: i64 = 9_007_199_254_740_991;

/// The maximum number of units per line of an order, and per restock.
pub const MAX_QUANTITY: u32 = 1_000_000;

/// The number is not a valid amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number of minor units (cents) from 0 to {MAX_AMOUNT}")]
pub struct InvalidAmount;

/// The number is not a valid quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to {MAX_QUANTITY}")]
pub struct InvalidQuantity;

/// An amount of money in minor units; the currency is a separate field: 1000 with `EUR` is 10.00 €.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Amount(i64);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Parses an amount.
    ///
    /// # Errors
    ///
    /// [`InvalidAmount`] if the number is negative or larger than [`MAX_AMOUNT`].
    pub fn parse(minor_units: i64) -> Result<Self, InvalidAmount> {
        if (0..=MAX_AMOUNT).contains(&minor_units) { Ok(Self(minor_units)) } else { Err(InvalidAmount) }
    }

    /// Returns the minor units.
    #[must_use]
    pub fn minor_units(self) -> i64 {
        self.0
    }

    /// Adds two amounts; `None` if the sum is larger than [`MAX_AMOUNT`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::parse(sum).ok())
    }

    /// Multiplies by a quantity; `None` if the product is larger than [`MAX_AMOUNT`].
    #[must_use]
    pub fn checked_times(self, quantity: Quantity) -> Option<Self> {
        self.0.checked_mul(i64::from(quantity.get())).and_then(|product| Self::parse(product).ok())
    }
}

impl TryFrom<i64> for Amount {
    type Error = InvalidAmount;
    fn try_from(minor_units: i64) -> Result<Self, InvalidAmount> {
        Self::parse(minor_units)
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

/// A number of units, 1 to [`MAX_QUANTITY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u32")]
pub struct Quantity(u32);

impl Quantity {
    /// Parses a quantity.
    ///
    /// # Errors
    ///
    /// [`InvalidQuantity`] if the number is not 1 to [`MAX_QUANTITY`].
    pub fn parse(units: i64) -> Result<Self, InvalidQuantity> {
        match u32::try_from(units) {
            Ok(units) if (1..=MAX_QUANTITY).contains(&units) => Ok(Self(units)),
            _ => Err(InvalidQuantity),
        }
    }

    /// Returns the number of units.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Quantity {
    type Error = InvalidQuantity;
    fn try_from(units: i64) -> Result<Self, InvalidQuantity> {
        Self::parse(units)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}
