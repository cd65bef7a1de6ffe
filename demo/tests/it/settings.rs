//! Every setting of every program: an invalid value is rejected at the start with its name; no secret is ever printed.

use std::process::{Output, Stdio};
use std::time::Duration;

use async_nats::jetstream::stream;
use choreography_test::free_port;
use clap::Arg;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// The programs that connect to a server.
const PROGRAMS: [&str; 12] = [
    "order-service",
    "inventory-service",
    "account-service",
    "payment-service",
    "notification-service",
    "projection-service",
    "identity-service",
    "api-gateway",
    "payment-provider",
    "provision",
    "seed",
    "choreo",
];

/// How long a program may take to report an invalid setting.
const EXIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns every option of every program that has a value and an environment variable.
fn settings() -> Vec<(String, Arg)> {
    let command = demo::cli::command();
    let settings = command.get_subcommands().flat_map(|program| {
        let options =
            program.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_action().takes_values());
        options.map(|option| (program.get_name().to_owned(), option.clone()))
    });
    settings.collect()
}

/// Returns the error with which a program rejects a value, if it does.
fn refusal(program: &str, option: &Arg, value: &str) -> Option<String> {
    let argument = format!("--{}={value}", option.get_long().unwrap());
    let parsed = demo::cli::command().try_get_matches_from(["demo", program, &argument]);
    parsed.err().map(|error| error.to_string())
}

#[test]
fn every_setting_rejects_empty_and_padded_values() {
    let settings = settings();
    assert!(settings.len() > 50, "{}", settings.len());
    for (program, option) in settings {
        for value in ["", " ", " 1", "1 ", "http://127.0.0.1:1 ", "a\u{7}b"] {
            let name = option.get_long().unwrap();
            let refusal =
                refusal(&program, &option, value).unwrap_or_else(|| panic!("{program} --{name}={value:?}"));
            assert!(refusal.contains(&format!("--{name}")), "{program} --{name}={value:?}: {refusal}");
        }
    }
}

/// Returns every option and operand with a value, those of subcommands included, each with the command's name.
fn operands(command: &clap::Command) -> Vec<(String, Arg)> {
    let own = command.get_arguments().filter(|arg| arg.get_action().takes_values() || arg.get_env().is_some());
    let own = own.map(|arg| (command.get_name().to_owned(), arg.clone()));
    own.chain(command.get_subcommands().flat_map(operands)).collect()
}

/// Returns the error with which an option or operand, parsed alone, rejects a value, if it does.
fn refusal_alone(arg: &Arg, value: &str) -> Option<String> {
    let alone = arg.clone().required(false).action(clap::ArgAction::Set).num_args(1).global(false);
    let alone = alone.requires(clap::builder::Resettable::<clap::Id>::Reset);
    let command = clap::Command::new("alone").arg(alone);
    let arguments = match arg.get_long() {
        Some(long) => vec!["alone".to_owned(), format!("--{long}={value}")],
        None => vec!["alone".to_owned(), "--".to_owned(), value.to_owned()],
    };
    command.try_get_matches_from(arguments).err().map(|error| error.to_string())
}

/// Values that are invalid for most settings.
const INVALID: [&str; 20] = [
    "",
    " ",
    " 1",
    "1 ",
    "%",
    "%zz",
    ":",
    "::::",
    "ü",
    "Füße/ä ö",
    "-1",
    "0",
    "1.5",
    "1e9",
    "99999999999999999999999999",
    "a\u{7}b",
    "a\nb",
    "http://",
    "//@:/?#",
    "NaN",
];

