//! For operators: projections over HTTP.

use choreography::projection::admin::Action;
use choreography_http::code::Code;
use choreography_http::json::{JsonOf, Nullable};
use choreography_http::parameter::{Parameter, Path};
use choreography_http::problem::{Failure, Problem, unavailable};
use choreography_http::{failures, replies};
use choreography_ops::projections::{self, change};
use choreography_ops::{AskError, Operator};
use poem_openapi::registry::MetaSchema;
use poem_openapi::{Enum, Object, OpenApi};

use crate::{Tag, problems};

/// The operations on projections.
pub(crate) struct ProjectionsApi {
    pub(super) operator: Operator,
}

/// A projection. It describes, for OpenAPI, what `choreography_ops::projections` serialises.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Projection {
    /// Its service.
    service: String,
    /// Its name.
    name: String,
    /// Its version.
    version: u32,
    /// Its state.
    state: ProjectionState,
    /// Whether it is the version that is read.
    is_active: bool,
    /// The last applied sequence of the stream.
    position: u64,
    /// Messages of the stream that are not applied yet.
    lag_messages: u64,
    /// The age of its contents, in seconds; null while it reads the history.
    lag_seconds: Nullable<f64>,
    /// Up to when it contains all events, RFC 3339; null while it reads the history.
    as_of: Nullable<String>,
    /// The number of recorded events, as counted when it began to read the history.
    history_total: u64,
    /// How many of them it has read.
    history_read: u64,
    /// Messages per second, recently.
    rate: f64,
    /// The seconds until it has caught up, at that rate; null if that is unknown.
    remaining_seconds: Nullable<f64>,
    /// Events applied since it was built.
    applied: u64,
    /// Events that came again and changed nothing.
    duplicates: u64,
    /// Events that were missing in the stream, and were read from an event store.
    repaired: u64,
    /// Why it failed; null if it did not.
    detail: Nullable<String>,
}

/// The state of a projection.
#[derive(Enum)]
#[oai(rename_all = "kebab-case")]
enum ProjectionState {
    /// It reads the history, or the part of the stream that it has not applied.
    CatchingUp,
    /// It has caught up.
    Live,
    /// An operator has paused it.
    Paused,
    /// An event cannot be applied.
    Failed,
    /// Its tables are deleted.
    Dropped,
}

/// The projections of all services.
#[derive(Object)]
struct ProjectionList {
    /// The projections, by service, name, and version.
    projections: Vec<Projection>,
    /// Why those of a service are unknown.
    unavailable: Vec<String>,
}

replies! {
    /// The projections.
    ListedProjections: ProjectionList;

    /// The projection after the change.
    ChangedProjection: Projection;
}

failures! {
    /// The errors of listing projections.
    ListFailures = Code::OF_QUERY;

    /// The errors of changing a projection.
    ChangeFailures = Code::OF_QUERY, &[problems::PROJECTION_NOT_FOUND, problems::PROJECTION_NOT_CHANGED];
}

/// A projection, as `<name>-v<version>`.
struct ProjectionId(String);

impl Parameter for ProjectionId {
    const IN_PATH: &'static str = "projection";

    fn schema() -> MetaSchema {
        let pattern = Some("^[a-z0-9-]{1,64}-v[0-9]{1,9}$".to_owned());
        MetaSchema { pattern, example: Some("order-search-v1".into()), ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| (1..=64).contains(&name.len());
        let is_valid = text.rsplit_once("-v").is_some_and(|(name, version)| {
            is_name(name)
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && (1..=9).contains(&version.len())
                && version.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be a name and a version, such as order-search-v1".to_owned())
        }
    }
}

/// A change of a projection.
struct Change(Action);

const CHANGES: [(&str, Action); 5] = [
    ("start", Action::Start),
    ("pause", Action::Pause),
    ("rebuild", Action::Rebuild),
    ("switch", Action::Switch),
    ("drop", Action::Drop),
];

impl Parameter for Change {
    const IN_PATH: &'static str = "action";

    fn schema() -> MetaSchema {
        let names = CHANGES.iter().map(|(name, _)| (*name).into()).collect();
        MetaSchema { enum_items: names, ..MetaSchema::new("string") }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let found = CHANGES.iter().find(|(name, _)| *name == text).map(|(_, action)| Self(*action));
        found.ok_or_else(|| "must be start, pause, rebuild, switch, or drop".to_owned())
    }
}

#[OpenApi(prefix_path = "/operations/projections", tag = "Tag::Operations")]
impl ProjectionsApi {
    /// List projections
    ///
    /// The read models of all services, with their progress.
    #[oai(path = "/", method = "get", operation_id = "listProjections")]
    async fn list(&self) -> Result<ListedProjections, Failure<ListFailures>> {
        let listed = projections::list(&self.operator).await;
        Ok(ListedProjections::Found(JsonOf::serialized(&listed)?))
    }

    /// Change a projection
    ///
    /// `pause` keeps its position, and `start` continues there. `rebuild` deletes its rows and reads the complete history
    /// again. `switch` makes it the version that is read. `drop` deletes the tables of a version that is not read.
    #[oai(path = "/:projection/:action", method = "post", operation_id = "changeProjection")]
    async fn change(
        &self,
        /// The name with the version.
        projection: Path<ProjectionId>,
        /// The change.
        action: Path<Change>,
    ) -> Result<ChangedProjection, Failure<ChangeFailures>> {
        let changed = change(&self.operator, &projection.0.0, action.0.0).await.map_err(|error| match error {
            AskError::Refused(why) => Problem::with_detail(problems::PROJECTION_NOT_CHANGED, why),
            error => unavailable(&error.to_string()),
        })?;
        let changed = changed.ok_or_else(|| Problem::new(problems::PROJECTION_NOT_FOUND))?;
        Ok(ChangedProjection::Found(JsonOf::serialized(&changed)?))
    }
}
