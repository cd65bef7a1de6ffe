//! The part of the people: what a person settles with the payment provider before everything can be right again.

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

/// How long the provider or the service's program may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Gives the money of the other client back and dismisses the alarms of the payments whose keys it had.
///
/// # Errors
///
/// If the provider refuses, or if the program of payment-service does.
pub async fn settle(config: &ShopConfig, alarms: &BTreeSet<String>) -> anyhow::Result<()> {
    let http = messaging::http::client(TIMEOUT)?;
    let url = format!("{}/refunds", config.http_url(Component::PaymentProvider));
    for charge in ledger(config).await?.iter().filter(|charge| charge["token"] == OTHER_CLIENT) {
        let reference = charge["reference"].as_str().context("reading the reference of a charge")?;
        let request = http.post(&url).header("Idempotency-Key", format!("{OTHER_CLIENT}/{reference}"));
        let sent = request.json(&json!({"reference": reference})).send().await;
        sent.and_then(reqwest::Response::error_for_status).context("giving the other client's money back")?;
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
