//! The schedule of faults, which derives from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use demo::Component;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, seq::IndexedRandom};

use super::upgrade::UPGRADED;
use crate::random::{Purpose, random};
use demo::proxy::LinkPolicy;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// A process is killed (SIGKILL) and started again.
    Kill,
    /// A process is paused (SIGSTOP), mostly for longer than the ack-wait.
    Pause,
    /// The connections between a service and nats-server are closed, and new ones refused.
    Disconnect,
    /// Traffic between a service and nats-server is delayed, in one direction or both.
    AddLatency,
    /// Stored messages are published again under their id, past the stream's deduplication.
    Republish,
    /// A consumer is set back and delivers messages again.
    Replay,
    /// A consumer delivers nothing for a while.
    HoldConsumer,
    /// A second instance of a service runs.
    ExtraInstance,
    /// The payment provider is slow, fails, or closes connections.
    Provider,
    /// The disk of a service's database is full.
    DiskFull,
    /// The clock of a service is an hour, two days, or nine days ahead or behind.
    Clock,
    /// PostgreSQL is killed and started again.
    Postgres,
    /// The stream of events loses its messages; then it is restored from the outboxes.
    LoseStream,
    /// A nats-server of a cluster is killed and started again.
    KillServer,
    /// A nats-server of a cluster is paused.
    PauseServer,
    /// A nats-server of a cluster is cut off from the others and from all services.
    DisconnectServer,
    /// Each service's first start is killed several times, before the shop opens.
    FirstStart,
    /// One of two instances of a service is paused inside a transaction.
    FreezeInstance,
    /// A PostgreSQL session of a service is paused.
    FreezeSession,
    /// The database of a service is read-only, as after a fail-over.
    ReadOnly,
    /// A service has few file descriptors left, while many clients are connected.
    Descriptors,
    /// The password of a service is changed at nats-server, and changed back.
    Password,
    /// The idempotency bucket accepts no entry.
    FullBucket,
    /// The output of a service is not read.
    Unread,
    /// COMMANDS, EVENTS, or TIMERS is so small that it fills under load.
    AtLimit,
    /// The starts of a service that upgrade a database with data are killed.
    Upgrade,
    /// The payment provider already has the keys of new payments, with another order or amount.
    KeyTaken,
}

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// [`Kind::Kill`].
    Kill(Component),
    /// [`Kind::Pause`].
    Pause(Component),
    /// [`Kind::Disconnect`] and [`Kind::AddLatency`].
    Proxy(Component, LinkPolicy),
    /// [`Kind::Republish`]: the number of messages.
    Republish(usize),
    /// [`Kind::Replay`]: `(stream, consumer)`, and the number of messages.
    Replay((&'static str, &'static str), u64),
    /// [`Kind::HoldConsumer`]: `(stream, consumer)`.
    HoldConsumer((&'static str, &'static str)),
    /// [`Kind::ExtraInstance`].
    ExtraInstance(Component),
    /// [`Kind::Provider`].
    Provider,
    /// [`Kind::DiskFull`].
    DiskFull(Component),
    /// [`Kind::Clock`]: the shift in seconds.
    Clock(Component, i64),
    /// [`Kind::Postgres`].
    Postgres,
    /// [`Kind::LoseStream`]: the kind of loss.
    LoseStream(Loss),
    /// [`Kind::KillServer`].
    KillServer(usize),
    /// [`Kind::PauseServer`].
    PauseServer(usize),
    /// [`Kind::DisconnectServer`].
    DisconnectServer(usize),
    /// [`Kind::FreezeInstance`].
    FreezeInstance(Component),
    /// [`Kind::FreezeSession`].
    FreezeSession(Component),
    /// [`Kind::ReadOnly`].
    ReadOnly(Component),
    /// [`Kind::Descriptors`].
    Descriptors(Component),
    /// [`Kind::Password`].
    Password(Component),
    /// [`Kind::FullBucket`] and [`Kind::AtLimit`]: the stream, and the bytes of its limit.
    AtLimit(&'static str, u64),
    /// [`Kind::Unread`].
    Unread(Component),
    /// [`Kind::Upgrade`].
    Upgrade,
    /// [`Kind::KeyTaken`].
    KeyTaken,
}

