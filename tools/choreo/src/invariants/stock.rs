//! The stock of one service is consistent.

use choreography_ops::checks::{Check, Findings, Violation};
use contracts::query::ProductReconciliation;

use super::Totals;

/// Per product, the received units are available or reserved.
pub(super) fn conserved(totals: &Totals) -> (Check, Findings) {
    let mut findings = Findings::default();
    let mut examined = 0;
    if let Some(stock) = findings.read(&totals.stock) {
        examined = stock.products;
        findings.violations = stock.wrong.iter().map(product).collect();
        findings.unnamed = stock.wrong_total.saturating_sub(stock.wrong.len() as u64);
    }
    let detail = format!("{examined} products: received units are available or reserved");
    (Check::new("stock-conserved", "Stock is consistent, per product", examined, detail), findings)
}

fn product(wrong: &ProductReconciliation) -> Violation {
    let ProductReconciliation {
        product_id,
        received,
        available,
        reserved,
        reservation_lines,
        backordered,
        backorder_lines,
    } = wrong;
    let mut mismatches = Vec::new();
    if available + reserved != *received {
        mismatches.push(format!(
            "{received} units were received, but {available} are available and {reserved} are reserved"
        ));
    }
    if reserved != reservation_lines {
        mismatches.push(format!(
            "{reserved} units are reserved, but the reservations of the orders total {reservation_lines}"
        ));
    }
    if backordered != backorder_lines {
        mismatches
            .push(format!("{backordered} units are backordered, but the backorder lines total {backorder_lines}"));
    }
    Violation::of(product_id, mismatches.join("; "))
}
