//! Notifications over a WebSocket.

use std::time::Duration;

use choreography::database::Watch;
use choreography::listener::{HttpOptions, Server};
use choreography::query::Query;
use choreography::{Handler, Health};
use choreography_test::free_port;
use contracts::Currency;
use contracts::declaration::NotificationMessage;
use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use notification_service::entity::notification;
use notification_service::handler::NotificationHandler;
use notification_service::live::{Live, MAX_CONNECTIONS, News};
use notification_service::queries;
use reqwest::StatusCode;
use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait, TransactionTrait};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use crate::database::{Engine, TestDatabase, envelope, handle_each};
use crate::given::confirmed;
use crate::on_both_databases;

on_both_databases!(
    new_notifications_are_pushed_and_equal_the_list,
    a_client_that_reconnects_resumes_without_loss_or_repetition,
    without_a_position_only_new_notifications_are_pushed,
    each_customer_gets_only_their_own_notifications,
    notifications_of_another_instance_are_pushed_too,
    a_position_beyond_the_last_sequence_gets_all_notifications,
    a_client_that_does_not_read_blocks_no_other,
    connections_beyond_the_limit_are_refused_until_one_closes,
    an_invalid_request_is_refused_with_a_problem_that_has_the_parameter,
    a_shutdown_closes_the_connections_with_service_restart,
    a_ping_has_a_pong_and_other_messages_are_ignored,
);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The route, served as in the service.
struct Served {
    database: TestDatabase,
    handler: NotificationHandler,
    address: String,
    shutdown: CancellationToken,
}