/// A way in which the stream of events loses its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// While nats-server is down, the stream's folder is removed, including its consumers.
    Folder,
    /// While nats-server is down, the stream's messages are removed; its consumers stay.
    Messages,
    /// The stream is deleted while the shop runs.
    Deleted,
    /// The stream is purged while the shop runs.
    Purged,
}

impl Loss {
    /// Returns whether nats-server is down during the loss.
    #[must_use]
    pub fn is_offline(self) -> bool {
        matches!(self, Self::Folder | Self::Messages)
    }
}

/// A scheduled fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// When it begins, since the start of the load.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// The fault.
    pub fault: Fault,
}

/// The shifts of a clock, in seconds: also beyond the retention of the inboxes.
const JUMPS: [i64; 6] = [3600, -3600, 2 * 86_400, -2 * 86_400, 9 * 86_400, -9 * 86_400];

/// The number of draws of another target if one is busy.
const DRAWS: usize = 8;

/// The stream that can be lost: the outboxes hold all of its messages.
pub(super) const EVENTS: &str = "EVENTS";
/// The stream of the bucket of idempotency keys.
pub(super) const BUCKET: &str = "KV_IDEMPOTENCY";
/// The stream of deadlines.
pub(super) const TIMERS: &str = "TIMERS";
/// The streams that can be at their limits, and the lowest limit of each in bytes: the commands that the gateway
/// accepts until its next check must fit.
const LIMITED: [(&str, u64); 3] = [("COMMANDS", 64 * 1024), (EVENTS, 256 * 1024), (TIMERS, 64 * 1024)];
const LOSSES: [Loss; 4] = [Loss::Folder, Loss::Messages, Loss::Deleted, Loss::Purged];

/// Services that are connected to nats-server.
const ON_NATS: [Component; 6] = [
    Component::OrderService,
    Component::InventoryService,
    Component::AccountService,
    Component::PaymentService,
    Component::NotificationService,
    Component::ApiGateway,
];

/// Every durable consumer, as (stream, name).
const CONSUMERS: [(&str, &str); 8] = [
    ("COMMANDS", "order-service"),
    ("EVENTS", "order-service"),
    ("TIMERS", "order-service"),
    ("COMMANDS", "inventory-service"),
    ("EVENTS", "inventory-service"),
    ("COMMANDS", "account-service"),
    ("EVENTS", "payment-service"),
    ("EVENTS", "notification-service"),
];

/// A resource that only one fault may affect at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Process(Component),
    Proxy(Component),
    Consumer(&'static str, &'static str),
    ExtraInstance(Component),
    Disk(Component),
    ProviderBehaviour,
    Postgres,
    Stream(&'static str),
    Output(Component),
    /// Any server of the cluster: a cluster of three tolerates the loss of one.
    Server,
}

