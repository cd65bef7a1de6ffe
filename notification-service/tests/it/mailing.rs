//! Mail to a folder and to a mail server, on both databases.

use std::path::Path;
use std::time::Duration;

use choreography::Health;
use choreography::database::Watch;
use contracts::Currency;
use contracts::declaration::NotificationMessage;
use futures::future::{join, join_all};
use notification_service::entity::notification;
use notification_service::mail::MailDispatcher;
use notification_service::mail::transport::MailTransport;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, TransactionTrait};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::{Engine, Mail, TestDatabase, all, handle, handle_each, mail, notify, open};
use crate::given::{changed, confirmed, deleted, one_of_each};
use crate::on_both_databases;
use crate::smtp::{SmtpServer, header};

on_both_databases!(
    each_notification_is_one_mail_in_the_folder,
    a_mail_has_sender_recipient_subject_text_and_a_stable_id,
    a_mail_without_an_address_is_sent_when_the_account_arrives,
    a_customer_who_was_deleted_is_not_mailed,
    a_temporary_refusal_is_retried_and_counts_as_an_attempt,
    a_permanent_refusal_is_recorded_and_never_retried,
    an_invalid_address_is_recorded_and_blocks_no_other_mail,
    a_mail_server_that_is_unavailable_or_refuses_every_client_uses_up_no_attempts,
    a_mail_whose_outcome_a_crash_lost_is_sent_again_with_the_same_id,
    two_instances_send_each_mail_once,
    a_shutdown_awaits_mail_in_progress,
);

fn dispatcher(db: &DatabaseConnection, transport: MailTransport) -> MailDispatcher {
    let from = "Online Store <no-reply@store.example>".parse().unwrap();
    MailDispatcher { db: db.clone(), transport, from, committed: watch::Sender::new(()).subscribe() }
}

fn to_folder(db: &DatabaseConnection, folder: &Path) -> MailDispatcher {
    dispatcher(db, MailTransport::new(None, folder.to_owned()).unwrap())
}

fn to_server(db: &DatabaseConnection, server: &SmtpServer) -> MailDispatcher {
    dispatcher(db, MailTransport::new(Some(&server.url), "unused".into()).unwrap())
}

fn unwatched() -> Watch {
    Watch::new(&Health::default(), "worker/mail")
}

async fn deliver(dispatcher: &MailDispatcher) -> anyhow::Result<Duration> {
    dispatcher.deliver_due(&unwatched(), &CancellationToken::new()).await
}

pub(crate) fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

fn ada() -> NotificationMessage {
    changed("C1", 1, "Ada Lovelace", "ada@example.org")
}

fn notified(order: &str) -> NotificationMessage {
    NotificationMessage::Notify(confirmed(order, "C1", 123_456, Currency::EUR))
}

/// Makes every next attempt due.
async fn wait_until_due(db: &DatabaseConnection) {
    use sea_orm::{ColumnTrait, QueryFilter};
    notification::Entity::update_many()
        .col_expr(notification::Column::NextAttemptAt, Expr::value(1_i64))
        .filter(notification::Column::NextAttemptAt.is_not_null())
        .exec(db)
        .await
        .unwrap();
}

async fn each_notification_is_one_mail_in_the_folder(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let folder = database.folder.0.join("some/where");
    handle_each(&database.db, vec![ada()]).await;
    handle(&database.db, &one_of_each("C1").into_iter().map(notify).collect::<Vec<_>>()).await.unwrap();
    // More than one batch.
    handle_each(&database.db, (0..20).map(|index| notified(&format!("O{index}"))).collect()).await;
    let dispatcher = to_folder(&database.db, &folder);
    deliver(&dispatcher).await.unwrap();
    deliver(&dispatcher).await.unwrap();
    let rows = all(&database.db).await;
    assert!(rows.iter().all(|row| mail(row) == Mail::Delivered && row.attempts == 1 && row.failure.is_none()));
    let mut sent: Vec<_> = files(&folder).iter().map(|mail| header(mail, "Message-ID").to_owned()).collect();
    sent.sort();
    let mut expected: Vec<_> = rows.iter().map(|row| format!("<{}@store.example>", row.event_id)).collect();
    expected.sort();
    assert_eq!(sent, expected);
}

