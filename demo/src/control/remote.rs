//! The client of the control API for a second terminal; it finds a running demo by its data folder.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use choreography::http;
use serde_json::Value;

use super::{Address, ControlRequest, address_file};
use crate::shop::ComponentStatus;

/// How long the demo may take: a started process becomes ready within a minute, a stopped one ends sooner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A client of a running demo's control API.
#[derive(Debug)]
pub struct Remote {
    address: Address,
    http: reqwest::Client,
}

impl Remote {
    /// Finds the demo of a data folder.
    ///
    /// # Errors
    ///
    /// If no demo has run with this folder.
    pub fn find(data: &Path) -> anyhow::Result<Self> {
        let file = address_file(data);
        let Ok(content) = std::fs::read(&file) else {
            bail!(
                "no demo runs with the data folder {}; start one with `cargo run`, or set its folder with --data",
                data.display()
            );
        };
        let address = serde_json::from_slice(&content).with_context(|| format!("reading {}", file.display()))?;
        Ok(Self { address, http: http::client(ANSWER_TIMEOUT)? })
    }

    /// Sends a control request, and returns the result as a sentence.
    ///
    /// # Errors
    ///
    /// If no demo responds, or it rejects the request.
    pub async fn ask(&self, control_request: ControlRequest) -> anyhow::Result<String> {
        let post = |path: &str| self.http.post(self.url(path));
        let request = match control_request {
            ControlRequest::Act(action, component) => {
                let action = serde_json::to_value(action)?;
                post(&format!("components/{component}/{}", action.as_str().unwrap_or_default()))
            }
            ControlRequest::Redeliver(control_request) => post("faults/redeliver").json(&control_request),
            ControlRequest::DelayAcks(control_request) => post("faults/delay-acks").json(&control_request),
            ControlRequest::Disconnect(control_request) => post("faults/disconnect").json(&control_request),
        };
        let response = self.send(request).await?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        match (body["done"].as_str(), body["error"].as_str()) {
            (Some(done), _) => Ok(done.to_owned()),
            (None, Some(error)) => bail!("{error}"),
            (None, None) => bail!("the demo (process {}) responds with {status}", self.address.process),
        }
    }

    /// Returns the status of every component.
    ///
    /// # Errors
    ///
    /// If no demo responds.
    pub async fn status(&self) -> anyhow::Result<Vec<ComponentStatus>> {
        let response = self.send(self.http.get(self.url("components"))).await?;
        Ok(response.error_for_status()?.json().await?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.address.port)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        request.bearer_auth(&self.address.token).send().await.with_context(|| {
            format!("the demo (process {}) does not respond; check whether it still runs", self.address.process)
        })
    }
}
