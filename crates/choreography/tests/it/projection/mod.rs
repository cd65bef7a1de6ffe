//! Projections: no event is skipped, and none is applied twice.

mod board;

use choreography::projection::admin::{Action, State};
use choreography::query::AskError;
use choreography_test::nats::StreamCopy;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Engine, eventually};
use board::{Board, NextTotals, StreamTotals, Totals};

on_both_databases!(
    a_new_projection_reads_the_history_and_then_the_stream,
    a_projection_that_is_killed_during_its_backfill_continues_after_its_last_transaction,
    an_event_that_comes_twice_changes_nothing_and_a_missing_one_is_read_from_the_event_store,
    an_event_that_is_nowhere_stops_the_projection_until_it_is_restored,
    an_event_that_cannot_be_applied_stops_the_projection_after_those_before_it,
    an_unreadable_message_stops_the_projection_only_if_it_is_in_a_history,
    a_new_version_is_built_beside_the_old_one_and_switched_and_the_old_one_can_be_rebuilt_and_dropped,
    a_paused_projection_reads_nothing_and_continues_when_it_is_started,
    what_the_stream_has_deleted_is_read_from_the_event_store,
    a_recreated_stream_is_read_after_the_history,
    a_stream_that_returns_to_an_earlier_state_is_read_after_the_history,
    messages_without_an_event_store_are_read_from_the_beginning_of_the_stream_each_once,
);

async fn a_new_projection_reads_the_history_and_then_the_stream(engine: Engine) {
    let board = Board::new(engine).await;
    board.record_all(40, 30).await;
    // In the stream before the projection begins, and in the history.
    board.publish("C0", 30).await;
    let service = board.start(Totals).await;
    board.contains(1, 40, 1200).await;
    let status = board.status(1).await.unwrap();
    assert!(status.is_active && status.as_of.is_some() && status.lag_messages == 0, "{status:?}");
    assert_eq!((status.history_total, status.history_read, status.applied), (1200, 1200, 1200));
    board.both("C0", 31).await;
    board.both("NEW", 1).await;
    board.contains(1, 41, 1202).await;
    service.stop().await.0.unwrap();
    board.both("NEW", 2).await;
    let service = board.start(Totals).await;
    board.contains(1, 41, 1203).await;
    service.stop().await.0.unwrap();
}

async fn a_projection_that_is_killed_during_its_backfill_continues_after_its_last_transaction(engine: Engine) {
    let board = Board::new(engine).await;
    board.record_all(100, 40).await;
    for kill in 0..6_i64 {
        let service = board.start(Totals).await;
        eventually("the backfill goes on", || async {
            let read = "SELECT history_read FROM projections";
            let backend = board.db.get_database_backend();
            let row = board.db.query_one_raw(sea_orm::Statement::from_string(backend, read)).await.unwrap();
            row.is_some_and(|row| row.try_get_by_index::<i64>(0).unwrap() > kill * 500)
        })
        .await;
        service.crash().await;
        // Events are recorded while it is down: before and after its cursor.
        board.both("C0", 41 + kill).await;
        board.both("C99", 41 + kill).await;
    }
    let service = board.start(Totals).await;
    board.contains(1, 100, 4012).await;
    service.stop().await.0.unwrap();
}

async fn an_event_that_comes_twice_changes_nothing_and_a_missing_one_is_read_from_the_event_store(engine: Engine) {
    let board = Board::new(engine).await;
    let service = board.start(Totals).await;
    board.is(1, State::Live).await;
    board.both("A", 1).await;
    board.publish("A", 1).await;
    // 2 and 3 never reach the stream; 4 is early.
    for version in 2..=4 {
        board.record("A", version).await;
    }
    board.publish("A", 4).await;
    board.publish("A", 2).await;
    board.both("A", 5).await;
    board.contains(1, 1, 5).await;
    let status = board.status(1).await.unwrap();
    assert_eq!((status.applied, status.duplicates, status.repaired), (5, 2, 2), "{status:?}");
    service.stop().await.0.unwrap();
}

