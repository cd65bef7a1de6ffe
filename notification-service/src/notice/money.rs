//! Amounts as text.

use contracts::{Amount, Currency};

/// Returns an amount with as many decimal places as the currency has minor units: `10.00 EUR`, `1000 JPY`, `1.000 KWD`.
#[must_use]
pub fn format_amount(amount: Amount, currency: Currency) -> String {
    let places = usize::from(currency.exponent().unwrap_or(0));
    // At least one digit before the point.
    let mut digits = format!("{:0width$}", amount.minor_units(), width = places + 1);
    if places > 0 {
        digits.insert(digits.len() - places, '.');
    }
    format!("{digits} {}", currency.code())
}