impl Fault {
    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Pause(_) => Kind::Pause,
            Self::Proxy(_, LinkPolicy::Closed) => Kind::Disconnect,
            Self::Proxy(..) => Kind::AddLatency,
            Self::Republish(_) => Kind::Republish,
            Self::Replay(..) => Kind::Replay,
            Self::HoldConsumer(_) => Kind::HoldConsumer,
            Self::ExtraInstance(_) => Kind::ExtraInstance,
            Self::Provider => Kind::Provider,
            Self::DiskFull(_) => Kind::DiskFull,
            Self::Clock(..) => Kind::Clock,
            Self::Postgres => Kind::Postgres,
            Self::LoseStream(_) => Kind::LoseStream,
            Self::KillServer(_) => Kind::KillServer,
            Self::PauseServer(_) => Kind::PauseServer,
            Self::DisconnectServer(_) => Kind::DisconnectServer,
            Self::FreezeInstance(_) => Kind::FreezeInstance,
            Self::FreezeSession(_) => Kind::FreezeSession,
            Self::ReadOnly(_) => Kind::ReadOnly,
            Self::Descriptors(_) => Kind::Descriptors,
            Self::Password(_) => Kind::Password,
            Self::AtLimit(BUCKET, _) => Kind::FullBucket,
            Self::AtLimit(..) => Kind::AtLimit,
            Self::Upgrade => Kind::Upgrade,
            Self::KeyTaken => Kind::KeyTaken,
            Self::Unread(_) => Kind::Unread,
        }
    }

    fn targets(&self) -> Vec<Target> {
        let target = match *self {
            Self::Kill(component) | Self::Pause(component) | Self::Clock(component, _) => {
                Target::Process(component)
            }
            Self::Proxy(component, _) => Target::Proxy(component),
            Self::Replay((stream, consumer), _) | Self::HoldConsumer((stream, consumer)) => {
                Target::Consumer(stream, consumer)
            }
            Self::ExtraInstance(component) => Target::ExtraInstance(component),
            Self::DiskFull(component) => Target::Disk(component),
            Self::Provider | Self::KeyTaken => Target::ProviderBehaviour,
            Self::Postgres => Target::Postgres,
            Self::KillServer(_) | Self::PauseServer(_) | Self::DisconnectServer(_) => Target::Server,
            Self::Republish(_) => return Vec::new(),
            Self::AtLimit(stream @ (BUCKET | TIMERS), _) => Target::Stream(stream),
            // A small ring buffer soon discards its messages. The campaign copies them before, which needs all servers.
            Self::AtLimit(stream, _) => {
                return vec![Target::Stream(stream), Target::Process(Component::NatsServer), Target::Server];
            }
            Self::Upgrade => {
                return vec![
                    Target::Process(UPGRADED),
                    Target::ExtraInstance(UPGRADED),
                    Target::Disk(UPGRADED),
                    Target::Postgres,
                ];
            }
            Self::FreezeInstance(component) => {
                return vec![Target::Process(component), Target::ExtraInstance(component), Target::Postgres];
            }
            Self::FreezeSession(_) | Self::ReadOnly(_) => Target::Postgres,
            Self::Descriptors(component) => Target::Process(component),
            // nats-server restarts with the changed password, and again with the original one.
            Self::Password(_) => return vec![Target::Process(Component::NatsServer), Target::Server],
            Self::Unread(component) => return vec![Target::Process(component), Target::Output(component)],
            // The stream can be lost only while its server runs, and missing consumers cannot be set back.
            Self::LoseStream(_) => {
                let consumers = CONSUMERS.into_iter().filter(|(stream, _)| *stream == EVENTS);
                let consumers = consumers.map(|(stream, consumer)| Target::Consumer(stream, consumer));
                let broker = [Target::Process(Component::NatsServer), Target::Server, Target::Stream(EVENTS)];
                return consumers.chain(broker).collect();
            }
        };
        vec![target]
    }
}

impl Kind {
    /// Returns the name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Disconnect => "disconnect",
            Self::AddLatency => "add-latency",
            Self::Republish => "republish",
            Self::Replay => "replay",
            Self::HoldConsumer => "hold",
            Self::ExtraInstance => "extra-instance",
            Self::Provider => "provider",
            Self::DiskFull => "disk-full",
            Self::Clock => "clock",
            Self::Postgres => "postgres",
            Self::LoseStream => "lose-stream",
            Self::KillServer => "kill-server",
            Self::PauseServer => "pause-server",
            Self::DisconnectServer => "disconnect-server",
            Self::FirstStart => "first-start",
            Self::FreezeInstance => "freeze-instance",
            Self::FreezeSession => "freeze-session",
            Self::ReadOnly => "read-only",
            Self::Descriptors => "descriptors",
            Self::Password => "password",
            Self::FullBucket => "full-bucket",
            Self::Unread => "unread",
            Self::AtLimit => "at-limit",
            Self::Upgrade => "upgrade",
            Self::KeyTaken => "key-taken",
        }
    }
}

