//! The payments at the payment provider: its ledger, and unfinished or refused requests.

use choreography_ops::checks::{Check, Findings, Violation};
use contracts::query::{LedgerDifference, PaymentIssue, PaymentReconciliation, PaymentStatus};
use contracts::topology::PAYMENT_SERVICE;

use super::Totals;

/// Adds the payments that are overdue at the provider, or that need manual action.
pub(super) fn issues(payments: &PaymentReconciliation, findings: &mut Findings) {
    let named = payments.issues.iter().filter(|issue| is_unfinished(issue));
    findings.violations.extend(named.map(|issue| {
        let answer = issue.answer.as_deref().unwrap_or("no response yet");
        let next = if issue.alarm {
            format!("manual action is needed: payment-service retry {}", issue.order_id)
        } else {
            format!("{PAYMENT_SERVICE} repeats the request")
        };
        let explanation = format!(
            "its payment is {} since {}, after {} attempts: {answer}; {next}",
            word(issue.status),
            issue.since,
            issue.attempts
        );
        Violation::of(issue.order_id.as_str(), explanation).identified(format!("{}/payment", issue.order_id))
    }));
    let known = payments.issues.len() as u64;
    findings.unnamed += (payments.overdue + payments.alarms).saturating_sub(known);
}

/// Whether the provider has not moved the money yet; otherwise the alarm is about money that moved.
fn is_unfinished(issue: &PaymentIssue) -> bool {
    matches!(issue.status, PaymentStatus::Capturing | PaymentStatus::Refunding | PaymentStatus::RefundFailed)
}

fn word(status: PaymentStatus) -> String {
    serde_json::to_value(status).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The provider's ledger contains each charge of the payments once, and no other charge of this shop.
pub(super) fn ledger(totals: &Totals) -> (Check, Findings) {
    let mut findings = Findings::default();
    let (mut examined, mut detail) = (0, String::new());
    if let Some(payments) = findings.read(&totals.payments) {
        let alarms = payments.issues.iter().filter(|issue| issue.alarm && !is_unfinished(issue));
        findings.violations.extend(alarms.map(|issue| {
            let answer = issue.answer.as_deref().unwrap_or_default();
            let explanation =
                format!("{answer}; manual action is needed: payment-service dismiss {}", issue.order_id);
            Violation::of(issue.order_id.as_str(), explanation).identified(format!("{}/alarm", issue.order_id))
        }));
        match &payments.ledger {
            None => findings
                .unavailable
                .push(format!("{PAYMENT_SERVICE} reports no ledger: it is of an earlier release")),
            Some(ledger) => {
                examined = ledger.charges;
                let checked = ledger.checked_at.as_deref();
                detail = format!("{examined} charges in the ledger, as of {}", checked.unwrap_or("never"));
                if let Some(why) = &ledger.unavailable {
                    findings.unavailable.push(why.clone());
                } else if checked.is_none() {
                    findings.unavailable.push("the first comparison with the ledger has not ended".to_owned());
                }
                findings.violations.extend(ledger.differences.iter().map(difference));
                findings.unnamed += ledger.total.saturating_sub(ledger.differences.len() as u64);
            }
        }
    }
    (Check::new("provider-ledger", "The provider's ledger agrees with the payments", examined, detail), findings)
}

fn difference(difference: &LedgerDifference) -> Violation {
    let LedgerDifference { order_id, kind, explanation } = difference;
    Violation::of(order_id, explanation).identified(format!("{order_id}/{kind:?}"))
}
