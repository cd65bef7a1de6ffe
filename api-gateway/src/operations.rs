//! For operators: dead letters over HTTP, behind a switch.
//!
//! Not part of the API that `/openapi.json` describes, and not there at all unless it is switched on: it asks for no
//! password of its own, so whoever reaches the gateway could use it. It speaks to the broker as the user `operator`,
//! on a connection of its own; the gateway's own user may do nothing of this.

use std::time::Duration;

use choreo::Operator;
use choreo::dead_letters::redrive::{Ramp, Redriven, redrive};
use choreo::dead_letters::{self, Filter, discard};
use messaging::connection::NatsOptions;
use poem::endpoint::BoxEndpoint;
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, Request, Route, get, handler, post};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::commands::unavailable;
use crate::problem::{Code, FieldError, Problem};

/// The most letters that one request redrives: 1 + 2 + 4 + … + 64, which takes seven seconds.
const MOST: usize = 127;
/// The most letters that a list shows.
const LONGEST_LIST: usize = 1000;

/// Whether operators are served, and as whom.
#[derive(Clone, Default, clap::Args)]
pub struct OperationsOptions {
    /// Serves `/operations` to whoever can reach the gateway: dead letters are shown, sent back, and discarded.
    #[arg(long = "operations", env = "OPERATIONS", action = clap::ArgAction::Set, default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    pub enabled: bool,
    /// The password of the user `operator` of nats.conf.
    #[arg(long, env = "OPERATOR_PASSWORD", hide_env_values = true)]
    pub operator_password: Option<String>,
}

impl std::fmt::Debug for OperationsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperationsOptions").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// Connects as the operator and makes the routes below `/operations`; none where they are switched off.
pub(crate) async fn routes(
    options: &OperationsOptions,
    nats: &NatsOptions,
) -> anyhow::Result<Option<BoxEndpoint<'static>>> {
    if !options.enabled {
        return Ok(None);
    }
    let nats = NatsOptions {
        nats_url: nats.nats_url.clone(),
        nats_user: None,
        nats_password: options.operator_password.clone(),
    };
    let operator = Operator::connect_in_background(&nats).await?;
    tracing::warn!("dead letters are shown and changed at /operations, for whoever can reach this address");
    let routes = Route::new()
        .at("/dead-letters", get(list))
        .at("/dead-letters/redrive", post(send_back))
        .at("/dead-letters/:sequence", get(show))
        .at("/dead-letters/:sequence/discard", post(remove));
    Ok(Some(routes.data(operator).boxed()))
}

/// What a list may be asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParameters {
    service: Option<String>,
    r#type: Option<String>,
    reason: Option<String>,
    key: Option<String>,
    older_than: Option<String>,
    younger_than: Option<String>,
    limit: Option<usize>,
}

/// Which letters to send back.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedriveForm {
    sequences: Vec<u64>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    tolerate: usize,
}

/// Why a letter is removed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DiscardForm {
    because: String,
}

fn parameters<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    request.params().map_err(|error| Problem::with_detail(Code::InvalidParameter, error.to_string()))
}

fn duration(name: &str, text: Option<String>) -> Result<Option<Duration>, Problem> {
    let parsed = text.map(|text| humantime::parse_duration(&text)).transpose();
    parsed.map_err(|_| {
        let error = FieldError::parameter(name, "must be a duration such as 90s, 15m, 2h, or 3d");
        Problem::with_errors(Code::InvalidParameter, vec![error])
    })
}

fn failed(error: &anyhow::Error) -> Problem {
    unavailable(&format!("{error:#}"))
}

#[handler]
async fn list(Data(operator): Data<&Operator>, request: &Request) -> poem::Result<Json<Value>> {
    let asked: ListParameters = parameters(request)?;
    let filter = Filter {
        service: asked.service,
        message_type: asked.r#type,
        reason: asked.reason,
        key: asked.key,
        older_than: duration("olderThan", asked.older_than)?,
        younger_than: duration("youngerThan", asked.younger_than)?,
    };
    let limit = asked.limit.unwrap_or(100).min(LONGEST_LIST);
    let listing = dead_letters::list(operator, &filter, limit).await.map_err(|error| failed(&error))?;
    Ok(Json(json!(listing)))
}

#[handler]
async fn show(Data(operator): Data<&Operator>, Path(sequence): Path<u64>) -> poem::Result<Json<Value>> {
    let letter = dead_letters::show(operator, sequence).await.map_err(|error| failed(&error))?;
    Ok(Json(json!(letter.ok_or_else(|| Problem::new(Code::DeadLetterNotFound))?)))
}

#[handler]
async fn send_back(Data(operator): Data<&Operator>, Json(form): Json<RedriveForm>) -> poem::Result<Json<Value>> {
    if form.sequences.is_empty() || form.sequences.len() > MOST {
        let error = FieldError::pointer("/sequences", format!("must name 1 to {MOST} dead letters"));
        return Err(Problem::with_errors(Code::Validation, vec![error]).into());
    }
    let (letters, absent) = dead_letters::named(operator, &form.sequences).await.map_err(|error| failed(&error))?;
    let ramp = Ramp { force: form.force, tolerate: form.tolerate, ..Ramp::default() };
    let mut results: Vec<Redriven> = Vec::with_capacity(letters.len());
    let summary = redrive(operator, &letters, &ramp, |redriven| results.push(redriven.clone())).await;
    Ok(Json(json!({ "results": results, "absent": absent, "summary": summary })))
}

#[handler]
async fn remove(
    Data(operator): Data<&Operator>,
    Path(sequence): Path<u64>,
    Json(form): Json<DiscardForm>,
) -> poem::Result<Json<Value>> {
    if form.because.trim().is_empty() {
        let error = FieldError::pointer("/because", "must say why");
        return Err(Problem::with_errors(Code::Validation, vec![error]).into());
    }
    let discarded = discard::discard(operator, sequence, &form.because).await.map_err(|error| failed(&error))?;
    if !discarded.discarded {
        return Err(Problem::new(Code::DeadLetterNotFound).into());
    }
    Ok(Json(json!(discarded)))
}