/// Plans faults of these kinds for the length, with at most `pause` between two of them, in a shop on this number of
/// nats-servers.
///
/// Each kind occurs once before any occurs twice, in an order derived from the seed. No two faults affect one target
/// at a time.
#[must_use]
pub fn schedule(seed: u64, length: Duration, pause: Duration, kinds: &[Kind], servers: usize) -> Vec<Planned> {
    let mut random = random(seed, Purpose::Faults);
    let mut planned = Vec::new();
    let mut busy = BTreeMap::<Target, Duration>::new();
    let mut deck: Vec<Kind> = Vec::new();
    let mut at = Duration::from_secs(1);
    // It occurs before the shop opens.
    let kinds: Vec<Kind> = kinds.iter().copied().filter(|kind| *kind != Kind::FirstStart).collect();
    while at < length && !kinds.is_empty() {
        if deck.is_empty() {
            deck.extend(&kinds);
            deck.shuffle(&mut random);
        }
        if let Some(kind) = deck.pop() {
            let mut free = (0..DRAWS).map(|_| draw(kind, servers, &mut random));
            let free = free.find(|(fault, _)| {
                fault.targets().iter().all(|target| busy.get(target).is_none_or(|until| *until <= at))
            });
            if let Some((fault, lasts)) = free {
                // A short pause between two faults of one target, so that healthy operation is covered, too.
                let until = at + lasts + Duration::from_secs(1);
                busy.extend(fault.targets().into_iter().map(|target| (target, until)));
                planned.push(Planned { at, lasts, fault });
            } else {
                // It is drawn again later.
                deck.insert(0, kind);
            }
        }
        let min = pause.mul_f64(0.15);
        at += random.random_range(min..=pause.max(min));
    }
    planned
}