impl Served {
    async fn on(engine: Engine) -> Self {
        let database = TestDatabase::new(engine).await;
        let (committed, commits) = watch::channel(());
        let (news, shutdown) = (News::default(), CancellationToken::new());
        let watch = Watch::new(&Health::default(), "worker/live");
        let address = format!("127.0.0.1:{}", free_port());
        let routes = Live::new(database.db.clone(), news.clone(), shutdown.clone()).routes();
        tokio::spawn(news.run(database.db.clone(), watch, commits, shutdown.clone()));
        let server = Server::bind(address.parse().unwrap(), &HttpOptions::default(), None).await.unwrap();
        tokio::spawn(server.serve(routes, shutdown.clone()));
        while TcpStream::connect(&address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { database, handler: NotificationHandler::new(committed), address, shutdown }
    }

    /// Handles confirmations of a customer's orders.
    async fn notify(&self, customer: &str, orders: &[&str]) {
        let tx = self.database.db.begin().await.unwrap();
        let batch: Vec<_> = orders.iter().map(|order| envelope(notified(order, customer))).collect();
        self.handler.handle(&tx, &batch.iter().collect::<Vec<_>>()).await.unwrap();
        tx.commit().await.unwrap();
        self.handler.committed();
    }

    async fn try_connect(&self, query: &str) -> Result<Socket, Error> {
        connect_async(format!("ws://{}/notifications?{query}", self.address)).await.map(|(socket, _)| socket)
    }

    async fn connect(&self, query: &str) -> Socket {
        self.try_connect(query).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn notified(order: &str, customer: &str) -> NotificationMessage {
    NotificationMessage::Notify(confirmed(order, customer, 1000, Currency::EUR))
}

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        if let Message::Text(text) = message {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// The orders of the next notifications.
async fn orders(socket: &mut Socket, count: usize) -> Vec<String> {
    let mut orders = Vec::with_capacity(count);
    for _ in 0..count {
        orders.push(next(socket).await["orderId"].as_str().unwrap().to_owned());
    }
    orders
}

async fn nothing(socket: &mut Socket) {
    let next = tokio::time::timeout(Duration::from_millis(200), socket.next()).await;
    assert!(next.is_err(), "{next:?}");
}

async fn new_notifications_are_pushed_and_equal_the_list(engine: Engine) {
    let served = Served::on(engine).await;
    let mut socket = served.connect("customerId=C1").await;
    nothing(&mut socket).await;
    served.notify("C1", &["O1"]).await;
    let first = next(&mut socket).await;
    served.notify("C1", &["O2", "O3"]).await;
    let pushed = [first, next(&mut socket).await, next(&mut socket).await];
    let query = Query { key: "C1".to_owned(), body: "".into() };
    let listed = queries::list(served.database.db.clone(), query).await.unwrap().items;
    assert_eq!(serde_json::to_value(listed).unwrap(), Value::from(pushed.to_vec()));
    nothing(&mut socket).await;
}

async fn a_client_that_reconnects_resumes_without_loss_or_repetition(engine: Engine) {
    let served = Served::on(engine).await;
    let names: Vec<String> = (0..250).map(|index| format!("O{index}")).collect();
    let mut got = Vec::new();
    let mut last = 0;
    // Each connection reads a few notifications and is dropped without a close, even if it was sent more.
    for chunk in names.chunks(50) {
        served.notify("C1", &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for _ in 0..2 {
            let mut socket = served.connect(&format!("customerId=C1&after={last}")).await;
            for _ in 0..20 {
                let notification = next(&mut socket).await;
                last = notification["sequence"].as_i64().unwrap();
                got.push(notification["orderId"].as_str().unwrap().to_owned());
            }
        }
    }
    let mut socket = served.connect(&format!("customerId=C1&after={last}")).await;
    got.extend(orders(&mut socket, 50).await);
    assert_eq!(got, names);
    nothing(&mut socket).await;
}

async fn without_a_position_only_new_notifications_are_pushed(engine: Engine) {
    let served = Served::on(engine).await;
    served.notify("C1", &["O1"]).await;
    let mut socket = served.connect("customerId=C1").await;
    nothing(&mut socket).await;
    served.notify("C1", &["O2"]).await;
    assert_eq!(orders(&mut socket, 1).await, ["O2"]);
    assert_eq!(orders(&mut served.connect("customerId=C1&after=0").await, 2).await, ["O1", "O2"]);
}

async fn each_customer_gets_only_their_own_notifications(engine: Engine) {
    let served = Served::on(engine).await;
    let mut ours = served.connect("customerId=C1").await;
    let mut also_ours = served.connect("after=0&customerId=C1").await;
    let mut theirs = served.connect("customerId=C2").await;
    for (customer, order) in [("C2", "O1"), ("C1", "O2"), ("C3", "O3"), ("C1", "O4")] {
        served.notify(customer, &[order]).await;
    }
    assert_eq!(orders(&mut ours, 2).await, ["O2", "O4"]);
    assert_eq!(orders(&mut also_ours, 2).await, ["O2", "O4"]);
    assert_eq!(orders(&mut theirs, 1).await, ["O1"]);
    nothing(&mut theirs).await;
}

async fn notifications_of_another_instance_are_pushed_too(engine: Engine) {
    let served = Served::on(engine).await;
    let mut socket = served.connect("customerId=C1").await;
    handle_each(&served.database.db, vec![notified("O1", "C1")]).await;
    assert_eq!(orders(&mut socket, 1).await, ["O1"]);
}

async fn a_position_beyond_the_last_sequence_gets_all_notifications(engine: Engine) {
    let served = Served::on(engine).await;
    served.notify("C1", &["O1", "O2"]).await;
    let mut socket = served.connect("customerId=C1&after=9007199254740991").await;
    assert_eq!(orders(&mut socket, 2).await, ["O1", "O2"]);
}

async fn a_client_that_does_not_read_blocks_no_other(engine: Engine) {
    let served = Served::on(engine).await;
    let names: Vec<String> = (0..250).map(|index| format!("O{index}")).collect();
    served.notify("C1", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // 16 MiB, more than sockets buffer.
    notification::Entity::update_many()
        .col_expr(notification::Column::Text, Expr::value("x".repeat(65_536)))
        .exec(&served.database.db)
        .await
        .unwrap();
    let idle: Vec<Socket> = join_all((0..8).map(|_| served.connect("customerId=C1&after=0"))).await;
    let mut reader = served.connect("customerId=C1&after=0").await;
    assert_eq!(orders(&mut reader, 250).await, names);
    served.notify("C1", &["LIVE"]).await;
    assert_eq!(orders(&mut reader, 1).await, ["LIVE"]);
    drop(idle);
}

async fn connections_beyond_the_limit_are_refused_until_one_closes(engine: Engine) {
    let served = Served::on(engine).await;
    let mut sockets = Vec::new();
    for index in 0..MAX_CONNECTIONS {
        sockets.push(served.connect(&format!("customerId=C{}", index % 7)).await);
    }
    let Err(Error::Http(refusal)) = served.try_connect("customerId=C1").await else { panic!("one too many") };
    assert_eq!(refusal.status(), http::StatusCode::SERVICE_UNAVAILABLE);
    assert!(refusal.headers().contains_key("retry-after"));
    assert_eq!(refusal.headers()["content-type"], "application/problem+json");
    sockets.pop().unwrap().close(None).await.unwrap();
    let mut tries = 0;
    while served.try_connect("customerId=C1").await.is_err() {
        tries += 1;
        assert!(tries < 100);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn an_invalid_request_is_refused_with_a_problem_that_has_the_parameter(engine: Engine) {
    let served = Served::on(engine).await;
    let bad = [
        ("", "customerId"),
        ("after=3", "customerId"),
        ("customerId=", "customerId"),
        ("customerId=C.1", "customerId"),
        ("customerId=C%001", "customerId"),
        ("customerId=C1&customerId=C2", "customerId"),
        ("customerId=C1&after=", "after"),
        ("customerId=C1&after=-1", "after"),
        ("customerId=C1&after=%2B1", "after"),
        ("customerId=C1&after=1.5", "after"),
        ("customerId=C1&after=9007199254740992", "after"),
        ("customerId=C1&after=1&after=2", "after"),
    ];
    let client = choreography::http::client(std::time::Duration::from_secs(300)).unwrap();
    for (query, parameter) in bad {
        let Err(Error::Http(refusal)) = served.try_connect(query).await else { panic!("{query}") };
        assert_eq!(refusal.status(), http::StatusCode::BAD_REQUEST, "{query}");
        let response = client.get(format!("http://{}/notifications?{query}", served.address)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], 400);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}: {problem}");
    }
    let url = format!("http://{}/notifications?customerId=C1", served.address);
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

async fn a_shutdown_closes_the_connections_with_service_restart(engine: Engine) {
    let served = Served::on(engine).await;
    let mut socket = served.connect("customerId=C1").await;
    served.shutdown.cancel();
    let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!(u16::from(close.code), 1012);
}

async fn a_ping_has_a_pong_and_other_messages_are_ignored(engine: Engine) {
    let served = Served::on(engine).await;
    let mut socket = served.connect("customerId=C1").await;
    socket.send(Message::text("hello")).await.unwrap();
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(reply, Message::Pong("are you there".into()));
    served.notify("C1", &["O1"]).await;
    assert_eq!(orders(&mut socket, 1).await, ["O1"]);
    // More than the largest message, at once or in fragments.
    let at_once = vec![Message::text("x".repeat(10_000))];
    let kinds = [OpCode::Data(Data::Text), OpCode::Data(Data::Continue), OpCode::Data(Data::Continue)];
    let fragments = kinds.map(|kind| Message::Frame(Frame::message("x".repeat(3000), kind, false))).to_vec();
    for messages in [at_once, fragments] {
        let mut socket = served.connect("customerId=C1").await;
        for message in messages {
            // The service may close the connection before the last one.
            drop(socket.send(message).await);
        }
        let end = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
        assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{end:?}");
    }
}