async fn an_event_that_is_nowhere_stops_the_projection_until_it_is_restored(engine: Engine) {
    let board = Board::new(engine).await;
    let service = board.start(Totals).await;
    board.is(1, State::Live).await;
    board.both("A", 1).await;
    board.both("A", 3).await;
    board.is(1, State::Failed).await;
    let detail = board.status(1).await.unwrap().detail.unwrap();
    assert!(detail.contains("version 3 of counter A follows version 1"), "{detail}");
    eventually("readiness reports it", || async { service.readiness().await.1.contains("follows version 1") })
        .await;
    board.record("A", 2).await;
    board.ask(Action::Start, 1).await.unwrap();
    board.contains(1, 1, 3).await;
    service.stop().await.0.unwrap();
}

async fn an_event_that_cannot_be_applied_stops_the_projection_after_those_before_it(engine: Engine) {
    let board = Board::new(engine).await;
    board.record_all(10, 3).await;
    board.db.execute_unprepared("INSERT INTO broken VALUES ('C7')").await.unwrap();
    let service = board.start(Totals).await;
    board.is(1, State::Failed).await;
    let status = board.status(1).await.unwrap();
    assert_eq!(status.applied, 21, "C0 to C6");
    assert!(status.detail.unwrap().contains("event 1 of counter C7 cannot be applied: C7 is broken"));
    service.stop().await.0.unwrap();
    board.db.execute_unprepared("DELETE FROM broken").await.unwrap();
    // A new start of the process retries it.
    let service = board.start(Totals).await;
    board.contains(1, 10, 30).await;
    service.stop().await.0.unwrap();
}

async fn an_unreadable_message_stops_the_projection_only_if_it_is_in_a_history(engine: Engine) {
    let board = Board::new(engine).await;
    let service = board.start(Totals).await;
    board.publish_unreadable("A", None).await;
    board.both("A", 1).await;
    board.contains(1, 1, 1).await;
    board.publish_unreadable("A", Some(2)).await;
    board.is(1, State::Failed).await;
    let detail = board.status(1).await.unwrap().detail.unwrap();
    assert!(detail.contains("counter.added.v1 has a body that cannot be read"), "{detail}");
    service.stop().await.0.unwrap();
}

async fn a_new_version_is_built_beside_the_old_one_and_switched_and_the_old_one_can_be_rebuilt_and_dropped(
    engine: Engine,
) {
    let board = Board::new(engine).await;
    board.record_all(20, 20).await;
    let service = board.start(Totals).await;
    board.contains(1, 20, 400).await;
    service.stop().await.0.unwrap();

    let service = board.launch(board.service().await.projection(Totals).projection(NextTotals)).await;
    board.both("C0", 21).await;
    board.contains(2, 20, 401).await;
    board.contains(1, 20, 401).await;
    assert!(
        board.is_active(2).await && !board.is_active(1).await,
        "the new version is switched when it has caught up"
    );

    // The old version is rebuilt while the new one follows the stream.
    board.ask(Action::Rebuild, 1).await.unwrap();
    for version in 22..=60 {
        board.both("C0", version).await;
    }
    board.contains(1, 20, 440).await;
    board.contains(2, 20, 440).await;
    assert!(board.is_active(2).await, "a rebuild of an old version does not switch");

    board.ask(Action::Switch, 1).await.unwrap();
    assert!(board.is_active(1).await && !board.is_active(2).await);
    let refused = board.ask(Action::Drop, 1).await.unwrap_err();
    assert!(matches!(&refused, AskError::Invalid(why) if why.contains("is the active version")), "{refused}");
    board.ask(Action::Switch, 2).await.unwrap();
    board.ask(Action::Drop, 1).await.unwrap();
    board.is(1, State::Dropped).await;
    assert!(board.db.execute_unprepared("SELECT * FROM totals_v1").await.is_err(), "its tables are dropped");
    board.ask(Action::Start, 1).await.unwrap();
    board.contains(1, 20, 440).await;
    let unknown = board.ask(Action::Pause, 9).await.unwrap_err();
    assert!(matches!(&unknown, AskError::NotFound(why) if why.contains("totals-v9")), "{unknown}");
    service.stop().await.0.unwrap();
}

