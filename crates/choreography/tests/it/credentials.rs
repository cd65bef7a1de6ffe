//! Each kind of credentials on a nats-server that requires it, and the refusal of unusable settings.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use choreography::Health;
use choreography::connection::{self, NatsOptions};
use choreography::credentials::NatsCredentials;
use choreography_test::{TestNats, free_port};
use clap::Parser;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::certificates::{Folder, authority, issue};
use crate::support::{eventually, nats_options};

/// How long a client may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a server with this configuration besides JetStream.
async fn server(folder: &Folder, config: &str) -> TestNats {
    let config = format!("jetstream {{ store_dir: $NATS_STORE_DIR }}\n{config}");
    TestNats::with_config(&folder.write("nats.conf", &config), []).await.unwrap()
}

fn options(nats: &TestNats, nats_credentials: NatsCredentials) -> NatsOptions {
    NatsOptions { nats_credentials, ..nats_options(nats.url()) }
}

async fn connects(options: &NatsOptions) {
    let (client, _) = connection::establish(options, "tester", CONNECT_TIMEOUT).await.unwrap();
    assert!(client.new_inbox().starts_with("_INBOX_tester."), "{}", client.new_inbox());
}

/// Checks that the server rejects the client, and that the error names the settings.
async fn is_rejected(options: &NatsOptions, settings: &str) {
    let error = connection::establish(options, "tester", CONNECT_TIMEOUT).await.unwrap_err().to_string();
    assert_eq!(error, format!("authorization violation: check {settings}"));
}

/// Checks that the server or the client rejects the other's certificate, and that the report names `setting`.
async fn has_no_tls_connection(options: &NatsOptions, setting: &str) {
    let health = Health::default();
    let _client = connection::connect(options, "tester", &health).await.unwrap();
    eventually("the rejected certificate is reported", || async {
        health.problem("nats").is_some_and(|problem| problem.contains(setting))
    })
    .await;
    assert!(!health.readiness().ready);
}

#[tokio::test]
async fn a_user_connects_with_its_password_only() {
    let folder = Folder::new("password");
    let nats = server(&folder, "authorization { users: [{user: tester, password: s3cret}] }").await;
    let with = |password: &str| NatsOptions {
        nats_password: Some(password.to_owned()),
        ..options(&nats, NatsCredentials::default())
    };
    connects(&with("s3cret")).await;
    is_rejected(&with("0ther"), "NATS_USER (tester) and NATS_PASSWORD").await;
}

#[tokio::test]
async fn a_client_connects_with_the_servers_token_only() {
    let folder = Folder::new("token");
    let nats = server(&folder, "authorization { token: s3cret }").await;
    let with = |token: &str| {
        options(&nats, NatsCredentials { nats_token: Some(token.to_owned()), ..NatsCredentials::default() })
    };
    connects(&with("s3cret")).await;
    is_rejected(&with("0ther"), "NATS_TOKEN").await;
}

#[tokio::test]
async fn a_user_connects_with_its_nkey_only() {
    let folder = Folder::new("nkey");
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let nats = server(&folder, &format!("authorization {{ users: [{{nkey: {}}}] }}", user.public_key())).await;
    let with = |key: &KeyPair| {
        let nats_nkey_seed = Some(key.seed().unwrap());
        options(&nats, NatsCredentials { nats_nkey_seed, ..NatsCredentials::default() })
    };
    connects(&with(&user)).await;
    is_rejected(&with(&other), &format!("NATS_NKEY_SEED (public key {})", other.public_key())).await;
}

/// Returns a JWT about `subject` as nsc writes it, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (iss, sub) = (issuer.public_key(), subject.public_key());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let body = json!({"jti": "x", "iat": now, "iss": iss, "sub": sub, "name": "test", "nats": claims});
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn account_jwt(operator: &KeyPair, account: &KeyPair) -> String {
    let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1});
    jwt(operator, account, json!({"type": "account", "version": 2, "limits": limits}))
}

/// Returns the content of the `.creds` file of a new user of `account`.
fn creds(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, &user, claims),
        user.seed().unwrap()
    )
}

#[tokio::test]
async fn a_replaced_file_with_a_seed_is_read_for_each_connection() {
    let folder = Folder::new("nkey-file");
    let (first, second) = (KeyPair::new_user(), KeyPair::new_user());
    let users = [&first, &second].map(|key| format!("{{nkey: {}}}", key.public_key())).join(", ");
    let nats = server(&folder, &format!("authorization {{ users: [{users}] }}")).await;
    let file = folder.write("tester.nk", &format!("{}\n", first.seed().unwrap()));
    let with = |path: &Path| {
        let nats_nkey_file = Some(path.to_owned());
        options(&nats, NatsCredentials { nats_nkey_file, ..NatsCredentials::default() })
    };
    connects(&with(&file)).await;
    // A folder has a file per user.
    connects(&with(folder.path())).await;
    let (client, _) = connection::establish(&with(&file), "tester", CONNECT_TIMEOUT).await.unwrap();
    eventually("the client uses the first key", || async { connected_as(&nats).await == [first.public_key()] })
        .await;
    folder.write("tester.nk", &second.seed().unwrap());
    client.force_reconnect().await.unwrap();
    eventually("the client uses the second key", || async { connected_as(&nats).await == [second.public_key()] })
        .await;
    let unknown = folder.write("unknown.nk", &KeyPair::new_user().seed().unwrap());
    let error = connection::establish(&with(&unknown), "tester", CONNECT_TIMEOUT).await.unwrap_err().to_string();
    assert!(error.starts_with("authorization violation: check NATS_NKEY_FILE ("), "{error}");
}

