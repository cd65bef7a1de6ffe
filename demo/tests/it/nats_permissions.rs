//! The permissions of each user in `nats.conf`.

mod shop;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use async_nats::ConnectOptions;

use shop::Shop;

/// The users that have a permission, by subject; no other user has it.
type Rules = BTreeMap<String, BTreeSet<&'static str>>;

const GATEWAY: &str = "api-gateway";
const ORDERS: &str = "order-service";
const STOCK: &str = "inventory-service";
const ACCOUNTS: &str = "account-service";
const PAYMENTS: &str = "payment-service";
const NOTICES: &str = "notification-service";
const PROJECTIONS: &str = "projection-service";
const IDENTITY: &str = "identity-service";
const PROVISIONER: &str = "provisioner";
const INSPECTOR: &str = "inspector";
const OPERATOR: &str = "operator";

/// The users that may publish on a subject.
///
/// [`publishers`] adds `provisioner`, which may use the whole API of JetStream, and the rules that follow from the
/// topology.
const PUBLISHERS: &[(&str, &[&str])] = &[
    ("order.command.place.ORDER_001", &[GATEWAY]),
    ("inventory.command.restock.KETTLE", &[GATEWAY]),
    ("account.command.create.CUSTOMER_001", &[GATEWAY]),
    ("identity.command.grant-role.USER_001", &[GATEWAY]),
    ("payment.command.capture.ORDER_001", &[]),
    ("notification.command.send.CUSTOMER_001", &[]),
    ("order.event.placed.ORDER_001", &[ORDERS]),
    ("inventory.event.reserved.ORDER_001", &[STOCK]),
    ("account.event.changed.CUSTOMER_001", &[ACCOUNTS]),
    ("payment.event.captured.ORDER_001", &[PAYMENTS]),
    ("identity.event.rights-changed.USER_001", &[IDENTITY]),
    ("notification.event.sent.CUSTOMER_001", &[]),
    ("order.schedule.stock-deadline.ORDER_001", &[ORDERS]),
    ("payment.schedule.deadline.ORDER_001", &[]),
    // Only nats-server publishes here, when a schedule is due.
    ("order.timer.stock-deadline.ORDER_001", &[]),
    ("order.query.get.ORDER_001", &[GATEWAY, OPERATOR]),
    ("order.query.history.ORDER_001", &[GATEWAY, OPERATOR]),
    ("order.query.events", &[GATEWAY, PROJECTIONS]),
    ("projection.query.orders", &[GATEWAY]),
    ("inventory.query.product.KETTLE", &[GATEWAY]),
    ("inventory.query.products", &[GATEWAY]),
    ("account.query.get.CUSTOMER_001", &[GATEWAY, PAYMENTS]),
    ("account.query.snapshot", &[PAYMENTS]),
    ("payment.query.get.ORDER_001", &[GATEWAY]),
    ("notification.query.list.CUSTOMER_001", &[GATEWAY]),
    ("identity.query.sign-in", &[GATEWAY]),
    ("identity.query.user.USER_001", &[GATEWAY]),
    ("order.query.reconciliation", &[GATEWAY, OPERATOR]),
    ("inventory.query.reconciliation", &[GATEWAY, OPERATOR]),
    ("payment.query.reconciliation", &[GATEWAY, OPERATOR]),
    ("notification.query.reconciliation", &[GATEWAY, OPERATOR]),
    ("$SRV.PING", &[INSPECTOR]),
    ("$SRV.PING.payment-service", &[GATEWAY, INSPECTOR]),
    ("$SRV.INFO.payment-service", &[INSPECTOR]),
    ("$KV.IDEMPOTENCY.key", &[GATEWAY]),
    ("$JS.API.INFO", &[GATEWAY, INSPECTOR]),
    ("$JS.API.STREAM.LIST", &[INSPECTOR]),
    ("$JS.API.STREAM.NAMES", &[INSPECTOR]),
    ("$JS.API.STREAM.INFO.COMMANDS", &[GATEWAY, ORDERS, STOCK, ACCOUNTS, IDENTITY, INSPECTOR, OPERATOR]),
    (
        "$JS.API.STREAM.INFO.EVENTS",
        &[GATEWAY, ORDERS, STOCK, ACCOUNTS, PAYMENTS, NOTICES, PROJECTIONS, IDENTITY, INSPECTOR, OPERATOR],
    ),
    ("$JS.API.STREAM.INFO.TIMERS", &[GATEWAY, ORDERS, INSPECTOR, OPERATOR]),
    ("$JS.API.STREAM.INFO.DEAD_LETTERS", &[GATEWAY, INSPECTOR, OPERATOR]),
    ("$JS.API.STREAM.INFO.KV_IDEMPOTENCY", &[GATEWAY, INSPECTOR]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.order-search-v1", &[PROJECTIONS]),
    ("$JS.API.CONSUMER.DELETE.EVENTS.order-search-v1", &[PROJECTIONS]),
    ("$JS.API.CONSUMER.LIST.COMMANDS", &[GATEWAY, INSPECTOR, OPERATOR]),
    ("$JS.API.CONSUMER.LIST.EVENTS", &[GATEWAY, INSPECTOR, OPERATOR]),
    ("$JS.API.CONSUMER.LIST.TIMERS", &[GATEWAY, INSPECTOR, OPERATOR]),
    ("$JS.API.CONSUMER.LIST.DEAD_LETTERS", &[INSPECTOR]),
    ("$JS.API.CONSUMER.LIST.KV_IDEMPOTENCY", &[INSPECTOR]),
    ("$JS.API.DIRECT.GET.EVENTS", &[GATEWAY, PAYMENTS, PROJECTIONS, INSPECTOR, OPERATOR]),
    ("$JS.API.DIRECT.GET.EVENTS.order.event.placed.ORDER_001", &[INSPECTOR]),
    ("$JS.API.DIRECT.GET.COMMANDS", &[GATEWAY, INSPECTOR, OPERATOR]),
    ("$JS.API.DIRECT.GET.TIMERS", &[GATEWAY, INSPECTOR, OPERATOR]),
    (
        "$JS.API.DIRECT.GET.DEAD_LETTERS",
        &[ORDERS, STOCK, ACCOUNTS, PAYMENTS, NOTICES, PROJECTIONS, IDENTITY, INSPECTOR, OPERATOR],
    ),
    ("$JS.API.DIRECT.GET.KV_IDEMPOTENCY", &[INSPECTOR]),
    ("$JS.API.DIRECT.GET.KV_IDEMPOTENCY.$KV.IDEMPOTENCY.key", &[GATEWAY, INSPECTOR]),
    // A subject without the name would allow any consumer.
    ("$JS.API.CONSUMER.CREATE.EVENTS", &[]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.feed", &[GATEWAY]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.feed.order.event.placed.ORDER_001", &[GATEWAY]),
    ("$JS.API.CONSUMER.INFO.EVENTS.feed", &[GATEWAY, INSPECTOR]),
    ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.feed", &[GATEWAY]),
    ("$JS.API.CONSUMER.DELETE.EVENTS.feed", &[]),
    ("$JS.API.CONSUMER.CREATE.COMMANDS", &[]),
    ("$JS.API.CONSUMER.CREATE.COMMANDS.feed", &[GATEWAY]),
    ("$JS.API.CONSUMER.INFO.COMMANDS.feed", &[GATEWAY, INSPECTOR]),
    ("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.feed", &[GATEWAY]),
    ("$JS.API.CONSUMER.DELETE.COMMANDS.feed", &[]),
    ("dead-letter-deleted.order-service.rejected.ORDER_001", &[OPERATOR]),
    ("_INBOX.x", &[]),
];

/// The users that may send a request about any stream, by the subject before the stream's name.
const STREAM_REQUESTS: &[(&str, &[&str])] = &[
    ("STREAM.CREATE", &[]),
    ("STREAM.UPDATE", &[]),
    ("STREAM.DELETE", &[]),
    ("STREAM.PURGE", &[]),
    ("STREAM.MSG.DELETE", &[]),
    ("STREAM.MSG.GET", &[INSPECTOR]),
    ("STREAM.SNAPSHOT", &[]),
    ("STREAM.RESTORE", &[]),
    ("CONSUMER.NAMES", &[INSPECTOR]),
    ("CONSUMER.DURABLE.CREATE", &[]),
];

/// The requests about a service's consumer that no user may send, not even the service: the subject before the names of
/// stream and consumer.
const CONSUMER_CHANGES: [&str; 6] = ["CREATE", "DURABLE.CREATE", "DELETE", "RESET", "PAUSE", "UNPIN"];

/// The users that may subscribe to a subject, without inboxes.
const SUBSCRIBERS: &[(&str, &[&str])] = &[
    ("order.query.>", &[ORDERS]),
    ("inventory.query.>", &[STOCK]),
    ("account.query.>", &[ACCOUNTS]),
    ("payment.query.>", &[PAYMENTS]),
    ("notification.query.>", &[NOTICES]),
    ("projection.query.>", &[PROJECTIONS]),
    ("identity.query.>", &[IDENTITY]),
    ("identity.query.sign-in", &[IDENTITY]),
    ("$SRV.>", &[ORDERS, STOCK, ACCOUNTS, PAYMENTS, NOTICES, PROJECTIONS, IDENTITY]),
    ("order.event.>", &[GATEWAY, INSPECTOR]),
    ("account.event.>", &[GATEWAY, INSPECTOR]),
    ("inventory.event.>", &[INSPECTOR]),
    ("payment.event.>", &[INSPECTOR]),
    ("identity.event.>", &[INSPECTOR]),
    ("*.event.>", &[INSPECTOR]),
    ("*.command.>", &[INSPECTOR]),
    ("dead-letter.>", &[INSPECTOR]),
    ("dead-letter-deleted.>", &[INSPECTOR]),
    ("admin.>", &[]),
    ("order.timer.*.*", &[INSPECTOR]),
    ("order.schedule.*.*", &[INSPECTOR]),
    ("*.*.*.ORDER_001", &[INSPECTOR]),
    ("$JS.EVENT.>", &[INSPECTOR]),
    ("$JS.API.>", &[]),
    ("$JS.ACK.>", &[]),
    ("$JS.>", &[]),
    ("$KV.>", &[]),
    ("*.*.*", &[]),
    (">", &[]),
    ("_INBOX.>", &[]),
];

fn table(rows: &[(&str, &[&'static str])]) -> Rules {
    rows.iter().map(|(subject, users)| ((*subject).to_owned(), users.iter().copied().collect())).collect()
}

/// Returns [`PUBLISHERS`] and the rules of each stream, consumer, inbox, and dead letter.
fn publishers(shop: &Shop) -> Rules {
    let mut rules = table(PUBLISHERS);
    let mut add = |subject: String, users: &[&'static str]| {
        rules.insert(subject, users.iter().copied().collect());
    };
    for stream in shop.streams() {
        for (request, users) in STREAM_REQUESTS {
            add(format!("$JS.API.{request}.{stream}"), users);
        }
        if !["COMMANDS", "EVENTS"].contains(&stream) {
            add(format!("$JS.API.CONSUMER.CREATE.{stream}.feed"), &[]);
        }
    }
    for consumer in &shop.topology.consumers {
        let service = Shop::services().find(|service| *service == consumer.name).unwrap();
        let consumer = format!("{}.{service}", consumer.stream);
        for change in CONSUMER_CHANGES {
            add(format!("$JS.API.CONSUMER.{change}.{consumer}"), &[]);
        }
        add(format!("$JS.API.CONSUMER.CREATE.{consumer}.order.event.placed.ORDER_001"), &[]);
        add(format!("$JS.API.CONSUMER.INFO.{consumer}"), &[service, INSPECTOR]);
        add(format!("$JS.API.CONSUMER.MSG.NEXT.{consumer}"), &[service]);
        add(format!("$JS.ACK.{consumer}.1.1.1.1.0"), &[service]);
        add(format!("$JS.ACK.domain.account.{consumer}.1.1.1.1.0.token"), &[service]);
    }
    for service in Shop::services() {
        add(format!("dead-letter.{service}.rejected.ORDER_001"), &[service]);
        add(format!("admin.{service}.redrive"), &[OPERATOR]);
        add(format!("admin.{service}.republish"), &[OPERATOR]);
        add(format!("admin.{service}.trace.ORDER_001"), &[GATEWAY, OPERATOR]);
        add(format!("admin.{service}.stats"), &[GATEWAY, OPERATOR]);
    }
    add("$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS".to_owned(), &[OPERATOR]);
    for user in Shop::users() {
        add(format!("_INBOX_{user}.x"), &[]);
    }
    for (subject, users) in &mut rules {
        if subject.starts_with("$JS.API.") {
            users.insert(PROVISIONER);
        }
    }
    rules
}

/// Asserts that the rules are equal; the message lists only the differences.
fn assert_same(seen: &Rules, expected: &Rules) {
    let difference = |(subject, users): (&String, &BTreeSet<&str>)| {
        let seen = &seen[subject];
        (seen != users).then(|| format!("{subject}: allowed to {seen:?}, expected {users:?}"))
    };
    let differences: Vec<_> = expected.iter().filter_map(difference).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}

#[tokio::test]
async fn each_user_may_publish_on_exactly_its_subjects() {
    let shop = Shop::start().await;
    let expected = publishers(&shop);
    let subjects: Vec<_> = expected.keys().map(String::as_str).collect();
    let mut seen: Rules = subjects.iter().map(|subject| ((*subject).to_owned(), BTreeSet::new())).collect();
    for user in Shop::users() {
        let refused = shop.user(user).await.refused_publishing(&subjects).await;
        let allowed = seen.iter_mut().filter(|(subject, _)| !refused.contains(subject.as_str()));
        allowed.for_each(|(_, users)| _ = users.insert(user));
    }
    assert_same(&seen, &expected);
}

#[tokio::test]
async fn each_user_may_subscribe_to_exactly_its_subjects() {
    let shop = Shop::start().await;
    let mut expected = table(SUBSCRIBERS);
    expected.extend(Shop::users().map(|user| (format!("_INBOX_{user}.>"), [user].into())));
    expected.extend(Shop::services().map(|service| (format!("admin.{service}.>"), [service].into())));
    let subjects: Vec<_> = expected.keys().map(String::as_str).collect();
    let mut seen: Rules = subjects.iter().map(|subject| ((*subject).to_owned(), BTreeSet::new())).collect();
    for user in Shop::users() {
        let refused = shop.user(user).await.refused_subscribing(&subjects).await;
        let allowed = seen.iter_mut().filter(|(subject, _)| !refused.contains(subject.as_str()));
        allowed.for_each(|(_, users)| _ = users.insert(user));
    }
    assert_same(&seen, &expected);
}

#[tokio::test]
async fn a_client_without_credentials_is_refused() {
    let shop = Shop::start().await;
    assert!(async_nats::connect(shop.nats.url()).await.is_err());
    let wrong = ConnectOptions::with_user_and_password("order-service".into(), "wrong".into());
    assert!(wrong.connect(shop.nats.url()).await.is_err());
}
