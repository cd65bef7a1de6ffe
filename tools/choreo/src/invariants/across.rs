//! Invariants across several services.

use std::collections::BTreeMap;

use choreography_ops::checks::{self, Check, Findings, MAX_NAMED, Observed, Violation, Waiting};
use contracts::query::{
    CustomerTotal, ExposureReconciliation, Open, OpenPayment, OrderStatus, PaymentReconciliation, PaymentStatus,
};
use contracts::topology::{INVENTORY_SERVICE, ORDER_SERVICE, PAYMENT_SERVICE};

use super::money::issues;
use super::{Totals, stalled};

/// The reason for the wait of an order whose messages are under way.
const MESSAGES: &str = "messages that are under way";

/// The exposures match the payments, and the captured amounts match the confirmed orders.
pub(super) fn money(observed: &Observed, totals: &Totals) -> (Check, Findings) {
    let mut findings = Findings::default();
    let orders = findings.read(&totals.orders);
    let payments = findings.read(&totals.payments);
    let mut examined = 0;
    let mut detail = String::new();
    if let Some(payments) = payments {
        examined = payments.accounts;
        detail = format!("{examined} accounts: captured amounts match the confirmed orders");
        findings.violations = payments.wrong.iter().map(exposure).collect();
        findings.unnamed = payments.wrong_total.saturating_sub(payments.wrong.len() as u64);
        issues(payments, &mut findings);
    }
    if let (Some(orders), Some(payments)) = (orders, payments) {
        if orders.more || payments.more {
            detail = format!("more than {examined} accounts: exposures match; too many to compare with the orders");
        } else {
            compare(&orders.confirmed, &payments.captured, observed.quiet, &mut findings);
        }
    }
    (Check::new("money-conserved", "Money is consistent, per account", examined, detail), findings)
}

fn exposure(wrong: &ExposureReconciliation) -> Violation {
    let ExposureReconciliation { customer_id, currency, exposure, counted } = wrong;
    let explanation =
        format!("the exposure is {exposure} {currency} (minor units), but the payments total {counted}");
    Violation::of(customer_id, explanation).identified(format!("{customer_id}/{currency}"))
}

/// Orders are queried before payments, and a confirmed order is captured before and stays so: fewer captures are
/// always a violation. More are captured for orders that are not terminal yet.
fn compare(confirmed: &[CustomerTotal], captured: &[CustomerTotal], quiet: bool, findings: &mut Findings) {
    let mut totals: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for total in confirmed {
        totals.entry((total.customer_id.as_str(), total.currency.code())).or_default().0 = total.amount;
    }
    for total in captured {
        totals.entry((total.customer_id.as_str(), total.currency.code())).or_default().1 = total.amount;
    }
    for ((customer, currency), (confirmed, captured)) in totals {
        let explanation =
            format!("confirmed orders total {confirmed} {currency} (minor units), but {captured} are captured");
        let wrong = Violation::of(customer, explanation).identified(format!("{customer}/{currency}/captured"));
        if confirmed > captured {
            findings.violations.push(wrong);
        } else if confirmed < captured && quiet {
            findings.suspected.push(wrong);
        }
    }
}

/// Every order is terminal, or waits for something.
pub(super) fn orders(observed: &Observed, totals: &Totals) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut examined, mut waiting, mut counts) = (0, Vec::new(), Vec::new());
    if let Some(orders) = findings.read(&totals.orders) {
        for open in &orders.open {
            examined += open.count;
            if open.count > 0 {
                counts.push(format!("{} {}", open.count, open.status.as_str()));
            }
            for order in &open.oldest {
                wait(observed.quiet, totals, open.status, order, &mut findings, &mut waiting);
                let limit = stalled::limit(open.status, orders.stock_deadline_seconds);
                if let Some(stalled) = stalled::order(observed, totals, open.status, order, limit) {
                    // Reported once, as the violation that is certain.
                    findings.suspected.retain(|suspect| suspect.key != stalled.key);
                    findings.violations.push(stalled);
                }
            }
        }
    }
    let waiting_total = examined;
    waiting.sort_by(|a: &Waiting, b: &Waiting| a.since.cmp(&b.since));
    waiting.truncate(MAX_NAMED);
    let detail = if examined == 0 {
        "every order is confirmed or cancelled".to_owned()
    } else {
        format!("{examined} orders are open: {}", counts.join(", "))
    };
    let check = Check::new("orders-end", "Every order ends", examined, detail);
    (Check { waiting, waiting_total, items: "orders", ..check }, findings)
}