#[tokio::test]
async fn a_password_is_read_from_a_file() {
    let folder = Folder::new("password-file");
    let nats = server(&folder, "authorization { users: [{user: tester, password: \"s3 cret\"}] }").await;
    let with = |path: &Path| {
        let nats_password_file = Some(path.to_owned());
        options(&nats, NatsCredentials { nats_password_file, ..NatsCredentials::default() })
    };
    connects(&with(&folder.write("tester.password", "s3 cret\n"))).await;
    connects(&with(folder.path())).await;
    let wrong = folder.write("wrong", "0ther");
    is_rejected(&with(&wrong), &format!("NATS_USER (tester) and NATS_PASSWORD_FILE ({})", wrong.display())).await;
}

/// Returns the keys as which clients are connected.
async fn connected_as(nats: &TestNats) -> Vec<String> {
    let http = choreography::http::client(CONNECT_TIMEOUT).unwrap();
    let found = http.get(format!("{}/connz?auth=true", nats.monitor_url())).send().await.unwrap();
    let found: Value = found.json().await.unwrap();
    let users = found["connections"].as_array().unwrap().iter();
    users.filter_map(|connection| connection["authorized_user"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_user_connects_with_the_creds_file_of_its_account_only() {
    let folder = Folder::new("creds");
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        jwt(&operator, &operator, json!({"type": "operator", "version": 2})),
        system.public_key(),
        system.public_key(),
        account_jwt(&operator, &system),
        account.public_key(),
        account_jwt(&operator, &account),
    );
    let nats = server(&folder, &config).await;
    let with = |creds: &Path| {
        options(&nats, NatsCredentials { nats_creds: Some(creds.to_owned()), ..NatsCredentials::default() })
    };
    connects(&with(&folder.write("user.creds", &creds(&account)))).await;
    let foreign = folder.write("foreign.creds", &creds(&KeyPair::new_account()));
    is_rejected(&with(&foreign), &format!("NATS_CREDS ({})", foreign.display())).await;
}

/// Returns the server's configuration of TLS; `more` may require a client certificate.
fn tls_config((certificate, key): &(PathBuf, PathBuf), more: &str) -> String {
    format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, timeout: 20, {more} }}")
}

#[tokio::test]
async fn a_client_connects_by_tls_if_it_trusts_the_servers_authority() {
    let (folder, authority) = (Folder::new("tls"), authority());
    let nats = server(&folder, &tls_config(&issue(&authority, &folder, "server"), "")).await;
    let with =
        |ca: PathBuf| options(&nats, NatsCredentials { nats_ca_file: Some(ca), ..NatsCredentials::default() });
    connects(&with(folder.write("ca.pem", &authority.pem()))).await;
    let foreign = with(folder.write("foreign.pem", &crate::certificates::authority().pem()));
    has_no_tls_connection(&foreign, "NATS_CA_FILE").await;
    let error = connection::establish(&foreign, "tester", Duration::from_secs(2)).await.unwrap_err().to_string();
    assert!(error.contains("check NATS_CA_FILE"), "{error}");
}

