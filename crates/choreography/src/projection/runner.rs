//! Runs a projection: takes it, reads the history, follows the stream.

use std::slice;
use std::sync::LazyLock;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm::sea_query::{Expr, ExprTrait};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::clock;
use crate::inbound::failure::MAX_CONTENTIONS;
use crate::inbound::handler::HandleError;
use crate::inbound::item::push_halves;
use crate::inbound::policies::Policies;
use crate::projection::Projection;
use crate::projection::batch::{self, Judged};
use crate::projection::commit::{Committer, Rollback};
use crate::projection::decode::Entry;
use crate::projection::definition::Definition;
use crate::projection::follow::{Delivered, Feed, Found};
use crate::projection::progress::{Cursor, Position};
use crate::projection::source::Source;
use crate::projection::stop::Stop;
use crate::projection::table::entity::{Column, Model};
use crate::projection::table::{self, Counts, Held, LEASE, State, cursor_text, position_columns};
use crate::projection::versions;
use crate::state::database::answered;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{self, Counters, Gauges, figure};
use crate::wire::envelope::unix_millis;

/// How often a projection that does not run checks whether it may, and how often one that runs reports its lag.
const TICK: Duration = Duration::from_secs(1);
/// The longest delay between two attempts during an outage.
const MAX_OUTAGE_DELAY: Duration = Duration::from_secs(5);
/// How long messages may be pending without an arrival until the consumer is created again.
const STALLED: Duration = Duration::from_secs(15);

static MESSAGES: LazyLock<Counters> = LazyLock::new(|| {
    metrics::counters("messaging_projection_messages", "Messages that a projection has read, by outcome")
});
static LAG: LazyLock<Gauges> = LazyLock::new(|| {
    metrics::gauges(
        "messaging_projection_lag_messages",
        "Messages of the stream that a projection has not applied yet",
    )
});

/// Runs one projection in one process.
pub(crate) struct Runner<P> {
    pub(crate) projection: P,
    pub(crate) db: DatabaseConnection,
    pub(crate) feed: Feed,
    pub(crate) source: Source,
    pub(crate) policies: Policies,
    /// How often an event may fail until the projection fails.
    pub(crate) max_attempts: u64,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
}

/// A projection that this process runs, and what it reports about it.
struct Run {
    held: Held,
    position: Position,
    builds: i64,
    state: State,
    /// The messages read since the last report, and when that was.
    read: i64,
    reported: Instant,
    /// Messages per second, smoothed.
    rate: f64,
}

impl<P: Projection> Runner<P> {
    fn part(&self) -> String {
        format!("projection/{}", Definition::of::<P>().id())
    }

