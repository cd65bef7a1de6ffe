//! The second terminal: finds a running demo by its data folder.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use messaging::http;
use serde_json::Value;

use super::{Address, ControlRequest, address_file};
use crate::shop::ComponentStatus;

/// How long the demo may take: a process that is started becomes ready within a minute, one that is stopped in less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A running demo, seen from a second terminal.
#[derive(Debug)]
pub struct Remote {
    address: Address,
    http: reqwest::Client,
}

impl Remote {
    /// Finds the demo that runs on a data folder.
    ///
    /// # Errors
    ///
    /// Where none has ever run there.
    pub fn find(data: &Path) -> anyhow::Result<Self> {
        let file = address_file(data);
        let Ok(content) = std::fs::read(&file) else {
            bail!("no demo runs on {}; start one with `cargo run`, or name its folder with --data", data.display());
        };
        let address = serde_json::from_slice(&content).with_context(|| format!("reading {}", file.display()))?;
        Ok(Self { address, http: http::client(ANSWER_TIMEOUT)? })
    }

    /// Breaks or repairs something and returns what was done, in a sentence.
    ///
    /// # Errors
    ///
    /// Where no demo answers, or it refuses.
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
        let answer = self.send(request).await?;
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap_or_default();
        match (answer["done"].as_str(), answer["error"].as_str()) {
            (Some(done), _) => Ok(done.to_owned()),
            (None, Some(error)) => bail!("{error}"),
            (None, None) => bail!("the demo (process {}) answers {status}", self.address.process),
        }
    }

    /// Returns where every component stands.
    ///
    /// # Errors
    ///
    /// Where no demo answers.
    pub async fn status(&self) -> anyhow::Result<Vec<ComponentStatus>> {
        let answer = self.send(self.http.get(self.url("components"))).await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.address.port)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        request.bearer_auth(&self.address.token).send().await.with_context(|| {
            format!("the demo (process {}) does not answer; does it still run?", self.address.process)
        })
    }
}
