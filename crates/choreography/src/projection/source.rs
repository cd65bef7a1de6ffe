//! Reads the history of event stores: pages for a backfill, and the events in a gap.

use std::collections::VecDeque;

use async_nats::Client;

use crate::inbound::history::{self, EventsPage, EventsRequest};
use crate::inbound::query::AskError;
use crate::projection::batch::{self, Gap, Judged, LastVersions};
use crate::projection::decode::Entry;
use crate::projection::progress::{Cursor, Place};
use crate::projection::stop::Stop;
use crate::state::event_page::EventKey;
use crate::wire::message::Messages;

/// The event stores of other services.
pub(crate) struct Source {
    /// `None` in tests, which have no broker.
    pub(crate) client: Option<Client>,
    /// The contexts that have one, in the order in which they are read.
    pub(crate) contexts: &'static [&'static str],
}

/// A page of a backfill.
pub(crate) struct Page<M> {
    pub(crate) entries: Vec<Entry<M>>,
    /// The cursor after the page.
    pub(crate) next: Option<Cursor>,
    /// The number of recorded events, if requested.
    pub(crate) total: Option<u64>,
}

impl Source {
    /// Reads a page of a backfill.
    pub(crate) async fn page<M: Messages>(&self, cursor: &Cursor, count: bool) -> Result<Page<M>, Stop> {
        let request = EventsRequest { after: cursor.after.clone(), aggregate_id: None, count };
        let EventsPage { events, next, total } = self.ask(&cursor.context, &request).await?;
        let next = match next {
            Some(after) => Some(Cursor { context: cursor.context.clone(), after: Some(after) }),
            None => self.context_after(&cursor.context).map(Cursor::start),
        };
        let last = events.len().saturating_sub(1);
        let entries = events.into_iter().enumerate().map(|(index, event)| {
            let after = EventKey { aggregate_id: event.aggregate_id.clone(), version: event.version };
            let within = || Some(Cursor { context: cursor.context.clone(), after: Some(after) });
            let place = Place::History(if index == last { next.clone() } else { within() });
            Entry::of_history(&cursor.context, event, Some(place))
        });
        Ok(Page { entries: entries.collect(), next, total })
    }

    fn context_after(&self, context: &str) -> Option<&'static str> {
        self.contexts.iter().skip_while(|known| **known != context).nth(1).copied()
    }

    /// Judges a batch by the last versions of its aggregates. The events in a gap are read and added before the event that
    /// shows it.
    pub(crate) async fn judge<M: Messages>(
        &self,
        projection: &str,
        mut last: LastVersions,
        entries: Vec<Entry<M>>,
    ) -> Result<Vec<Judged<M>>, Stop> {
        let mut judged = Vec::with_capacity(entries.len());
        for mut entry in entries {
            // At most one gap before an event: what repairs it ends with the version before.
            entry = match batch::judge(&mut last, entry) {
                Ok(known) => {
                    judged.push(known);
                    continue;
                }
                Err(late) => {
                    let (gap, entry) = *late;
                    for missing in self.repair(projection, &gap).await? {
                        judged.push(batch::judge(&mut last, missing).map_err(|late| lacking(&late.0))?);
                    }
                    entry
                }
            };
            judged.push(batch::judge(&mut last, entry).map_err(|late| lacking(&late.0))?);
        }
        Ok(judged)
    }

    /// Reads the events of a gap from the event store of the owning service.
    async fn repair<M: Messages>(&self, projection: &str, gap: &Gap) -> Result<VecDeque<Entry<M>>, Stop> {
        let Gap { context, aggregate_id, between: (last, found) } = gap;
        tracing::warn!(
            projection,
            context,
            aggregate_id,
            last,
            found,
            "a projection reads events from the event store that were missing in the stream"
        );
        let mut missing = VecDeque::new();
        let mut after = Some(EventKey { aggregate_id: aggregate_id.clone(), version: *last });
        while let Some(key) = after {
            let request =
                EventsRequest { after: Some(key), aggregate_id: Some(aggregate_id.clone()), count: false };
            let page = self.ask(context, &request).await?;
            let needed = page.events.into_iter().filter(|event| event.version < *found);
            missing.extend(needed.map(|event| Entry::of_history(context, event, None)));
            after = page.next.filter(|next| next.version < *found - 1);
        }
        Ok(missing)
    }

    async fn ask(&self, context: &str, request: &EventsRequest) -> Result<EventsPage, Stop> {
        let Some(client) = &self.client else {
            return Err(Stop::Failed(format!("the history of {context} is needed, and there is no broker")));
        };
        history::ask(client, context, request).await.map_err(|error| match error {
            AskError::Invalid(why) | AskError::NotFound(why) => {
                Stop::Failed(format!("the owning service of {context} refuses to serve its event store: {why}"))
            }
            error => Stop::Outage(format!("the event store of {context} is unavailable: {error}")),
        })
    }
}

/// The event store lacks an event that was published: such as after a restore of an old backup.
fn lacking(gap: &Gap) -> Stop {
    let Gap { context, aggregate_id, between: (last, found) } = gap;
    Stop::Failed(format!(
        "version {found} of {context} {aggregate_id} follows version {last}, and the event store of {context} does not have \
         the versions between them; restore its database, then start the projection"
    ))
}
