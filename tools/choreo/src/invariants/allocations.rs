//! The orders and the reservations of their stock match.

use std::collections::BTreeMap;

use choreography_ops::checks::{Check, Findings, Observed, Violation};
use contracts::inventory::StockLine;
use contracts::query::{OrderAllocations, OrderReconciliation, OrderStatus, StockAllocations};
use contracts::topology::{INVENTORY_SERVICE, ORDER_SERVICE};
use contracts::{OrderId, ProductId};

use super::Totals;

/// Every confirmed order has its units reserved, and no cancelled order has any.
pub(super) fn reservations(observed: &Observed, totals: &Totals) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut examined, mut detail) = (0, String::new());
    let orders = findings.read(&totals.orders);
    let stock = findings.read(&totals.stock);
    if let (Some(orders), Some(stock)) = (orders, stock) {
        match (&orders.allocations, &stock.allocations) {
            (Some(ordered), Some(reservation_lines)) => {
                examined = ordered.confirmed + reserved(orders);
                let newest = ordered.newest_confirmed.len() + ordered.newest_cancelled.len();
                detail =
                    format!("{examined} orders have reservations; the newest {newest} were compared individually");
                compare(orders, ordered, reservation_lines, observed.quiet, &mut findings);
            }
            (ordered, _) => {
                let service = if ordered.is_none() { ORDER_SERVICE } else { INVENTORY_SERVICE };
                findings.unavailable.push(format!("{service} reports no allocations: it is of an earlier release"));
            }
        }
    }
    (Check::new("orders-reserved", "Reservations match the orders", examined, detail), findings)
}

/// Returns the number of orders that are reserved and not terminal.
fn reserved(orders: &OrderReconciliation) -> u64 {
    orders.open.iter().filter(|open| open.status == OrderStatus::Reserved).map(|open| open.count).sum()
}

/// Orders are queried before stock, and a confirmed order is reserved before and stays so: fewer units are always a
/// violation. Units of cancelled orders are a violation if they persist while no message is under way.
fn compare(
    orders: &OrderReconciliation,
    ordered: &OrderAllocations,
    reservation_lines: &StockAllocations,
    quiet: bool,
    findings: &mut Findings,
) {
    let compared: BTreeMap<&OrderId, &[StockLine]> = reservation_lines
        .compared
        .iter()
        .map(|allocation| (&allocation.order_id, allocation.lines.as_slice()))
        .collect();
    let mut unreserved = 0;
    for confirmed in &ordered.newest_confirmed {
        let explanation = match compared.get(&confirmed.order_id) {
            Some(lines) if units(lines) == units(&confirmed.lines) => continue,
            Some(lines) => format!(
                "it is confirmed with {}, but {INVENTORY_SERVICE} reserves {}",
                text(&confirmed.lines),
                text(lines)
            ),
            None => {
                unreserved += 1;
                format!(
                    "it is confirmed with {}, but {INVENTORY_SERVICE} reserves nothing for it",
                    text(&confirmed.lines)
                )
            }
        };
        findings.violations.push(Violation::of(confirmed.order_id.as_str(), explanation));
    }
    let unreleased: Vec<Violation> = ordered
        .newest_cancelled
        .iter()
        .filter_map(|order_id| Some((order_id, compared.get(order_id)?)))
        .map(|(order_id, lines)| {
            let explanation = format!("it is cancelled, but {INVENTORY_SERVICE} reserves {}", text(lines));
            Violation::of(order_id.as_str(), explanation)
        })
        .collect();
    // Orders that are listed explain a part of the difference; the rest is a violation of its own.
    let min = ordered.confirmed.saturating_sub(unreserved);
    let expected = min + reserved(orders) + unreleased.len() as u64;
    let unnamed = |count: &str| {
        let explanation =
            format!("other orders: {count} reservations, but there are {}", reservation_lines.reserved);
        Violation::of(INVENTORY_SERVICE, explanation)
    };
    if reservation_lines.reserved < min {
        findings.violations.push(unnamed(&format!("at least {min} must have")));
    } else if reservation_lines.reserved != expected && quiet {
        findings.suspected.push(unnamed(&format!("{expected} must have")));
    }
    if quiet {
        findings.suspected.extend(unreleased);
    }
}

/// Returns the units per product.
fn units(lines: &[StockLine]) -> BTreeMap<&ProductId, u64> {
    let mut units = BTreeMap::new();
    for line in lines {
        *units.entry(&line.product_id).or_insert(0) += line.quantity;
    }
    units
}

/// Returns the units as text.
fn text(lines: &[StockLine]) -> String {
    let units = units(lines).into_iter().map(|(product_id, quantity)| format!("{quantity} {product_id}"));
    units.collect::<Vec<_>>().join(", ")
}