#[test]
fn an_error_about_a_setting_has_its_name_the_value_and_the_allowed_values() {
    let operands = operands(&demo::cli::command());
    assert!(operands.len() > 100, "{}", operands.len());
    let mut refused = 0;
    for (program, arg) in &operands {
        for value in INVALID {
            let Some(refusal) = refusal_alone(arg, value) else { continue };
            refused += 1;
            let name = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
            let variable = arg.get_env().map(|variable| variable.to_string_lossy().into_owned());
            let line = refusal.lines().next().unwrap();
            let has =
                |part: &str| assert!(line.contains(part), "{program} {name} {value:?}: {line:?} lacks {part:?}");
            has(&name);
            variable.as_deref().into_iter().for_each(has);
            // A value that may contain a secret is not printed.
            if !arg.is_hide_env_values_set() && name != "url" {
                has(&format!("{value:?}"));
            }
            let has_reason = [" is ", " begins ", " has ", "are "].iter().any(|verb| line.contains(verb));
            assert!(has_reason, "{program} {name} {value:?}: {line:?} has no reason");
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn each_setting_rejects_its_own_invalid_values() {
    let command = demo::cli::command();
    let operands = operands(&command);
    let named = |long: &str| {
        let found = operands.iter().find(|(_, arg)| arg.get_long() == Some(long));
        &found.unwrap_or_else(|| panic!("no --{long}")).1
    };
    for (long, taken, refused) in [
        ("allowed-origins", "http://127.0.0.1:3000", &["foo", "null", "http://a/b", "127.0.0.1:3000"][..]),
        ("allowed-hosts", "shop.example", &["http://shop.example", "*", "a/b", "::1"]),
        ("minimum-durability", "replicated", &["Fsynced", "fsync", "2"]),
        ("http-max-connections", "65536", &["0", "65537", "-1"]),
        ("shop-id", "shop_1", &["a b", "ü", "a/b"]),
        ("fetch-missing-accounts", "true", &["maybe", "2"]),
        ("automation-testing", "off", &["maybe"]),
        ("operations", "true", &["maybe"]),
        ("mail-from", "Shop <shop@example.org>", &["nobody", "Shop <shop>"]),
        ("rate", "256", &["0", "257"]),
        ("max-failures", "0", &["-1", "100001"]),
    ] {
        assert_eq!(refusal_alone(named(long), taken), None, "--{long}={taken}");
        for value in refused {
            assert!(refusal_alone(named(long), value).is_some(), "--{long}={value}");
        }
    }
}

#[test]
fn numbers_and_time_spans_are_refused_with_name_value_and_range() {
    let is_number =
        |name: &str| ["seconds", "milliseconds", "attempts", "backlog"].iter().any(|end| name.ends_with(end));
    let settings = settings().into_iter().filter(|(_, option)| is_number(option.get_long().unwrap()));
    let mut seen = 0;
    for (program, option) in settings {
        seen += 1;
        for value in ["0", "-1", "1.5", "1e3", "999999999999999", "18446744073709551616", "never"] {
            let refusal = refusal(&program, &option, value).unwrap_or_else(|| panic!("{program} {option} {value}"));
            let variable = option.get_env().unwrap().to_string_lossy();
            for part in [&*variable, &format!("{value:?}"), "from 1 to "] {
                assert!(refusal.contains(part), "{program} {value}: {refusal}");
            }
        }
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn counts_ages_and_urls_out_of_bounds_are_rejected() {
    for arguments in [
        "provision --replicas 2",
        "provision --nats-url http://127.0.0.1",
        "redeliver 0",
        "redeliver 1001",
        "delay-acks order-service --seconds 61",
        "healthcheck 127.0.0.1:8900",
        "choreo dead-letters list --before 11y",
        "choreo dead-letters list --limit 0",
        "choreo streams restore EVENTS --last 999999999y",
        "payment-service --provider-url ftp://127.0.0.1",
        "order-service --database-url mysql://127.0.0.1/x",
    ] {
        let parsed = demo::cli::command().try_get_matches_from(std::iter::once("demo").chain(arguments.split(' ')));
        assert!(parsed.is_err(), "{arguments}");
    }
}

/// Returns the command of a program with these environment variables only.
fn program(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let ended = tokio::time::timeout(EXIT_TIMEOUT, program(arguments, variables).output()).await;
    ended.unwrap_or_else(|_| panic!("{arguments:?} still runs")).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn an_option_that_a_subcommand_does_not_use_is_refused() {
    for arguments in [
        &["--data", "x", "provision"][..],
        &["healthcheck", "--data", "x", "http://127.0.0.1:1"],
        &["--fresh", "status"],
        &["choreo", "--data", "x", "check"],
    ] {
        let ended = run(arguments, &[]).await;
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", text(&ended));
        assert!(text(&ended).contains("has no effect on this subcommand"), "{arguments:?}: {}", text(&ended));
    }
    let used = run(&["status", "--data", "/nowhere"], &[("DEMO_DATA", "/elsewhere")]).await;
    assert!(text(&used).contains("/nowhere") && !text(&used).contains("no effect"), "{}", text(&used));
}

#[tokio::test]
async fn no_program_prints_a_secret() {
    // Nothing listens on this port.
    let port = free_port();
    let unusable = [
        ("NATS_URL", "nats://user:s3cret@127.0.0.1:1".to_owned()),
        ("NATS_MONITOR_URL", "http://user:s3cret#@127.0.0.1:1".to_owned()),
        ("DATABASE_URL", "postgres://user:s3cret#@127.0.0.1/x?password=s3cret".to_owned()),
        ("SMTP_URL", "smtp://user:s3cret#@127.0.0.1".to_owned()),
        ("PAYMENT_PROVIDER_URL", "http://user:s3cret@".to_owned()),
        ("GATEWAY_URL", "http://user:s3cret#@127.0.0.1".to_owned()),
        ("INVENTORY_URL", "https://user:s3cret@127.0.0.1".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:s3cret@127.0.0.1".to_owned()),
    ];
    let unreachable = [
        ("NATS_URL", format!("nats://127.0.0.1:{port}")),
        ("NATS_MONITOR_URL", format!("http://user:s3cret@127.0.0.1:{port}")),
        ("DATABASE_URL", format!("postgres://user:s3cret@127.0.0.1:{port}/x?password=s3cret")),
        ("SMTP_URL", format!("smtp://user:s3cret@127.0.0.1:{port}")),
        ("PAYMENT_PROVIDER_URL", format!("http://user:s3cret@127.0.0.1:{port}")),
        ("GATEWAY_URL", format!("http://user:s3cret@127.0.0.1:{port}")),
        ("INVENTORY_URL", format!("http://user:s3cret@127.0.0.1:{port}")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://user:s3cret@127.0.0.1:{port}")),
    ];
    let passwords = [("NATS_PASSWORD", "s3cret"), ("OPERATOR_PASSWORD", "s3cret"), ("RUST_LOG", "debug")];
    // In use, so that a program that serves HTTP ends.
    let occupied = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let folder = std::env::temp_dir().join(format!("demo-it-{}-secrets", std::process::id()));
    let ledger = folder.join("x.jsonl").display().to_string();
    let runs = [unusable, unreachable].into_iter().flat_map(|urls| PROGRAMS.map(|program| (program, urls.clone())));
    // `provision` waits half a minute for a server that may be starting.
    let runs = runs.filter(|(program, urls)| *program != "provision" || urls[0].1.contains("s3cret"));
    let runs = runs.map(|(program, urls)| {
        let (address, ledger) = (&address, &ledger);
        async move {
            let mut variables: Vec<(&str, &str)> = urls.iter().map(|(name, url)| (*name, url.as_str())).collect();
            variables.extend(passwords);
            variables.extend([("HTTP_ADDRESS", address.as_str()), ("LEDGER", ledger)]);
            let arguments = if program == "choreo" { vec![program, "check"] } else { vec![program] };
            let ended = run(&arguments, &variables).await;
            assert!(!ended.status.success(), "{program}: {}", text(&ended));
            assert!(!text(&ended).contains("s3cret"), "{program}: {}", text(&ended));
            let help = run(&[program, "--help"], &variables).await;
            assert!(help.status.success() && !text(&help).contains("s3cret"), "{program}: {}", text(&help));
        }
    });
    futures::future::join_all(runs).await;
    std::fs::remove_dir_all(folder).unwrap_or_default();
}

#[tokio::test]
async fn an_invalid_logging_variable_is_reported_with_its_name() {
    for (name, value) in [("RUST_LOG", "order=verbose=3"), ("LOG_FORMAT", "xml"), ("RUST_LOG", " ")] {
        let ended = run(&["payment-provider"], &[(name, value)]).await;
        assert!(!ended.status.success() && text(&ended).contains(name), "{}", text(&ended));
    }
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_used_for_localhost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/readiness", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    });
    let unreachable = format!("http://127.0.0.1:{}", free_port());
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let ended = run(&["healthcheck", &url], &[(variable, &unreachable)]).await;
        assert!(ended.status.success(), "{variable}: {}", text(&ended));
    }
}

/// Starts a service that waits for its database, which accepts the connection and sends nothing.
async fn waiting_service() -> (Child, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = format!("postgres://{}/x", listener.local_addr().unwrap());
    let service = program(&["order-service"], &[("DATABASE_URL", &database)]).spawn().unwrap();
    let connection = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let _open = connection;
        std::future::pending::<()>().await;
    });
    (service, listener)
}

async fn signal(child: &Child, signal: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_second_signal_at_once_ends_a_process_without_its_database() {
    let (mut service, _database) = waiting_service().await;
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines();
    signal(&service, "-TERM").await;
    while !lines
        .next_line()
        .await
        .unwrap()
        .expect("the log has a line about the shutdown")
        .contains("shutting down")
    {}
    signal(&service, "-INT").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), service.wait())
        .await
        .expect("the process still runs")
        .unwrap();
    assert_eq!(ended.code(), Some(130));
}

#[tokio::test]
async fn streams_from_before_the_first_release_are_rejected_unchanged() {
    let server = choreography_test::TestNats::start().await.unwrap();
    let js = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let subjects = vec!["dead-letter.>".to_owned(), "discarded.>".to_owned()];
    let earlier = stream::Config { name: "DEAD_LETTERS".to_owned(), subjects, ..Default::default() };
    js.create_stream(earlier).await.unwrap();

    let refused = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["provision", "--nats-url", &server.url()])
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("start with an empty data folder"), "{error}");
    assert!(js.get_stream("COMMANDS").await.is_err(), "nothing was changed");
}
