//! The health check of a container: the image has no `curl`.

use std::time::Duration;

use anyhow::{Context, bail};
use choreography::http;
use choreography::setting::redacted;

/// How long the response may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Requests a URL once.
///
/// # Errors
///
/// If no response comes within 3 s, or it is not a success; the error shows status and body, which for `/readiness`
/// is the reason.
pub async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let client = http::client(TIMEOUT)?;
    let response = client
        .get(url)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("requesting {}", redacted(url)))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{status}: {}", response.text().await.unwrap_or_default());
    }
    Ok(())
}