/// Draws a fault of a kind, and its duration.
fn draw(kind: Kind, servers: usize, random: &mut ChaCha8Rng) -> (Fault, Duration) {
    let on_nats = ON_NATS.choose(random).copied().unwrap_or(Component::OrderService);
    let with_database = Component::WITH_DATABASE.choose(random).copied().unwrap_or(Component::OrderService);
    // Faults of cluster servers are kinds of their own.
    let components = if servers == 1 { &Component::ALL[..] } else { &Component::SERVICES };
    let any = components.choose(random).copied().unwrap_or(Component::OrderService);
    let server = random.random_range(0..servers);
    let consumer = CONSUMERS.choose(random).copied().unwrap_or(CONSUMERS[0]);
    let (fault, min, max) = match kind {
        Kind::Kill => (Fault::Kill(any), 0, 6_000),
        Kind::Pause => (Fault::Pause(any), 3_000, 18_000),
        Kind::Disconnect => (Fault::Proxy(on_nats, LinkPolicy::Closed), 100, 8_000),
        Kind::AddLatency => {
            let ways = [LinkPolicy::Stalled, LinkPolicy::ToServerStalled, LinkPolicy::ToClientStalled];
            let way = ways.choose(random).copied().unwrap_or(LinkPolicy::Stalled);
            (Fault::Proxy(on_nats, way), 2_000, 20_000)
        }
        Kind::Republish => (Fault::Republish(random.random_range(10..=200)), 0, 0),
        Kind::Replay => (Fault::Replay(consumer, random.random_range(50..=2_000)), 0, 0),
        Kind::HoldConsumer => (Fault::HoldConsumer(consumer), 2_000, 15_000),
        Kind::ExtraInstance => (Fault::ExtraInstance(with_database), 10_000, 40_000),
        Kind::Provider => (Fault::Provider, 5_000, 20_000),
        Kind::DiskFull => (Fault::DiskFull(with_database), 4_000, 15_000),
        Kind::Clock => {
            let ahead = JUMPS.choose(random).copied().unwrap_or(JUMPS[0]);
            (Fault::Clock(with_database, ahead), 8_000, 30_000)
        }
        Kind::Postgres => (Fault::Postgres, 500, 12_000),
        Kind::LoseStream => {
            // A cluster server that lost its folder gets the messages from the others.
            let losses = if servers == 1 { &LOSSES[..] } else { &[Loss::Deleted, Loss::Purged] };
            (Fault::LoseStream(losses.choose(random).copied().unwrap_or(Loss::Deleted)), 500, 6_000)
        }
        Kind::KillServer => (Fault::KillServer(server), 1_000, 15_000),
        Kind::PauseServer => (Fault::PauseServer(server), 3_000, 25_000),
        Kind::DisconnectServer => (Fault::DisconnectServer(server), 3_000, 25_000),
        Kind::FreezeInstance => (Fault::FreezeInstance(with_database), 12_000, 40_000),
        Kind::FreezeSession => (Fault::FreezeSession(with_database), 3_000, 25_000),
        Kind::ReadOnly => (Fault::ReadOnly(with_database), 2_000, 12_000),
        Kind::Descriptors => (Fault::Descriptors(on_nats), 5_000, 15_000),
        Kind::Password => (Fault::Password(on_nats), 2_000, 10_000),
        Kind::FullBucket => (Fault::AtLimit(BUCKET, 0), 2_000, 10_000),
        Kind::AtLimit => {
            let (stream, min) = LIMITED.choose(random).copied().unwrap_or(LIMITED[0]);
            (Fault::AtLimit(stream, random.random_range(min..=2 * min)), 10_000, 30_000)
        }
        Kind::Upgrade => (Fault::Upgrade, 0, 2_000),
        Kind::KeyTaken => (Fault::KeyTaken, 3_000, 8_000),
        Kind::Unread => (Fault::Unread(on_nats), 5_000, 20_000),
        // Never planned: it occurs before the shop opens.
        Kind::FirstStart => (Fault::Republish(0), 0, 0),
    };
    (fault, Duration::from_millis(random.random_range(min..=max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 6] =
        [Kind::Kill, Kind::Pause, Kind::Disconnect, Kind::Republish, Kind::HoldConsumer, Kind::LoseStream];

    #[test]
    fn equal_seeds_give_equal_schedules_and_different_seeds_different_ones() {
        let of = |seed| schedule(seed, Duration::from_secs(600), Duration::from_secs(5), &KINDS, 1);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn the_stream_is_lost_in_each_way_and_never_during_a_fault_of_its_server_or_its_consumers() {
        let planned = schedule(5, Duration::from_secs(3600), Duration::from_secs(2), &KINDS, 1);
        let is_lost = |planned: &&Planned| matches!(planned.fault, Fault::LoseStream(_));
        for loss in LOSSES {
            assert!(planned.iter().any(|planned| planned.fault == Fault::LoseStream(loss)), "{loss:?}");
        }
        let reach = |fault: &Fault| match fault {
            Fault::Kill(component) | Fault::Pause(component) => *component == Component::NatsServer,
            Fault::HoldConsumer((stream, _)) => *stream == EVENTS,
            _ => false,
        };
        for lost in planned.iter().filter(is_lost) {
            for other in planned.iter().filter(|other| reach(&other.fault)) {
                let apart = other.at >= lost.at + lost.lasts || lost.at >= other.at + other.lasts;
                assert!(apart, "{lost:?} {other:?}");
            }
        }
        let clustered = schedule(5, Duration::from_secs(3600), Duration::from_secs(2), &[Kind::LoseStream], 3);
        assert!(
            clustered.iter().all(|planned| !matches!(planned.fault, Fault::LoseStream(loss) if loss.is_offline()))
        );
    }

    #[test]
    fn every_kind_occurs_before_any_occurs_twice() {
        for seed in 0..50 {
            let planned = schedule(seed, Duration::from_secs(90), Duration::from_secs(5), &KINDS, 1);
            let mut first: Vec<Kind> =
                planned.iter().take(KINDS.len()).map(|planned| planned.fault.kind()).collect();
            first.sort_unstable();
            assert_eq!(first, KINDS, "seed {seed}");
        }
    }

    #[test]
    fn no_two_faults_affect_one_target_at_a_time() {
        let planned = schedule(3, Duration::from_secs(3600), Duration::from_secs(2), &KINDS, 1);
        for (n, one) in planned.iter().enumerate() {
            for other in &planned[n + 1..] {
                let apart = other.at >= one.at + one.lasts;
                let targets = one.fault.targets();
                let shared = other.fault.targets().iter().any(|target| targets.contains(target));
                assert!(apart || one.lasts.is_zero() || !shared, "{one:?} {other:?}");
            }
        }
    }
}
