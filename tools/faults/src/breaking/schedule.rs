//! The schedule of faults, which derives from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use choreography::projection::admin::Action;
use contracts::declaration::PROJECTIONS;
use demo::Component;
use demo::proxy::LinkPolicy;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, seq::IndexedRandom};

use super::fault::{BUCKET, CONSUMERS, EVENTS, Fault, Kind, Loss, TIMERS, Target};
use crate::random::{Purpose, random};

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

/// The streams that can be at their limits, and the lowest limit of each in bytes: the commands that the gateway
/// accepts until its next check must fit.
const LIMITED: [(&str, u64); 3] = [("COMMANDS", 128 * 1024), (EVENTS, 256 * 1024), (TIMERS, 64 * 1024)];
const LOSSES: [Loss; 4] = [Loss::Folder, Loss::Messages, Loss::Deleted, Loss::Purged];

/// Services that are connected to nats-server.
const ON_NATS: [Component; 7] = [
    Component::OrderService,
    Component::InventoryService,
    Component::AccountService,
    Component::PaymentService,
    Component::NotificationService,
    Component::ProjectionService,
    Component::ApiGateway,
];

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
        Kind::Projection => {
            let (name, _) = PROJECTIONS.choose(random).copied().unwrap_or(PROJECTIONS[0]);
            let action = [Action::Pause, Action::Rebuild].choose(random).copied().unwrap_or(Action::Pause);
            (Fault::Projection(name, action), 2_000, 15_000)
        }
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
