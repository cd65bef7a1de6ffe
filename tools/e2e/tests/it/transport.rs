//! TLS on every connection: nats-server, PostgreSQL, and HTTP, with the files of the repository and of
//! `tools/tls/make-ca.sh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use choreography::connection::{self, NatsOptions};
use choreography_test::postgres::{self, PostgresServer};
use choreography_test::{Program, ProgramSettings, free_port, nats};
use demo::config::USERS;
use demo::shop::{nats_options, settings};
use demo::{Component, Databases, OnLine, ShopConfig};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{World, eventually};

/// How long a client may take to connect, and how long one that is refused may wait for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const REFUSED_AFTER: Duration = Duration::from_secs(3);
const PASSWORD: &str = "s3 cret";

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A folder with an authority and the certificates of all servers.
struct Certificates(PathBuf);

impl Certificates {
    async fn make(folder: PathBuf) -> Self {
        let script = repository().join("tools/tls/make-ca.sh");
        let made = tokio::process::Command::new(script).arg(&folder).output().await.unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn ca(&self) -> String {
        self.file("ca.pem")
    }
}

/// Starts nats-server with `nats.tls.conf`.
async fn start_nats(config: &ShopConfig, certificates: &Certificates) -> Program {
    let quoted = |value: &str| format!("{value:?}");
    let mut variables = vec![
        ("NATS_STORE_DIR".to_owned(), quoted(&config.data.join("nats").display().to_string())),
        ("NATS_TLS_CERT".to_owned(), quoted(&certificates.file("nats.pem"))),
        ("NATS_TLS_KEY".to_owned(), quoted(&certificates.file("nats.key"))),
    ];
    variables.extend(USERS.map(|(user, variable)| (variable.to_owned(), quoted(&ShopConfig::password(user)))));
    let monitor = config.ports[&Component::NatsServer];
    let arguments = ["-c", "nats.tls.conf", "-p", &config.nats_port.to_string(), "-ms", &monitor.to_string()];
    let arguments = arguments.map(|argument| match argument {
        "nats.tls.conf" => repository().join(argument).display().to_string(),
        argument => argument.to_owned(),
    });
    Program::start(ProgramSettings {
        name: "nats-server".to_owned(),
        program: nats::find_or_install(|_| {}).await.unwrap(),
        arguments: arguments.to_vec(),
        variables,
        on_line: Arc::new(|_| {}),
    })
    .unwrap()
}

/// Starts PostgreSQL with a database per service, and then with TLS and `tools/tls/pg_hba.conf`.
async fn start_postgres(config: &mut ShopConfig, certificates: &Certificates) -> PostgresServer {
    let bin = postgres::find_or_install(|_| {}).await.unwrap();
    let folder = std::env::temp_dir().join(format!("postgres-tls-{}", std::process::id()));
    let builder = PostgresServer::builder(bin).port(free_port()).data_dir(&folder).fsync(false);
    let mut server = builder.start().await.unwrap();
    let admin = Database::connect(server.url("postgres")).await.unwrap();
    let mut urls = BTreeMap::new();
    for component in Component::WITH_DATABASE {
        let name = component.name();
        server.create_database(name).await.unwrap();
        for statement in [
            format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}'"),
            format!("ALTER DATABASE \"{name}\" OWNER TO \"{name}\""),
        ] {
            admin.execute_unprepared(&statement).await.unwrap();
        }
        urls.insert(component, url(&server, component, "verify-full", &certificates.ca()));
    }
    admin.close().await.unwrap();
    config.databases = Databases::Postgres(urls);
    let given = |name: &str| server.give(Path::new(name)).unwrap().display().to_string();
    let files = [
        ("ssl_cert_file", given(&certificates.file("postgres.pem"))),
        ("ssl_key_file", given(&certificates.file("postgres.key"))),
        ("hba_file", given(&repository().join("tools/tls/pg_hba.conf").display().to_string())),
    ];
    server.set("ssl", "on");
    server.set("ssl_min_protocol_version", "TLSv1.2");
    for (name, file) in files {
        server.set(name, &file);
    }
    server.restart().await.unwrap();
    server
}

fn url(server: &PostgresServer, component: Component, mode: &str, ca: &str) -> String {
    let password = PASSWORD.replace(' ', "%20");
    let port = server.port();
    format!("postgres://{component}:{password}@localhost:{port}/{component}?sslmode={mode}&sslrootcert={ca}")
}

async fn connect(url: String) -> Result<DatabaseConnection, sea_orm::DbErr> {
    Database::connect(url).await
}

/// Runs a subcommand that ends.
async fn run(config: &ShopConfig, subcommand: &str, variables: &[(&str, String)]) -> Output {
    let mut command = tokio::process::Command::new(&config.program);
    command.arg(subcommand).envs(variables.iter().map(|(name, value)| (*name, value)));
    tokio::time::timeout(Duration::from_secs(90), command.output()).await.expect(subcommand).unwrap()
}