async fn a_mail_has_sender_recipient_subject_text_and_a_stable_id(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    let zoe = changed("C1", 1, "Zoë \"Z\" <x@evil.example>", "zoe@example.org");
    handle_each(&database.db, vec![zoe, notified("O1")]).await;
    deliver(&to_server(&database.db, &server)).await.unwrap();
    let row = all(&database.db).await.remove(0);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(header(&mails[0], "Message-ID"), format!("<{}@store.example>", row.event_id));
    assert_eq!(header(&mails[0], "Subject"), "Your order O1 is confirmed");
    assert_eq!(header(&mails[0], "From"), "\"Online Store\" <no-reply@store.example>");
    assert!(header(&mails[0], "To").ends_with("<zoe@example.org>"), "{}", mails[0]);
    assert_eq!(header(&mails[0], "Auto-Submitted"), "auto-generated");
    assert!(mails[0].contains("The total is 1234.56 EUR."), "{}", mails[0]);
    assert!(mails[0].is_ascii());
}

async fn a_mail_without_an_address_is_sent_when_the_account_arrives(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let (folder, dispatcher) =
        (database.folder.0.join("mail"), to_folder(&database.db, &database.folder.0.join("mail")));
    handle_each(&database.db, vec![notified("O1")]).await;
    deliver(&dispatcher).await.unwrap();
    assert_eq!(files(&folder).len(), 0);
    assert_eq!(mail(&all(&database.db).await[0]), Mail::Waits);
    handle_each(&database.db, vec![ada()]).await;
    deliver(&dispatcher).await.unwrap();
    // Another change of the account sends no mail again.
    handle_each(&database.db, vec![changed("C1", 2, "Ada King", "ada@example.org")]).await;
    deliver(&dispatcher).await.unwrap();
    let sent = files(&folder);
    assert_eq!(sent.len(), 1);
    assert!(header(&sent[0], "To").contains("ada@example.org"));
}

async fn a_customer_who_was_deleted_is_not_mailed(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let folder = database.folder.0.join("mail");
    handle_each(&database.db, vec![ada(), notified("O1"), deleted("C1", 2), notified("O2")]).await;
    deliver(&to_folder(&database.db, &folder)).await.unwrap();
    assert_eq!(files(&folder), Vec::<String>::new());
}

async fn a_temporary_refusal_is_retried_and_counts_as_an_attempt(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1")]).await;
    let dispatcher = to_server(&database.db, &server);
    server.reply_to_recipients(&["451 come back later", "452 and later"]);
    for attempt in 1..=2 {
        let wait = deliver(&dispatcher).await.unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(attempt), "{wait:?}");
        let row = all(&database.db).await.remove(0);
        assert_eq!((mail(&row), row.attempts), (Mail::Due, i64::try_from(attempt).unwrap()));
        assert!(row.failure.unwrap().contains("later"));
        let wait = deliver(&dispatcher).await.unwrap();
        assert!(wait > Duration::ZERO, "not before the next attempt");
        assert_eq!(all(&database.db).await[0].attempts, i64::try_from(attempt).unwrap());
        wait_until_due(&database.db).await;
    }
    deliver(&dispatcher).await.unwrap();
    let row = all(&database.db).await.remove(0);
    assert_eq!((mail(&row), row.attempts, row.failure), (Mail::Delivered, 3, None));
    assert_eq!(server.mails().len(), 1);
}

async fn a_permanent_refusal_is_recorded_and_never_retried(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1")]).await;
    server.reply_to_recipients(&["550 no such user"]);
    let dispatcher = to_server(&database.db, &server);
    deliver(&dispatcher).await.unwrap();
    let connections = server.connections();
    wait_until_due(&database.db).await;
    handle_each(&database.db, vec![changed("C1", 2, "Ada", "ada@example.com")]).await;
    deliver(&dispatcher).await.unwrap();
    let row = all(&database.db).await.remove(0);
    assert_eq!((mail(&row), row.attempts), (Mail::Failed, 1));
    assert!(row.failure.as_deref().unwrap().contains("no such user"), "{row:?}");
    assert_eq!((server.mails().len(), server.connections()), (0, connections));
}

async fn an_invalid_address_is_recorded_and_blocks_no_other_mail(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    let odd = changed("C2", 1, "Odd", "a..b@example.org");
    let other = NotificationMessage::Notify(confirmed("O2", "C2", 1, Currency::EUR));
    handle_each(&database.db, vec![ada(), odd, notified("O1"), other]).await;
    deliver(&to_server(&database.db, &server)).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Delivered, Mail::Failed]);
    assert_eq!(server.mails().len(), 1);
}

async fn a_mail_server_that_is_unavailable_or_refuses_every_client_uses_up_no_attempts(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1")]).await;
    let unavailable = MailTransport::new(Some("smtp://127.0.0.1:1"), "unused".into()).unwrap();
    deliver(&dispatcher(&database.db, unavailable)).await.unwrap_err();
    let dispatcher = to_server(&database.db, &server);
    for greeting in ["421 too busy", "554 you are on a list"] {
        server.greet(Some(greeting));
        let error = deliver(&dispatcher).await.unwrap_err();
        assert!(error.to_string().contains(&greeting[4..]), "{error:#}");
    }
    let row = all(&database.db).await.remove(0);
    assert_eq!((mail(&row), row.attempts), (Mail::Due, 0));
    server.greet(None);
    deliver(&dispatcher).await.unwrap();
    assert_eq!(mail(&all(&database.db).await[0]), Mail::Delivered);
}

