//! The manual actions: what a person does about the provider's charges before all invariants can hold.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use demo::shop::settings;
use demo::{Component, ShopConfig};
use serde_json::json;

use crate::collect::ledger;
use crate::recorded::OTHER_CLIENT;

/// The time limit for the provider and for the service's program.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Refunds the charges of the other client and dismisses the alarms of the payments whose keys it had.
///
/// # Errors
///
/// If the provider or the program of payment-service refuses.
pub async fn settle(config: &ShopConfig, alarms: &BTreeSet<String>) -> anyhow::Result<()> {
    let http = choreography::http::client(TIMEOUT)?;
    let url = format!("{}/refunds", config.http_url(Component::PaymentProvider));
    for charge in ledger(config).await?.iter().filter(|charge| charge["token"] == OTHER_CLIENT) {
        let reference = charge["reference"].as_str().context("reading the reference of a charge")?;
        let request = http.post(&url).header("Idempotency-Key", format!("{OTHER_CLIENT}/{reference}"));
        let sent = request.json(&json!({"reference": reference})).send().await;
        sent.and_then(reqwest::Response::error_for_status).context("refunding the other client's charge")?;
    }
    if alarms.is_empty() {
        return Ok(());
    }
    let settings = settings(config, Component::PaymentService, &(Arc::new(|_, _: &str| ()) as demo::OnLine));
    let mut dismiss = tokio::process::Command::new(settings.program);
    dismiss.args(settings.arguments).envs(settings.variables).arg("dismiss").args(alarms);
    let dismissed = dismiss.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(TIMEOUT, dismissed).await.context("dismissing alarms")??;
    if !output.status.success() {
        bail!("dismissing alarms: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
