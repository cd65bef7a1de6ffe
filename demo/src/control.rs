//! Breaking and mending a running demo from a second terminal.
//!
//! The running demo listens on a port of this machine that it writes, with a token, into its data folder. Only who
//! can read that file can break anything; a page in a browser cannot, having no token.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Json, Path as UrlPath};
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route, Server, get, handler, http::StatusCode, post};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::member::Member;
use crate::store::MemberStatus;

/// What can be done to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL: it gets no chance to finish anything.
    Kill,
    /// SIGTERM: it finishes what it has begun.
    Stop,
    /// Starts it again.
    Start,
}

/// A wish, with where the outcome goes.
pub(crate) enum Request {
    Act(Action, Member, oneshot::Sender<Result<String, String>>),
    Status(oneshot::Sender<Vec<MemberStatus>>),
}

/// Where a running demo listens, as it stands in its data folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    process: u32,
    port: u16,
    token: String,
}

fn address_file(data: &Path) -> PathBuf {
    data.join("demo.json")
}

/// Listens for wishes until the program ends; they arrive at `requests`.
pub(crate) async fn serve(data: &Path, requests: mpsc::Sender<Request>) -> anyhow::Result<()> {
    let acceptor =
        TcpListener::bind("127.0.0.1:0").into_acceptor().await.context("listening for `demo` commands")?;
    let port = acceptor
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().map(std::net::SocketAddr::port))
        .context("listening for `demo` commands: the address is not known")?;
    let token = uuid::Uuid::new_v4().to_string();
    let address = Address { process: std::process::id(), port, token: token.clone() };
    write_private(&address_file(data), &serde_json::to_vec_pretty(&address)?)?;
    let routes = Route::new().at("/members", get(status)).at("/members/:member/:action", post(act));
    let routes = routes.data(requests).around(move |endpoint, request| {
        let allowed = request.header("authorization") == Some(&format!("Bearer {token}"));
        async move {
            if allowed {
                endpoint.call(request).await.map(IntoResponse::into_response)
            } else {
                Ok(StatusCode::UNAUTHORIZED.into_response())
            }
        }
    });
    tokio::spawn(async move {
        if let Err(error) = Server::new_with_acceptor(acceptor).run(routes).await {
            tracing::error!(%error, "`demo` commands are not heard any more");
        }
    });
    Ok(())
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", path.display()))
}

#[handler]
async fn status(Data(requests): Data<&mpsc::Sender<Request>>) -> Response {
    let (answer, answered) = oneshot::channel();
    if requests.send(Request::Status(answer)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    answered.await.map_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response(), |all| Json(all).into_response())
}

#[handler]
async fn act(
    UrlPath((member, action)): UrlPath<(String, String)>,
    Data(requests): Data<&mpsc::Sender<Request>>,
) -> Response {
    let Ok(action) = serde_json::from_value(action.into()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let member: Member = match member.parse() {
        Ok(member) => member,
        Err(error) => return error.with_status(StatusCode::NOT_FOUND).into_response(),
    };
    let (answer, answered) = oneshot::channel();
    if requests.send(Request::Act(action, member, answer)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match answered.await {
        Ok(Ok(done)) => done.into_response(),
        Ok(Err(error)) => error.with_status(StatusCode::CONFLICT).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

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
        Ok(Self { address, http: reqwest::Client::new() })
    }

    /// Does something to a member and returns what was done, in a sentence.
    ///
    /// # Errors
    ///
    /// Where no demo answers, or it refuses.
    pub async fn act(&self, action: Action, member: Member) -> anyhow::Result<String> {
        let action = serde_json::to_value(action)?;
        let path = format!("members/{member}/{}", action.as_str().unwrap_or_default());
        let answer = self.send(self.http.post(self.url(&path))).await?;
        let succeeded = answer.status().is_success();
        let text = answer.text().await?;
        if succeeded { Ok(text) } else { bail!(text) }
    }

    /// Returns where every member stands.
    ///
    /// # Errors
    ///
    /// Where no demo answers.
    pub async fn status(&self) -> anyhow::Result<Vec<MemberStatus>> {
        Ok(self.send(self.http.get(self.url("members"))).await?.json().await?)
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