    /// Runs until shutdown. Whatever stops the projection, it continues where its last transaction ended.
    pub(crate) async fn run(self) {
        let (part, owner) = (self.part(), Uuid::now_v7());
        let mut delay = Duration::ZERO;
        let mut is_registered = false;
        while let Some(stopped) = self.shutdown.run_until_cancelled(self.turn(owner, &mut is_registered)).await {
            delay = match stopped {
                // Another turn finds out how it goes on.
                Ok(()) | Err(Stop::Fenced | Stop::Failed(_)) => TICK,
                Err(Stop::Outage(why)) => {
                    self.health.failed(&part, why);
                    (delay * 2).clamp(TICK / 4, MAX_OUTAGE_DELAY)
                }
            };
            if self.shutdown.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                break;
            }
        }
        let definition = Definition::of::<P>();
        let release = async {
            match table::take(&self.db, definition, owner).await? {
                Some((held, _)) => held.release(&self.db).await,
                None => Ok(()),
            }
        };
        // Otherwise another instance waits until the lease ends.
        drop(answered::<_, Stop>(release).await);
    }

    /// Runs the projection if it is to run and no other process runs it, until something stops it.
    async fn turn(&self, owner: Uuid, is_registered: &mut bool) -> Result<(), Stop> {
        let definition = Definition::of::<P>();
        if !*is_registered {
            answered::<_, Stop>(async { Ok(table::register(&self.db, &definition).await?) }).await?;
            *is_registered = true;
        }
        let taken = answered::<_, Stop>(async { Ok(table::take(&self.db, definition, owner).await?) }).await?;
        let Some((held, row)) = taken else { return self.report_rest(&definition).await };
        let mut run = Run {
            held,
            position: row.position(),
            builds: row.builds,
            state: row.state()?,
            read: 0,
            reported: Instant::now(),
            rate: row.rate,
        };
        let running = self.continue_run(&mut run, &row);
        match running.await {
            Err(Stop::Failed(why)) => {
                tracing::error!(
                    projection = definition.name,
                    version = definition.version,
                    why,
                    "a projection has failed and reads no more; correct the cause, then start it"
                );
                answered(run.held.fail(&self.db, &why)).await
            }
            stopped => stopped,
        }
    }

    /// Reports why this process does not run the projection.
    async fn report_rest(&self, definition: &Definition) -> Result<(), Stop> {
        let finding = async { Ok(table::find(&self.db, definition.name, definition.version).await?) };
        let Some(row) = answered::<_, Stop>(finding).await? else {
            self.health.note(&self.part(), "it has been removed from the table `projections`");
            return Ok(());
        };
        match row.state()? {
            State::Failed => self.health.failed(&self.part(), row.detail.unwrap_or_default()),
            state @ (State::Paused | State::Dropped) => self.health.note(&self.part(), state.as_str()),
            state => self.health.note(&self.part(), format!("{}, in another process", state.as_str())),
        }
        Ok(())
    }

    /// Begins, or continues after the last transaction.
    async fn continue_run(&self, run: &mut Run, row: &Model) -> Result<(), Stop> {
        let connection = self.feed.connection();
        let found = self.feed.find().await?;
        let is_other = row.generation != found.generation;
        let mut cursor = if is_other
            || found.start > run.position.sequence
            || !self.feed.continues(found, run.position).await?
        {
            self.begin(run, row, found).await?
        } else {
            row.cursor()?
        };
        let is_counted = !is_other && row.history_total > 0;
        if let Some(cursor) = &mut cursor {
            self.backfill(run, cursor.clone(), !is_counted).await?;
        }
        self.follow(run, connection).await
    }

    /// Begins to read, or begins again after messages were lost: first the history, then the stream after its present
    /// end. Without an event store for each context: the stream from its first message.
    async fn begin(&self, run: &mut Run, row: &Model, found: Found) -> Result<Option<Cursor>, Stop> {
        let (projection, version) = (P::NAME, P::VERSION);
        if row.generation == 0 {
            tracing::info!(projection, version, "a projection begins to read the complete history");
        } else {
            tracing::error!(
                projection,
                version,
                position = run.position.sequence,
                first = found.start + 1,
                last = found.last.sequence,
                recreated = row.generation != found.generation,
                "the stream has lost messages before a projection applied them; it reads the complete history of the event \
                 stores; events of other contexts are lost to it"
            );
        }
        let is_complete =
            crate::projection::spec::<P>().contexts.iter().all(|context| P::EVENT_STORES.contains(context));
        run.position = if is_complete { found.last } else { Position { sequence: found.start, stored_at: 0 } };
        run.state = State::CatchingUp;
        let cursor = P::EVENT_STORES.first().map(|context| Cursor::start(context));
        let changes = [
            (Column::State, Expr::value(State::CatchingUp.as_str())),
            (Column::Generation, Expr::value(found.generation)),
            (Column::Backfill, Expr::value(cursor_text(cursor.as_ref())?)),
            (Column::HistoryTotal, Expr::value(0)),
            (Column::HistoryRead, Expr::value(0)),
            (Column::AsOf, Expr::value(Option::<i64>::None)),
        ];
        let changes = changes.into_iter().chain(position_columns(run.position));
        answered(run.held.update(&self.db, changes)).await?;
        Ok(cursor)
    }

    /// Reads the event stores from a cursor to their ends.
    async fn backfill(&self, run: &mut Run, from: Cursor, mut count: bool) -> Result<(), Stop> {
        let mut cursor = Some(from);
        while let Some(at) = cursor {
            // Once per context.
            count |= at.after.is_none();
            let page = self.source.page::<P::Messages>(&at, count).await?;
            let is_empty = page.entries.is_empty();
            self.process(run, page.entries).await?;
            let mut changes = Vec::new();
            if let Some(total) = page.total {
                let total = i64::try_from(total).unwrap_or(i64::MAX);
                changes.push((Column::HistoryTotal, Expr::col(Column::HistoryTotal).add(total)));
            }
            if is_empty {
                changes.push((Column::Backfill, Expr::value(cursor_text(page.next.as_ref())?)));
            }
            if !changes.is_empty() {
                answered(run.held.update(&self.db, changes)).await?;
            }
            (count, cursor) = (false, page.next);
            if run.reported.elapsed() > TICK {
                self.health.note(&self.part(), "it reads the history");
                self.report(run, None).await?;
            }
        }
        Ok(())
    }

    /// Applies the messages of the stream after the position.
    async fn follow(&self, run: &mut Run, connection: u64) -> Result<(), Stop> {
        let mut following = self.feed.follow(connection, run.position.sequence, self.policies.max_batch).await?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut arrived = Instant::now();
        loop {
            let deliveries = tokio::select! {
                deliveries = following.next() => deliveries?,
                _ = ticks.tick() => {
                    let (at, last) = (unix_millis(clock::now()), self.feed.find().await?.last);
                    let lag = following.pending().await?;
                    if lag > 0 && arrived.elapsed() > STALLED {
                        return Err(Stop::Outage(format!("{lag} messages are pending and none arrives")));
                    }
                    if lag == 0 {
                        if last.sequence < run.position.sequence {
                            return Err(Stop::Fenced);
                        }
                        // The messages after the last one of the contexts: if the stream deletes them, nothing is lost.
                        run.position = last;
                    }
                    self.report(run, Some((lag, at))).await?;
                    continue;
                }
            };
            arrived = Instant::now();
            let entries = deliveries.iter().map(|delivered| {
                Entry::of_stream(&delivered.message, delivered.stored, delivered.sequence, P::EVENT_STORES)
            });
            let entries: Vec<_> = entries.collect();
            self.check_complete(run).await?;
            self.process(run, entries).await?;
            run.position = deliveries.last().map_or(run.position, Delivered::position);
        }
    }

    /// Checks, after messages have arrived, that the stream had deleted none between them and the position.
    async fn check_complete(&self, run: &Run) -> Result<(), Stop> {
        let found = self.feed.find().await?;
        // The next turn begins again.
        if found.start > run.position.sequence { Err(Stop::Fenced) } else { Ok(()) }
    }

    /// Applies messages: judges them by their versions, and commits them as one batch, or in halves.
    async fn process(&self, run: &mut Run, entries: Vec<Entry<P::Messages>>) -> Result<(), Stop> {
        if entries.is_empty() {
            return Ok(());
        }
        let definition = run.held.definition;
        let aggregates = batch::aggregates(&entries);
        let last =
            answered::<_, Stop>(async { Ok(versions::load(&self.db, &definition, &aggregates).await?) }).await?;
        let judged = self.source.judge(definition.name, last, entries).await?;
        let mut parts = vec![judged.as_slice()];
        while let Some(part) = parts.pop() {
            match (self.commit(run, part).await, part) {
                (Ok(()), _) => {}
                (Err(Rollback::Stop(stop)), _) => return Err(stop),
                (Err(Rollback::Contention(why)), _) => return Err(Stop::Outage(why)),
                (Err(Rollback::Event(error)), [judged]) => self.retry(run, judged, error).await?,
                (Err(Rollback::Event(error)), _) => {
                    tracing::debug!(batch = part.len(), %error, "a batch of a projection failed; it tries its halves");
                    push_halves(&mut parts, part);
                }
            }
        }
        Ok(())
    }

    /// Commits messages, again after a conflict with another transaction.
    async fn commit(&self, run: &mut Run, part: &[Judged<P::Messages>]) -> Result<(), Rollback> {
        let committer = Committer {
            projection: &self.projection,
            db: &self.db,
            builds: run.builds,
            timeout: self.policies.handler_timeout,
        };
        let mut contentions = 0;
        let counts = loop {
            match committer.commit(&run.held, part).await {
                Err(Rollback::Contention(_)) if contentions < MAX_CONTENTIONS => contentions += 1,
                ended => break ended?,
            }
        };
        run.read += i64::try_from(part.len()).unwrap_or(i64::MAX);
        count(&run.held.definition, counts);
        Ok(())
    }

    /// Repeats an event that fails alone, with growing delays; the projection fails after its last attempt.
    async fn retry(&self, run: &mut Run, judged: &Judged<P::Messages>, mut error: HandleError) -> Result<(), Stop> {
        let mut failures = 1;
        while let HandleError::Retry(_) = &error {
            if failures >= self.max_attempts {
                break;
            }
            tracing::warn!(projection = P::NAME, version = P::VERSION, attempt = failures, %error, "a projection repeats an event");
            // Not longer than the lease.
            tokio::time::sleep(self.policies.retry_delay(failures).min(LEASE / 2)).await;
            match self.commit(run, slice::from_ref(judged)).await {
                Ok(()) => return Ok(()),
                Err(Rollback::Event(again)) => error = again,
                Err(Rollback::Stop(stop)) => return Err(stop),
                Err(Rollback::Contention(why)) => return Err(Stop::Outage(why)),
            }
            failures += 1;
            answered(run.held.update(&self.db, [])).await?;
        }
        let entry = &judged.entry;
        let which = entry.version.as_ref().map_or_else(
            || format!("the message at {:?}", entry.place),
            |version| format!("event {} of {} {}", version.number, version.context, version.aggregate_id),
        );
        Err(Stop::Failed(format!("{which} cannot be applied: {error}")))
    }

    /// Records the lag, with the time before it was read, and the rate; during a backfill there is no lag. A projection
    /// without lag is live.
    async fn report(&self, run: &mut Run, lag: Option<(u64, i64)>) -> Result<(), Stop> {
        let seconds = run.reported.elapsed().as_secs_f64();
        let rate = metrics::figure(run.read.unsigned_abs()) / seconds.max(0.001);
        run.rate = if run.rate > 0.0 { (run.rate + rate) / 2.0 } else { rate };
        (run.read, run.reported) = (0, Instant::now());
        let mut changes = vec![(Column::Rate, Expr::value(run.rate))];
        if let Some((lag, _)) = lag {
            let labels = vec![("projection", run.held.definition.id())];
            LAG.get_or_create(&labels).set(figure(lag));
            changes.push((Column::Lag, Expr::value(i64::try_from(lag).unwrap_or(i64::MAX))));
            self.health.note(&self.part(), format!("{}; {lag} messages behind", run.state.as_str()));
        }
        if let Some((0, at)) = lag {
            changes.push((Column::AsOf, Expr::value(at)));
            changes.extend(position_columns(run.position));
        }
        answered(run.held.update(&self.db, changes)).await?;
        if matches!(lag, Some((0, _))) && run.state != State::Live {
            answered(run.held.go_live(&self.db)).await?;
            run.state = State::Live;
            tracing::info!(projection = P::NAME, version = P::VERSION, "a projection has caught up");
        }
        Ok(())
    }
}

fn count(definition: &Definition, counts: Counts) {
    let outcomes = [("applied", counts.applied), ("duplicate", counts.duplicates), ("repaired", counts.repaired)];
    for (outcome, count) in outcomes {
        let labels = vec![("projection", definition.id()), ("outcome", outcome.to_owned())];
        MESSAGES.get_or_create(&labels).inc_by(count.unsigned_abs());
    }
}
