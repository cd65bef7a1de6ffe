//! The notifications in the database, on both engines.

use contracts::Currency;
use contracts::declaration::NotificationMessage;
use contracts::order::CancelReason;
use futures::future::join;
use notification_service::entity::customer;
use sea_orm::EntityTrait;

use crate::database::{
    Engine, Mail, TestDatabase, all, envelope, handle, handle_again, handle_each, mail, notify, open,
};
use crate::given::{awaiting, cancelled, changed, confirmed, deleted, one_of_each};
use crate::on_both_databases;

on_both_databases!(
    each_event_is_notified_once_in_the_order_of_arrival,
    an_event_that_is_repeated_after_the_inbox_has_forgotten_it_is_not_notified_again,
    a_notification_before_its_account_awaits_it,
    an_account_in_a_batch_has_its_name_in_later_texts_and_its_address_in_all_mails,
    only_newer_versions_change_a_customer,
    a_deleted_customer_gets_no_mail_and_the_name_and_address_are_removed,
    an_account_that_is_created_again_gets_new_mail_and_not_abandoned_mail,
    a_change_of_one_customer_does_not_affect_mail_of_others,
    a_full_batch_is_notified_completely,
    a_reader_after_the_last_sequence_misses_nothing_of_two_instances,
);

async fn each_event_is_notified_once_in_the_order_of_arrival(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let batch: Vec<_> = one_of_each("C1").into_iter().map(notify).collect();
    handle(&database.db, &batch).await.unwrap();
    let rows = all(&database.db).await;
    let notified: Vec<_> =
        rows.iter().map(|row| (row.sequence, row.order_id.as_str(), row.message_type.as_str())).collect();
    assert_eq!(
        notified,
        [
            (1, "O1", "order.awaiting-stock.v1"),
            (2, "O2", "order.confirmed.v1"),
            (3, "O3", "order.cancelled.v1"),
            (4, "O4", "payment.refunded.v1"),
        ]
    );
    assert!(rows.iter().zip(&batch).all(|(row, message)| row.event_id == message.id && row.customer_id == "C1"));
}

async fn an_event_that_is_repeated_after_the_inbox_has_forgotten_it_is_not_notified_again(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let first: Vec<_> = one_of_each("C1").into_iter().map(notify).collect();
    handle_again(&database.db, &first).await.unwrap();
    let before = all(&database.db).await;
    let new = notify(confirmed("O9", "C1", 1, Currency::EUR));
    handle_again(&database.db, &[first[2].clone(), new.clone(), first[0].clone()]).await.unwrap();
    let after = all(&database.db).await;
    assert_eq!(after[..4], before);
    assert_eq!(after.len(), 5);
    assert_eq!(after[4].event_id, new.id);
    assert!(after[4].sequence > before[3].sequence);
}

async fn a_notification_before_its_account_awaits_it(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle(&database.db, &[notify(confirmed("O1", "C1", 1000, Currency::EUR))]).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(mail(&rows[0]), Mail::Waits);
    assert!(rows[0].text.starts_with("Dear customer,"));
    handle_each(&database.db, vec![changed("C1", 1, "Ada", "ada@example.org")]).await;
    let rows = all(&database.db).await;
    assert_eq!(mail(&rows[0]), Mail::Due);
    assert!(rows[0].text.starts_with("Dear customer,"), "a text is not written again");
    handle(&database.db, &[notify(confirmed("O2", "C1", 1000, Currency::EUR))]).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(mail(&rows[1]), Mail::Due);
    assert!(rows[1].text.starts_with("Dear Ada,"));
}

async fn an_account_in_a_batch_has_its_name_in_later_texts_and_its_address_in_all_mails(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let batch = [
        notify(awaiting("O1", "C1", &["CUP"])),
        envelope(changed("C1", 1, "Ada", "ada@example.org")),
        notify(confirmed("O1", "C1", 1000, Currency::EUR)),
    ];
    handle(&database.db, &batch).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Due, Mail::Due]);
    assert!(rows[0].text.starts_with("Dear customer,"));
    assert!(rows[1].text.starts_with("Dear Ada,"));
}

async fn customers(database: &TestDatabase) -> Vec<(String, i64, bool, Option<String>, Option<String>)> {
    let rows = customer::Entity::find().all(&database.db).await.unwrap();
    rows.into_iter().map(|row| (row.customer_id, row.version, row.deleted, row.name, row.email)).collect()
}