async fn a_mail_whose_outcome_a_crash_lost_is_sent_again_with_the_same_id(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1")]).await;
    server.stop_responding_after_data(true);
    let crashing = to_server(&database.db, &server);
    let sending = tokio::spawn(async move { deliver(&crashing).await });
    while server.mails().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    server.stop_responding_after_data(false);

    // A change of the account does not make the mail due again.
    handle_each(&database.db, vec![changed("C1", 2, "Ada Lovelace", "ada@example.org")]).await;
    let dispatcher = to_server(&database.db, &server);
    let wait = deliver(&dispatcher).await.unwrap();
    assert!(wait > Duration::from_secs(100), "another instance may still hold the lease: {wait:?}");
    let row = all(&database.db).await.remove(0);
    assert_eq!((mail(&row), row.attempts), (Mail::Due, 1));
    wait_until_due(&database.db).await;
    deliver(&dispatcher).await.unwrap();
    let row = all(&database.db).await.remove(0);
    assert_eq!((mail(&row), row.attempts), (Mail::Delivered, 2));
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1], "both mails are identical");
}

async fn two_instances_send_each_mail_once(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada()]).await;
    let batch: Vec<_> =
        (0..60).map(|index| notify(confirmed(&format!("O{index}"), "C1", 1, Currency::EUR))).collect();
    handle(&database.db, &batch).await.unwrap();
    let other = open(&database.url).await;
    let (ours, theirs) = (to_server(&database.db, &server), to_server(&other, &server));
    let (ours, theirs) = join(deliver(&ours), deliver(&theirs)).await;
    ours.unwrap();
    theirs.unwrap();
    let mails = server.mails();
    let mut ids: Vec<_> = mails.iter().map(|mail| header(mail, "Message-ID")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), mails.len()), (60, 60));
    assert!(all(&database.db).await.iter().all(|row| mail(row) == Mail::Delivered && row.attempts == 1));
}

#[tokio::test]
async fn mail_that_another_instance_is_leasing_is_skipped_without_waiting() {
    let (database, server) = (TestDatabase::new(Engine::Postgres).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1"), notified("O2")]).await;
    let first = all(&database.db).await.remove(0);
    let theirs = database.db.begin().await.unwrap();
    let row = notification::ActiveModel { next_attempt_at: Set(Some(i64::MAX)), ..first.into() };
    row.update(&theirs).await.unwrap();
    let ours = to_server(&database.db, &server);
    let wait = tokio::time::timeout(Duration::from_secs(10), deliver(&ours)).await.unwrap().unwrap();
    assert!(wait < Duration::from_secs(1), "{wait:?}");
    theirs.commit().await.unwrap();
    deliver(&ours).await.unwrap();
    let rows = all(&database.db).await;
    assert_eq!(rows.iter().map(mail).collect::<Vec<_>>(), [Mail::Due, Mail::Delivered]);
    assert_eq!(server.mails().len(), 1);
}

async fn a_shutdown_awaits_mail_in_progress(engine: Engine) {
    let (database, server) = (TestDatabase::new(engine).await, SmtpServer::start().await);
    handle_each(&database.db, vec![ada(), notified("O1"), notified("O2")]).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(to_server(&database.db, &server).run(unwatched(), shutdown.clone()));
    while server.connections() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shutdown.cancel();
    running.await.unwrap();
    // Each mail is either not started, or sent and recorded.
    let rows = all(&database.db).await;
    let sent = rows.iter().filter(|row| mail(row) == Mail::Delivered).count();
    assert_eq!(server.mails().len(), sent);
    assert!(rows.iter().all(|row| (row.attempts == 1) == (mail(row) == Mail::Delivered)), "{rows:?}");
}

#[tokio::test]
async fn an_invalid_mail_server_url_is_refused_without_its_password_in_the_error() {
    for url in ["http://user:secret@host", "smtp://user:secret@", "secret"] {
        let error = format!("{:#}", MailTransport::new(Some(url), "unused".into()).unwrap_err());
        assert!(error.contains("--smtp-url") && !error.contains("secret"), "{error}");
    }
    let urls = ["smtps://user:secret@host", "smtp://user:secret@host:25?tls=required"];
    join_all(urls.map(|url| async move { MailTransport::new(Some(url), "unused".into()).unwrap() })).await;
}
