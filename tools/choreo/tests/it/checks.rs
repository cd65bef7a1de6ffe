//! The library's checks on a system, and a check that the system adds.

use choreography::stats::{self, Stats};
use choreography_ops::checks::{Board, Check, Decide, Findings, Observed, Queries, Status, Violation, Watcher};
use choreography_ops::{Operator, System};
use contracts::declaration::topology;

use crate::support::{Echo, Shop, eventually};

/// A system of one service with one consumer, without declared messages.
fn system() -> System {
    let mut topology = topology().unwrap();
    topology.consumers.retain(|consumer| consumer.name == "order-service" && consumer.stream == "COMMANDS");
    System::new(topology)
}

/// A system's own check: its service publishes nothing.
async fn silent(queries: Queries) -> Decide {
    let service = "order-service";
    let request = stats::Request::default();
    let stats = queries.ask::<Stats>(service, stats::subject(service), &request).await;
    Box::new(move |_: &Observed| {
        let mut findings = Findings::default();
        let examined = findings.read(&stats).map_or(0, |stats| stats.examined);
        findings.violations.extend((examined > 0).then(|| Violation::of(service, "it publishes")));
        vec![(Check::new("silent", "It publishes nothing", examined, "it is silent".to_owned()), findings)]
    })
}

fn statuses(board: &Board) -> Vec<(&str, Status)> {
    board.checks.iter().map(|check| (check.name, check.status)).collect()
}

#[tokio::test]
async fn a_system_adds_its_own_checks_to_those_of_the_library() {
    let mut shop = Shop::start().await;
    let operator = Operator::connect(&shop.options("operator"), system()).await.unwrap();
    let mut watcher = Watcher::new(silent);
    let board = watcher.look(&operator).await;
    assert_eq!(statuses(&board)[0], ("silent", Status::Unknown));
    assert_eq!(board.checks[0].detail, "unknown: order-service does not run");

    let handler = Echo::default();
    let _service = shop.serve(handler.clone()).await;
    let passes = [("silent", Status::Pass), ("outboxes", Status::Pass)];
    let library = [("consumers", Status::Pass), ("dead-letters", Status::Pass)];
    let board = watcher.look(&operator).await;
    assert_eq!(statuses(&board), [passes, library].concat());
    let other =
        "the consumer account-service of COMMANDS belongs to no service of the topology: 0 messages pending";
    assert!(
        board.checks[2].detail.starts_with("no consumer lags; ") && board.checks[2].detail.contains(other),
        "{board:?}"
    );

    // Unless it is that of a projection.
    let projecting = system().projections("account-service", ["account-service"]);
    let operator_of_projections = Operator::connect(&shop.options("operator"), projecting).await.unwrap();
    let board = Watcher::new(silent).look(&operator_of_projections).await;
    assert!(!board.checks[2].detail.contains(other), "{board:?}");

    handler.barred.lock().unwrap().insert("K1".to_owned());
    shop.command("place", "K1").await;
    shop.has("DEAD_LETTERS", 1).await;
    let board = watcher.look(&operator).await;
    assert_eq!(statuses(&board)[0], ("silent", Status::Fail));
    assert_eq!(statuses(&board)[3], ("dead-letters", Status::Fail));

    shop.nats.kill().unwrap();
    eventually("the connection is down", || async { !operator.is_connected() }).await;
    let board = watcher.look(&operator).await;
    assert!(board.checks.iter().all(|check| check.status == Status::Unknown), "{board:#?}");
}