async fn only_newer_versions_change_a_customer(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let second = changed("C1", 2, "Second", "second@example.org");
    for batch in [vec![second.clone()], vec![changed("C1", 1, "First", "first@example.org"), second.clone()]] {
        let batch: Vec<_> = batch.into_iter().map(envelope).collect();
        handle(&database.db, &batch).await.unwrap();
    }
    let second = ("C1".into(), 2, false, Some("Second".into()), Some("second@example.org".into()));
    assert_eq!(customers(&database).await, [second]);
    handle_each(&database.db, vec![deleted("C1", 4), changed("C1", 3, "Third", "third@example.org")]).await;
    assert_eq!(customers(&database).await, [("C1".into(), 4, true, None, None)]);
}

async fn a_deleted_customer_gets_no_mail_and_the_name_and_address_are_removed(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let confirmed = |order| NotificationMessage::Notify(confirmed(order, "C1", 1000, Currency::EUR));
    let account = changed("C1", 1, "Ada", "ada@example.org");
    handle_each(&database.db, vec![account, confirmed("O1"), deleted("C1", 2), confirmed("O2")]).await;
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Failed, Mail::Failed]);
    assert!(rows.iter().all(|row| row.failure.as_deref() == Some("the account was deleted")));
    assert_eq!(customers(&database).await, [("C1".into(), 2, true, None, None)]);
}

async fn an_account_that_is_created_again_gets_new_mail_and_not_abandoned_mail(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let confirmed = |order| NotificationMessage::Notify(confirmed(order, "C1", 1000, Currency::EUR));
    let back = changed("C1", 3, "Eve", "eve@example.org");
    handle_each(&database.db, vec![deleted("C1", 2), confirmed("O1"), back, confirmed("O2")]).await;
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Failed, Mail::Due]);
}

async fn a_change_of_one_customer_does_not_affect_mail_of_others(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let confirmed = |customer| NotificationMessage::Notify(confirmed("O1", customer, 1000, Currency::EUR));
    handle_each(&database.db, ["C1", "C2", "C3"].map(confirmed).to_vec()).await;
    let accounts = [changed("C2", 1, "Ada", "ada@example.org"), deleted("C3", 7)];
    handle(&database.db, &accounts.map(envelope)).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Waits, Mail::Due, Mail::Failed]);
}

async fn a_full_batch_is_notified_completely(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let batch: Vec<_> = (0..256)
        .map(|index| match index % 3 {
            0 => envelope(changed(&format!("C{index}"), 1, "Ada", "ada@example.org")),
            _ => {
                let (order, customer) = (format!("O{index}"), format!("C{}", index - index % 3));
                notify(cancelled(&order, &customer, CancelReason::StockDeadline))
            }
        })
        .collect();
    handle(&database.db, &batch).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(rows.len(), 170);
    assert!(rows.iter().all(|row| mail(row) == Mail::Due && row.text.starts_with("Dear Ada,")));
}

async fn a_reader_after_the_last_sequence_misses_nothing_of_two_instances(engine: Engine) {
    const BATCHES: usize = 40;
    let database = TestDatabase::new(engine).await;
    let write = |name: &'static str| {
        let url = database.url.clone();
        async move {
            let db = open(&url).await;
            for index in 0..BATCHES {
                let order = format!("{name}{index}");
                let batch: Vec<_> =
                    (0..=index % 5).map(|_| notify(confirmed(&order, "C1", 1, Currency::EUR))).collect();
                handle(&db, &batch).await.unwrap();
            }
            db.close().await.unwrap();
        }
    };
    let writing = tokio::spawn(join(write("A"), write("B")));
    let expected = 2 * (0..BATCHES).map(|index| index % 5 + 1).sum::<usize>();
    let (mut last, mut read) = (0, Vec::new());
    while read.len() < expected {
        let over = writing.is_finished();
        let rows: Vec<_> = all(&database.db).await.into_iter().filter(|row| row.sequence > last).collect();
        assert!(!(over && rows.is_empty()), "missed {} of {expected}", expected - read.len());
        last = rows.last().map_or(last, |row| row.sequence);
        read.extend(rows);
    }
    writing.await.unwrap();
    assert_eq!(read, all(&database.db).await);
}
