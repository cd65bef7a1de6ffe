//! The faults: their kinds, and the resources that they affect.

use choreography::projection::admin::Action;
use demo::Component;
use demo::proxy::LinkPolicy;

use super::upgrade::UPGRADED;

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
    /// A projection is paused, or built again from the complete history.
    Projection,
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
    /// [`Kind::Projection`]: the projection, and what is done to it.
    Projection(&'static str, Action),
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

/// The stream that can be lost: the outboxes hold all of its messages.
pub(super) const EVENTS: &str = "EVENTS";
/// The stream of the bucket of idempotency keys.
pub(super) const BUCKET: &str = "KV_IDEMPOTENCY";
/// The stream of deadlines.
pub(super) const TIMERS: &str = "TIMERS";
/// Every durable consumer, as (stream, name).
pub const CONSUMERS: [(&str, &str); 8] = [
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
pub(super) enum Target {
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
    Projection(&'static str),
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
            Self::Projection(..) => Kind::Projection,
            Self::Unread(_) => Kind::Unread,
        }
    }

    pub(super) fn targets(&self) -> Vec<Target> {
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
            Self::Projection(name, _) => Target::Projection(name),
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
            Self::Projection => "projection",
        }
    }
}
