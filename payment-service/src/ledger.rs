//! The comparison of the provider's ledger with the payments: pure.

use std::collections::{BTreeMap, BTreeSet};

use contracts::query::{LedgerDifference, LedgerDifferenceKind as Kind};

use crate::entity::payment::{Model, Status};
use crate::provider::LedgerCharge;

/// The result of a comparison so far.
#[derive(Debug, Default)]
pub struct Compared {
    /// The number of this shop's charges in the ledger.
    pub charges: u64,
    /// The differences found.
    pub differences: BTreeSet<LedgerDifference>,
}

/// Compares the payments of some orders with all the charges of the same orders.
///
/// A charge belongs to this shop if its key is that of a payment, or contains the shop's name. A payment that is
/// capturing or voiding may have a charge, but need not.
pub fn compare(payments: &[Model], charges: &[LedgerCharge], shop_id: &str, compared: &mut Compared) {
    let mut own: BTreeMap<&str, Vec<&LedgerCharge>> = BTreeMap::new();
    let payments: BTreeMap<&str, &Model> = payments.iter().map(|row| (row.order_id.as_str(), row)).collect();
    for charge in charges {
        let known = payments.get(charge.order_id.as_str()).is_some_and(|row| row.key() == charge.key);
        if known || charge.key.split(':').nth(1) == Some(shop_id) {
            own.entry(&charge.order_id).or_default().push(charge);
            compared.charges += 1;
        }
    }
    let mut differ = |order_id: &str, kind: Kind, explanation: String| {
        let order_id = order_id.to_owned();
        compared.differences.insert(LedgerDifference { order_id, kind, explanation });
    };
    for (order_id, row) in &payments {
        let charges = own.remove(order_id).unwrap_or_default();
        let certain = matches!(row.status, Status::Captured | Status::Refunding | Status::Refunded);
        match charges.as_slice() {
            [] if certain => {
                let reference = row.reference.as_deref().unwrap_or("?");
                differ(
                    order_id,
                    Kind::Missing,
                    format!("the payment of {} is {reference}, but the ledger has no charge for it", money(row)),
                );
            }
            [] => {}
            [charge] => {
                if let Some((kind, explanation)) = difference(row, charge, certain) {
                    differ(order_id, kind, explanation);
                }
            }
            charges => {
                let references: Vec<&str> = charges.iter().map(|charge| charge.reference.as_str()).collect();
                differ(
                    order_id,
                    Kind::Doubled,
                    format!("the ledger has {} charges for one payment: {}", charges.len(), references.join(", ")),
                );
            }
        }
    }
    for (order_id, charges) in own {
        for charge in charges.into_iter().filter(|charge| !charge.refunded) {
            let LedgerCharge { reference, amount, currency, .. } = charge;
            differ(
                order_id,
                Kind::Extra,
                format!(
                    "the ledger has {amount} {currency} (minor units) as {reference}, but no payment is captured"
                ),
            );
        }
    }
}

fn difference(row: &Model, charge: &LedgerCharge, certain: bool) -> Option<(Kind, String)> {
    let LedgerCharge { reference, amount, currency, refunded, .. } = charge;
    let same = row.amount == Some(*amount)
        && row.currency.as_ref() == Some(currency)
        && row.reference.as_ref().is_none_or(|own| own == reference)
        && row.key() == charge.key;
    if !same {
        let own = row.reference.as_deref().unwrap_or("?");
        return Some((
            Kind::Content,
            format!(
                "the ledger has {amount} {currency} (minor units) as {reference} under the key {}, but the payment is \
                {} as {own}",
                charge.key,
                money(row)
            ),
        ));
    }
    match (row.status, refunded) {
        _ if !certain => None,
        (Status::Captured, true) => {
            Some((Kind::Refund, format!("the ledger has refunded {reference}, but the payment is captured")))
        }
        (Status::Refunded, false) => {
            Some((Kind::Refund, format!("the payment is refunded, but the ledger has not refunded {reference}")))
        }
        _ => None,
    }
}

fn money(row: &Model) -> String {
    let (amount, currency) = (row.amount.unwrap_or_default(), row.currency.as_deref().unwrap_or("?"));
    format!("{amount} {currency} (minor units)")
}
