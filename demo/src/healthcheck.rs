//! Whether a service is ready, for a container's health check: the image has no `curl`.

use std::time::Duration;

use anyhow::{Context, bail};
use messaging::http;
use messaging::setting::redacted;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks a URL once.
///
/// # Errors
///
/// Where there is no answer within 3 s, or it is no success; the error shows its status and body, which for
/// `/readiness` says what is wrong.
pub async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let client = http::client(TIMEOUT)?;
    let response = client
        .get(url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("asking {}", redacted(url)))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(())
}
