//! Projections: lists and changes the read models of the services that declare some.

use std::time::Duration;

use choreography::projection::admin::{Action, Request, Status, subject};
use serde::Serialize;

use crate::Operator;
use crate::operator::AskError;

/// The time limit of a request. A rebuild drops and creates tables; the history is read afterwards.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A projection of a service.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Projected {
    /// The service.
    pub service: String,
    /// Its projection.
    #[serde(flatten)]
    pub status: Status,
}

/// The projections of all services that have some.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Projections {
    /// By service, name, and version.
    pub projections: Vec<Projected>,
    /// Why the projections of a service are unknown.
    pub unavailable: Vec<String>,
}

/// Lists all projections.
pub async fn list(operator: &Operator) -> Projections {
    let mut found = Projections::default();
    for service in operator.system().projecting.keys() {
        match request(operator, service, &Request::default()).await {
            Ok(projections) => found.projections.extend(projections),
            Err(error) => found.unavailable.push(error.to_string()),
        }
    }
    found
}

/// Changes a projection, given as `<name>-v<version>`; returns its status, or `None` if no service has it.
///
/// # Errors
///
/// [`AskError`]: the service refuses, or does not reply.
pub async fn change(operator: &Operator, projection: &str, action: Action) -> Result<Option<Projected>, AskError> {
    let all = list(operator).await;
    let is_it =
        |projected: &Projected| projection == format!("{}-v{}", projected.status.name, projected.status.version);
    let Some(found) = all.projections.into_iter().find(is_it) else {
        return match all.unavailable.is_empty() {
            true => Ok(None),
            false => Err(AskError::Silent(all.unavailable.join("; "))),
        };
    };
    let change = Request { action, name: found.status.name.clone(), version: found.status.version };
    let changed = request(operator, &found.service, &change).await?;
    Ok(Some(changed.into_iter().find(is_it).unwrap_or(found)))
}

async fn request(operator: &Operator, service: &str, request: &Request) -> Result<Vec<Projected>, AskError> {
    let statuses: Vec<Status> = operator.ask(service, subject(service), request, TIMEOUT).await?;
    Ok(statuses.into_iter().map(|status| Projected { service: service.to_owned(), status }).collect())
}

/// The commands for projections.
#[cfg(feature = "cli")]
pub(crate) mod cli {
    use anyhow::Context;
    use choreography::metrics::figure;
    use choreography::projection::admin::Action;
    use choreography::setting;
    use clap::Subcommand;

    use super::{Projected, change, list};
    use crate::Operator;
    use crate::print::{Printer, table};

    /// The commands for projections.
    #[derive(Debug, Clone, Subcommand)]
    pub enum Projections {
        /// Lists all projections with their positions. Ends with status 1 if a service is unavailable, or one has failed.
        List,
        /// Starts a projection after a pause or a failure; builds it after a drop.
        Start(Target),
        /// Pauses a projection.
        Pause(Target),
        /// Deletes the rows of a projection and reads the complete history again. Readers see it grow.
        Rebuild(Target),
        /// Makes a version the one that is read.
        Switch(Target),
        /// Deletes the tables of a version that is not the active one.
        Drop(Target),
    }

    /// A version of a projection.
    #[derive(Debug, Clone, clap::Args)]
    pub struct Target {
        /// The name with the version, such as `order-search-v1`.
        #[arg(value_parser = setting::text())]
        projection: String,
    }

    impl Projections {
        pub(crate) async fn execute(self, operator: &Operator, printer: Printer) -> anyhow::Result<bool> {
            let (action, Target { projection }) = match self {
                Self::List => return Ok(print_list(operator, printer).await),
                Self::Start(target) => (Action::Start, target),
                Self::Pause(target) => (Action::Pause, target),
                Self::Rebuild(target) => (Action::Rebuild, target),
                Self::Switch(target) => (Action::Switch, target),
                Self::Drop(target) => (Action::Drop, target),
            };
            let changed = change(operator, &projection, action).await?;
            let changed = changed.with_context(|| format!("there is no projection {projection}"))?;
            printer.print(&changed, || rows([&changed]));
            Ok(true)
        }
    }

    async fn print_list(operator: &Operator, printer: Printer) -> bool {
        let found = list(operator).await;
        let unavailable: String = found.unavailable.iter().map(|why| format!("\n{why}")).collect();
        printer.print(&found, || rows(&found.projections) + &unavailable);
        let has_failed = found.projections.iter().any(|projected| projected.status.detail.is_some());
        found.unavailable.is_empty() && !has_failed
    }

    fn rows<'a>(projections: impl IntoIterator<Item = &'a Projected>) -> String {
        let heading = [
            "SERVICE",
            "PROJECTION",
            "STATE",
            "ACTIVE",
            "POSITION",
            "LAG",
            "AS OF",
            "HISTORY",
            "PER SECOND",
            "REMAINING",
        ];
        let mut details = String::new();
        let rows = projections.into_iter().map(|Projected { service, status }| {
            let projection = format!("{}-v{}", status.name, status.version);
            if let Some(detail) = &status.detail {
                details += &format!("\n{projection}: {detail}");
            }
            let percent = 100.0 * figure(status.history_read) / figure(status.history_total).max(1.0);
            vec![
                service.clone(),
                projection,
                serde_json::to_value(status.state)
                    .ok()
                    .and_then(|state| state.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                if status.is_active { "yes" } else { "no" }.to_owned(),
                status.position.to_string(),
                status.lag_messages.to_string(),
                status.as_of.clone().unwrap_or_else(|| "-".to_owned()),
                if status.as_of.is_none() { format!("{percent:.0} %") } else { "read".to_owned() },
                format!("{:.0}", status.rate),
                status.remaining_seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.0} s")),
            ]
        });
        let rows: Vec<_> = rows.collect();
        table(&heading, rows) + &details
    }
}