/// Adds what an order waits for, or a mismatch if that is nothing.
fn wait(
    quiet: bool,
    totals: &Totals,
    status: OrderStatus,
    order: &Open,
    findings: &mut Findings,
    waiting: &mut Vec<Waiting>,
) {
    let mut push = |service: &str, what: String, since: &str| {
        let (key, service) = (order.order_id.to_string(), service.to_owned());
        waiting.push(Waiting { key, service, what, since: since.to_owned() });
    };
    let unavailable = |service: &str, why: &String, findings: &mut Findings| {
        findings.unavailable.push(why.clone());
        format!("{service}, which is unavailable")
    };
    match status {
        OrderStatus::AwaitingStock => {
            push(INVENTORY_SERVICE, "stock: a restock, or an order ahead of it".to_owned(), &order.since);
        }
        OrderStatus::Reserved => match &totals.payments {
            Err(why) => push(PAYMENT_SERVICE, unavailable(PAYMENT_SERVICE, why, findings), &order.since),
            Ok(payments) => match under_way(payments, order) {
                Some((what, since)) => push(PAYMENT_SERVICE, what, since),
                None if !quiet => push(PAYMENT_SERVICE, MESSAGES.to_owned(), &order.since),
                None => {
                    push(PAYMENT_SERVICE, "its payment".to_owned(), &order.since);
                    findings.suspected.push(stuck(order, "its stock is reserved, but no payment is in progress"));
                }
            },
        },
        OrderStatus::Placed => {
            let what = match &totals.stock {
                Err(why) => unavailable(INVENTORY_SERVICE, why, findings),
                Ok(_) if !quiet => MESSAGES.to_owned(),
                Ok(_) => {
                    findings.suspected.push(stuck(order, "it is placed, but no stock reservation is in progress"));
                    "its stock to be reserved".to_owned()
                }
            };
            push(INVENTORY_SERVICE, what, &order.since);
        }
        OrderStatus::Confirmed | OrderStatus::Cancelled => {
            findings.violations.push(stuck(order, &format!("{ORDER_SERVICE} counts it among the open orders")));
        }
    }
}

/// Returns what the payment of an order waits for. Only the oldest payments are listed: if there are more, any of
/// them may be the one.
fn under_way<'a>(payments: &'a PaymentReconciliation, order: &'a Open) -> Option<(String, &'a str)> {
    let own = payments.oldest.iter().find(|payment| payment.order_id == order.order_id);
    match own {
        Some(OpenPayment { status: PaymentStatus::AwaitingAccount, since, .. }) => {
            Some(("the account of its customer".to_owned(), since))
        }
        Some(OpenPayment { since, .. }) => Some(("the payment provider".to_owned(), since)),
        None if payments.unfinished > payments.oldest.len() as u64 => {
            Some((format!("its payment, with {} others", payments.unfinished), &order.since))
        }
        None => None,
    }
}

fn stuck(order: &Open, why: &str) -> Violation {
    let key = order.order_id.as_str();
    Violation::of(key, format!("{why}, since {}", order.since)).identified(format!("{key}/stuck"))
}

/// Per order, each event is emitted once, and its customer is notified of it once.
pub(super) fn once(observed: &Observed, totals: &Totals) -> (Check, Findings) {
    let (mut check, mut findings) = checks::once(observed);
    if let Some(notifications) = findings.read(&totals.notifications) {
        check.examined += notifications.examined;
        findings.unnamed += notifications.repeated_total.saturating_sub(notifications.repeated.len() as u64);
        for again in &notifications.repeated {
            let explanation = format!("its customer was notified {} times of {}", again.count, again.message_type);
            let id = format!("{}/{}", again.order_id, again.message_type);
            findings.violations.push(Violation::of(&again.order_id, explanation).identified(id));
        }
    }
    check.detail = format!("the last {} messages and notifications: no duplicates", check.examined);
    (check, findings)
}