async fn a_paused_projection_reads_nothing_and_continues_when_it_is_started(engine: Engine) {
    let board = Board::new(engine).await;
    let service = board.start(Totals).await;
    board.both("A", 1).await;
    board.contains(1, 1, 1).await;
    board.ask(Action::Pause, 1).await.unwrap();
    board.both("A", 2).await;
    eventually("readiness reports it", || async { service.readiness().await.1.contains("paused") }).await;
    let status = board.status(1).await.unwrap();
    assert_eq!((status.state, status.applied), (State::Paused, 1));
    board.ask(Action::Start, 1).await.unwrap();
    board.contains(1, 1, 2).await;
    // An operation that changes nothing does not interrupt it.
    let epoch = || board.number("SELECT epoch FROM projections");
    let before = epoch().await;
    for action in [Action::Start, Action::Switch, Action::List] {
        board.ask(action, 1).await.unwrap();
    }
    assert_eq!(epoch().await, before);
    service.stop().await.0.unwrap();
}

async fn what_the_stream_has_deleted_is_read_from_the_event_store(engine: Engine) {
    let board = Board::new(engine).await;
    let service = board.start(Totals).await;
    board.both("A", 1).await;
    board.contains(1, 1, 1).await;
    service.stop().await.0.unwrap();
    board.both("A", 2).await;
    board.both("B", 1).await;
    board.bench.stream("EVENTS").await.purge().await.unwrap();
    let service = board.start(Totals).await;
    // B has no later event that would show the gap.
    board.contains(1, 2, 3).await;
    service.stop().await.0.unwrap();
}

async fn a_recreated_stream_is_read_after_the_history(engine: Engine) {
    let board = Board::new(engine).await;
    for version in 1..=5 {
        board.both("A", version).await;
    }
    let service = board.start(Totals).await;
    board.contains(1, 1, 5).await;
    let config = board.bench.stream("EVENTS").await.cached_info().config.clone();
    service.stop().await.0.unwrap();
    board.record("A", 6).await;
    board.bench.js.delete_stream("EVENTS").await.unwrap();
    board.bench.js.create_stream(config).await.unwrap();
    board.both("A", 7).await;
    let service = board.start(Totals).await;
    board.contains(1, 1, 7).await;
    board.both("A", 8).await;
    board.contains(1, 1, 8).await;
    service.stop().await.0.unwrap();
}

async fn a_stream_that_returns_to_an_earlier_state_is_read_after_the_history(engine: Engine) {
    let mut board = Board::new(engine).await;
    let service = board.start(Totals).await;
    for version in 1..=5 {
        board.both("A", version).await;
    }
    board.contains(1, 1, 5).await;
    board.bench.nats.kill().unwrap();
    let older = StreamCopy::take(board.bench.nats.store_dir(), "EVENTS").unwrap();
    board.bench.nats.restart().await.unwrap();
    for version in 6..=10 {
        board.both("A", version).await;
    }
    board.contains(1, 1, 10).await;

    // The projection is ahead of the stream.
    board.bench.nats.kill().unwrap();
    older.restore().unwrap();
    board.bench.nats.restart().await.unwrap();
    assert_eq!(board.bench.stream("EVENTS").await.cached_info().state.last_sequence, 5);
    board.both("B", 1).await;
    board.contains(1, 2, 11).await;
    service.stop().await.0.unwrap();

    // The stream has grown beyond its position meanwhile.
    board.bench.nats.kill().unwrap();
    older.restore().unwrap();
    board.bench.nats.restart().await.unwrap();
    // C has no later event that would show the gap.
    board.both("C", 1).await;
    for version in 1..=9 {
        board.both("D", version).await;
    }
    let service = board.start(Totals).await;
    board.contains(1, 4, 21).await;
    board.both("D", 10).await;
    board.contains(1, 4, 22).await;
    service.stop().await.0.unwrap();
}

async fn messages_without_an_event_store_are_read_from_the_beginning_of_the_stream_each_once(engine: Engine) {
    let board = Board::new(engine).await;
    let id = Uuid::now_v7();
    board.publish_as(id, "A", 1).await;
    board.publish("A", 2).await;
    board.publish_as(id, "A", 1).await;
    let service = board.start(StreamTotals).await;
    board.contains(3, 1, 2).await;
    // A rebuild applies them again, although the inbox contains them.
    board.ask(Action::Rebuild, 3).await.unwrap();
    board.contains(3, 1, 2).await;
    assert_eq!(board.status(3).await.unwrap().duplicates, 1);
    service.stop().await.0.unwrap();
}
