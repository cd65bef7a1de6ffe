//! The service as a process, on a real nats-server with the shop's permissions and a real database.

pub(crate) use choreography_test::Engine;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions};
use choreography::database;
use choreography::publisher::{Command, Publisher};
use choreography_test::nats::TestNats;
use choreography_test::postgres::TestPostgres;
use choreography_test::{Program, ProgramSettings, free_port};
use contracts::declaration::full_topology;
use contracts::identity::IdentityCommand;
use contracts::topology::{API_GATEWAY, EVENTS};
use identity_service::migration::Migrator;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use uuid::Uuid;

/// How long a test waits for something that must happen.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

fn password(user: &str) -> String {
    format!("password-of-{user}")
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) subject: String,
    #[allow(dead_code, reason = "its debug output is searched")]
    pub(crate) headers: String,
    pub(crate) body: Value,
}

/// nats-server, a database, and the service on both.
pub(crate) struct World {
    pub(crate) nats: TestNats,
    pub(crate) program: Program,
    pub(crate) folder: PathBuf,
    pub(crate) log: Arc<Mutex<String>>,
    pub(crate) gateway: Client,
    url: String,
    variables: Vec<(String, String)>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.program.kill().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

impl World {
    pub(crate) async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    pub(crate) async fn start_with(engine: Engine, more: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("identity-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = match engine {
            Engine::Postgres => TestPostgres::shared().await.unwrap().create_database().await.unwrap(),
            Engine::Sqlite => format!("sqlite://{}?mode=rwc", folder.join("test.sqlite").display()),
        };
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats.conf");
        let text = std::fs::read_to_string(&config).unwrap();
        let users = text.lines().filter_map(|line| line.trim().strip_prefix("user: ")?.split(',').next());
        let passwords: Vec<(String, String)> = users
            .map(|user| (format!("{}_PASSWORD", user.to_uppercase().replace('-', "_")), password(user)))
            .collect();
        let passwords = passwords.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let nats = TestNats::with_config(&config, passwords).await.unwrap();
        provision(&nats).await;
        let http = format!("127.0.0.1:{}", free_port());
        let own = [
            ("NATS_URL", nats.url()),
            ("NATS_PASSWORD", password("identity-service")),
            ("DATABASE_URL", url.clone()),
            ("HTTP_ADDRESS", http),
        ];
        let mut variables: Vec<(String, String)> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = Arc::new(Mutex::new(String::new()));
        let program = Program::start(settings(&variables, &log)).unwrap();
        let gateway = connect(&nats, API_GATEWAY).await;
        let world = Self { nats, program, folder, log, gateway, url, variables };
        world.wait_until_started().await;
        world
    }

    /// Waits until the service has signing keys.
    pub(crate) async fn wait_until_started(&self) {
        let start = Instant::now();
        loop {
            if let Ok(keys) = self.try_ask("jwks", &json!({})).await
                && keys["keys"].as_array().is_some_and(|keys| !keys.is_empty())
            {
                return;
            }
            assert!(start.elapsed() < WITHIN, "not started: {}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Restarts the service with other variables.
    pub(crate) async fn restart_with(&mut self, more: &[(&str, &str)]) {
        let mut variables = self.variables.clone();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.program.change(settings(&variables, &self.log));
        self.program.restart().unwrap();
        self.wait_until_started().await;
    }

    pub(crate) async fn database(&self) -> DatabaseConnection {
        database::open::<Migrator>(&self.url).await.unwrap()
    }

    /// Sends a request; the error is `<code> <text>`.
    pub(crate) async fn try_ask(&self, name: &str, request: &Value) -> Result<Value, String> {
        let subject = format!("identity.query.{name}");
        let body = serde_json::to_vec(request).unwrap();
        let reply = self.gateway.request(subject, body.into()).await.map_err(|error| error.to_string())?;
        let header = |name: &str| Some(reply.headers.as_ref()?.get(name)?.as_str().to_owned());
        match header("Nats-Service-Error-Code") {
            Some(code) => Err(format!("{code} {}", header("Nats-Service-Error").unwrap_or_default())),
            None => Ok(serde_json::from_slice(&reply.payload).unwrap()),
        }
    }

    pub(crate) async fn ask(&self, name: &str, request: &Value) -> Value {
        self.try_ask(name, request).await.unwrap()
    }

    pub(crate) async fn sign_up(&self, email: &str) -> Value {
        let request = json!({"email": email, "password": PASSWORD, "name": "Ada", "address": "192.0.2.1"});
        let reply = self.ask("sign-up", &request).await;
        assert_eq!(reply["outcome"], "signed-in", "{reply}");
        reply
    }

    pub(crate) async fn sign_in_from(&self, email: &str, password: &str, address: &str) -> Value {
        self.ask("sign-in", &json!({"email": email, "password": password, "address": address})).await
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Value {
        self.sign_in_from(email, password, "192.0.2.1").await
    }

    pub(crate) async fn refresh(&self, tokens: &Value) -> Value {
        self.ask("refresh", &json!({"refreshToken": tokens["refreshToken"], "address": "192.0.2.1"})).await
    }

    /// Sends a command as the gateway does.
    pub(crate) async fn send(&self, command: impl Into<IdentityCommand>) {
        let js = jetstream::new(self.gateway.clone());
        let command: IdentityCommand = command.into();
        let command = Command::new(Uuid::now_v7(), &command).unwrap();
        Publisher::new(js, API_GATEWAY).publish(command).await.unwrap();
    }

    pub(crate) async fn stream(&self, name: &str) -> Stream {
        jetstream::new(connect(&self.nats, "inspector").await).get_stream(name).await.unwrap()
    }

    /// Returns all messages of a stream.
    pub(crate) async fn messages(&self, name: &str) -> Vec<Seen> {
        let stream = self.stream(name).await;
        let mut seen = Vec::new();
        let state = &stream.cached_info().state;
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            seen.push(Seen {
                subject: message.subject.to_string(),
                headers: format!("{:?}", message.headers),
                body: serde_json::from_slice(&message.payload).unwrap_or(Value::Null),
            });
        }
        seen
    }

    /// Waits for an event.
    pub(crate) async fn event(&self, subject: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let events = self.messages(EVENTS).await;
            if let Some(event) = events.iter().find(|event| event.subject == subject && fits(&event.body)) {
                return event.body.clone();
            }
            assert!(start.elapsed() < WITHIN, "no {subject} in {events:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the rights of a user.
    pub(crate) async fn rights(&self, user: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.event(&format!("identity.event.rights-changed.{user}"), fits).await
    }
}

fn settings(variables: &[(String, String)], log: &Arc<Mutex<String>>) -> ProgramSettings {
    let log = log.clone();
    ProgramSettings {
        name: "identity-service".to_owned(),
        program: env!("CARGO_BIN_EXE_identity-service").into(),
        arguments: vec![],
        variables: variables.to_vec(),
        on_line: Arc::new(move |line| {
            let mut log = log.lock().unwrap();
            log.push_str(line);
            log.push('\n');
        }),
    }
}

/// Creates the streams and consumers.
pub(crate) async fn provision(nats: &TestNats) {
    let provisioner = jetstream::new(connect(nats, "provisioner").await);
    full_topology().unwrap().provision(&provisioner, 1).await.unwrap();
}

pub(crate) async fn connect(nats: &TestNats, user: &str) -> Client {
    let options = ConnectOptions::new()
        .user_and_password(user.to_owned(), password(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    options.connect(nats.url()).await.unwrap()
}

/// Returns a text of a JSON object.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}