/// Sets what `compose.tls.yaml` sets.
fn with_tls(config: &mut ShopConfig, certificates: &Certificates) {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    let monitor = config.http_url(Component::NatsServer).replace("http://", "https://");
    config.variables = vec![
        variable("NATS_URL", format!("tls://127.0.0.1:{}", config.nats_port)),
        variable("NATS_MONITOR_URL", monitor),
        variable("NATS_CA_FILE", certificates.ca()),
        variable("SSL_CERT_FILE", certificates.ca()),
    ];
    let provider = config.http_url(Component::PaymentProvider).replace("http://", "https://");
    for component in Component::SERVICES {
        let mut own = vec![
            variable("TLS_CERT", certificates.file(&format!("{component}.pem"))),
            variable("TLS_KEY", certificates.file(&format!("{component}.key"))),
        ];
        if component == Component::PaymentService {
            own.push(variable("PAYMENT_PROVIDER_URL", provider.clone()));
        }
        config.own_variables.insert(component, own);
    }
}

/// Returns options of a user with the authority to trust, if any.
fn nats_of(config: &ShopConfig, user: &str, ca: Option<&str>) -> NatsOptions {
    let mut options = nats_options(config, user);
    options.nats_credentials.nats_ca_file = ca.map(PathBuf::from);
    options
}

#[tokio::test]
async fn the_shop_runs_with_tls_on_every_connection_and_refuses_plain_text() {
    let mut config = World::empty();
    std::fs::create_dir_all(&config.data).unwrap();
    let certificates = Certificates::make(config.data.join("tls")).await;
    let foreign = Certificates::make(config.data.join("foreign")).await;
    with_tls(&mut config, &certificates);
    let nats_server = start_nats(&config, &certificates).await;
    let postgres = start_postgres(&mut config, &certificates).await;

    let user = "provisioner";
    let known = nats_of(&config, user, Some(&certificates.ca()));
    connection::establish(&known, user, CONNECT_TIMEOUT).await.unwrap();
    for ca in [Some(foreign.ca()), None] {
        let options = nats_of(&config, user, ca.as_deref());
        connection::establish(&options, user, REFUSED_AFTER).await.unwrap_err();
    }
    nats_refuses_plain_text(config.nats_port).await;

    let orders = |mode, ca: &Certificates| connect(url(&postgres, Component::OrderService, mode, &ca.ca()));
    orders("verify-full", &certificates).await.unwrap();
    orders("verify-full", &foreign).await.unwrap_err();
    let plain = orders("disable", &certificates).await.unwrap_err().to_string();
    assert!(plain.contains("pg_hba.conf rejects connection"), "{plain}");

    let nats = [
        ("NATS_URL", nats_options(&config, user).nats_url),
        ("NATS_PASSWORD", ShopConfig::password(user)),
        ("NATS_CA_FILE", certificates.ca()),
    ];
    let provisioned = run(&config, "provision", &nats).await;
    assert!(provisioned.status.success(), "{provisioned:?}");
    let logs = Arc::new(Mutex::new(String::new()));
    let kept = logs.clone();
    let on_line: OnLine = Arc::new(move |_, line| kept.lock().unwrap().push_str(&format!("{line}\n")));
    let start = |component| Program::start(settings(&config, component, &on_line)).unwrap();
    let services: Vec<Program> = Component::SERVICES.into_iter().map(start).collect();
    for component in Component::SERVICES {
        let url = config.http_url(component).replace("http://", "https://");
        eventually(&format!("{component} is ready\n{}", logs.lock().unwrap()), || async {
            healthcheck(&config, &url, &certificates).await.status.success()
        })
        .await;
        assert!(!healthcheck(&config, &url, &foreign).await.status.success(), "{component}");
        assert!(!healthcheck(&config, &config.http_url(component), &certificates).await.status.success());
    }
    let secure = |component| config.http_url(component).replace("http://", "https://");
    let seed = [
        ("GATEWAY_URL", secure(Component::ApiGateway)),
        ("INVENTORY_URL", secure(Component::InventoryService)),
        ("SSL_CERT_FILE", certificates.ca()),
    ];
    let seeded = run(&config, "seed", &seed).await;
    let output = String::from_utf8_lossy(&seeded.stdout);
    assert!(seeded.status.success() && output.contains("confirmed"), "{seeded:?}\n{}", logs.lock().unwrap());
    // Nothing writes there any more.
    drop((services, nats_server, postgres));
    std::fs::remove_dir_all(&config.data).unwrap();
}

async fn healthcheck(config: &ShopConfig, url: &str, certificates: &Certificates) -> Output {
    let mut command = tokio::process::Command::new(&config.program);
    command.args(["healthcheck", &format!("{url}/readiness")]).env("SSL_CERT_FILE", certificates.ca());
    command.output().await.unwrap()
}

/// Sends a password without TLS; the server closes the connection instead of a reply to the ping.
async fn nats_refuses_plain_text(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connect = "CONNECT {\"user\":\"inspector\",\"pass\":\"inspector-dev\",\"verbose\":false}\r\nPING\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut received)).await;
    assert!(read.is_ok(), "the connection stays open");
    assert!(!String::from_utf8_lossy(&received).contains("PONG"), "{received:?}");
}