#[tokio::test]
async fn a_client_with_its_own_ca_file_refuses_a_server_without_tls() {
    let folder = Folder::new("plain");
    let nats = TestNats::start().await.unwrap();
    let ca = folder.write("ca.pem", &authority().pem());
    let credentials = NatsCredentials { nats_ca_file: Some(ca), ..NatsCredentials::default() };
    connection::establish(&options(&nats, credentials), "tester", Duration::from_secs(2)).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_verifies_clients_accepts_only_certificates_of_its_authority() {
    let (folder, authority) = (Folder::new("mtls"), authority());
    let ca = folder.write("ca.pem", &authority.pem());
    let config = tls_config(&issue(&authority, &folder, "server"), &format!("ca_file: {ca:?}, verify: true"));
    let nats = server(&folder, &config).await;
    let with = |pair: Option<(PathBuf, PathBuf)>| {
        let (nats_client_cert, nats_client_key) = pair.unzip();
        let nats_ca_file = Some(ca.clone());
        options(
            &nats,
            NatsCredentials { nats_ca_file, nats_client_cert, nats_client_key, ..NatsCredentials::default() },
        )
    };
    connects(&with(Some(issue(&authority, &folder, "client")))).await;
    let foreign = issue(&crate::certificates::authority(), &folder, "foreign");
    has_no_tls_connection(&with(Some(foreign)), "NATS_CLIENT_CERT").await;
    has_no_tls_connection(&with(None), "NATS_CLIENT_CERT").await;
}

/// Returns the error of a program that starts with these credentials; no server is needed.
async fn refusal(password: Option<&str>, nats_credentials: NatsCredentials) -> String {
    let url = format!("nats://127.0.0.1:{}", free_port());
    let nats_password = password.map(str::to_owned);
    let options = NatsOptions { nats_password, nats_credentials, ..nats_options(url) };
    let error = connection::connect(&options, "tester", &Health::default()).await.unwrap_err().to_string();
    assert!(!error.contains("s3cret"), "{error}");
    error
}

#[tokio::test]
async fn credentials_that_exclude_each_other_are_refused_by_name() {
    let token = NatsCredentials { nats_token: Some("s3cret".to_owned()), ..NatsCredentials::default() };
    let error = refusal(Some("s3cret"), token.clone()).await;
    assert_eq!(error, "NATS_PASSWORD and NATS_TOKEN exclude each other; keep one of them");
    let seed = KeyPair::new_user().seed().unwrap();
    let all =
        NatsCredentials { nats_nkey_seed: Some(seed.clone()), nats_creds: Some("s3cret.creds".into()), ..token };
    let error = refusal(None, all).await;
    assert_eq!(error, "NATS_TOKEN and NATS_NKEY_SEED and NATS_CREDS exclude each other; keep one of them");
}

#[tokio::test]
async fn an_unusable_file_is_refused_with_its_setting_its_path_and_the_remedy() {
    let folder = Folder::new("unusable");
    let (absent, text) = (folder.0.join("absent.pem"), folder.write("text.pem", "SUs3cret"));
    let (cert, key) = issue(&authority(), &folder, "client");
    let (_, other_key) = issue(&authority(), &folder, "other");
    let tls = |cert: &Path, key: &Path| NatsCredentials {
        nats_client_cert: Some(cert.to_owned()),
        nats_client_key: Some(key.to_owned()),
        ..NatsCredentials::default()
    };
    for file in [&absent, &text, &folder.0] {
        let ca = NatsCredentials { nats_ca_file: Some(file.clone()), ..NatsCredentials::default() };
        let creds = NatsCredentials { nats_creds: Some(file.clone()), ..NatsCredentials::default() };
        let cases = [
            ("NATS_CA_FILE", "certificates in PEM", ca),
            ("NATS_CREDS", "a user's JWT and NKey", creds),
            ("NATS_CLIENT_CERT", "certificates in PEM", tls(file, &key)),
            ("NATS_CLIENT_KEY", "a private key in PEM", tls(&cert, file)),
        ];
        for (setting, content, credentials) in cases {
            let error = refusal(None, credentials).await;
            assert!(error.starts_with(&format!("{setting} ({}): ", file.display())), "{error}");
            assert!(error.contains(&format!("; name a readable file with {content}")), "{error}");
        }
    }
    let error = refusal(None, tls(&cert, &other_key)).await;
    assert!(
        error.starts_with("NATS_CLIENT_KEY") && error.contains("is not the key of NATS_CLIENT_CERT"),
        "{error}"
    );
    let alone = NatsCredentials { nats_client_key: None, ..tls(&cert, &key) };
    assert_eq!(refusal(None, alone).await, "NATS_CLIENT_CERT is set without NATS_CLIENT_KEY; set both or neither");
    let alone = NatsCredentials { nats_client_cert: None, ..tls(&cert, &key) };
    assert_eq!(refusal(None, alone).await, "NATS_CLIENT_KEY is set without NATS_CLIENT_CERT; set both or neither");
}

/// A program with the options of a connection.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    nats: NatsOptions,
}

#[test]
fn only_the_seed_of_a_user_is_accepted_as_nkey_and_no_secret_is_printed() {
    let (user, account) = (KeyPair::new_user().seed().unwrap(), KeyPair::new_account().seed().unwrap());
    for seed in ["SUs3cret", &account, &KeyPair::new_user().public_key()] {
        let error = Program::try_parse_from(["tester", "--nats-nkey-seed", seed]).unwrap_err().to_string();
        assert!(error.contains("NATS_NKEY_SEED") && error.contains("begin with SU"), "{error}");
        assert!(!error.contains(seed), "{error}");
    }
    let program = Program::try_parse_from(["tester", "--nats-nkey-seed", &user, "--nats-token", "s3cret"]).unwrap();
    assert_eq!(program.nats.nats_credentials.nats_nkey_seed.as_deref(), Some(user.as_str()));
    let debug = format!("{program:?}");
    assert!(!debug.contains(&user) && !debug.contains("s3cret"), "{debug}");
}
