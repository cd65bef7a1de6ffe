use std::path::Path;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::parser::{parse_host, parse_http_url, parse_origin};
use super::*;

const SECRETS: [&str; 9] = [
    "postgres://order:s3cret#1@127.0.0.1/x",
    "postgres://order:s3cret/1@127.0.0.1/x",
    "postgres://order:12/s3cret@127.0.0.1/x",
    "postgres://order:12?s3cret@127.0.0.1/x",
    "postgres://order:p@1:s3cret@@/x/@",
    "postgres://127.0.0.1:s3cret/x",
    "postgres://127.0.0.1/x?pasword=s3cret",
    "postgres://127.0.0.1/x?port=s3cret",
    "mysql://order:s3cret@127.0.0.1/x",
];

#[test]
fn an_unusable_database_url_is_refused_without_a_part_of_it() {
    for url in SECRETS.into_iter().chain(["s3cret", "sqlite://s3cret?mode=s3cret", "sqlite:// s3cret"]) {
        let why = check_database_url(url).unwrap_err();
        assert!(!why.contains("s3cret"), "{url}: {why}");
    }
    for url in ["sqlite://data/a.sqlite?mode=rwc", "postgres://u:p%23@h/x?sslmode=disable", "postgres:///x?host=/s"]
    {
        assert_eq!(check_database_url(url), Ok(()), "{url}");
    }
}

#[test]
fn a_redacted_url_has_neither_user_nor_password_nor_parameters() {
    assert_eq!(redacted("postgres://u:p@h:5433/x?password=p#p"), "postgres://h:5433/x");
    assert_eq!(redacted("nats://u:p@a:1, token@b:2"), "nats://a:1,nats://b:2");
    assert_eq!(redacted("postgres://u:p#p@h/x"), "(not a URL)");
    assert_eq!(redacted("sqlite:///d/x.sqlite?mode=rwc"), "sqlite:///d/x.sqlite");
}

#[test]
fn any_folder_has_an_sqlite_url_that_leads_to_it() {
    for folder in
        ["a b", "100%", "a%20b", "a:b", "a?b", "a#b", "Ä ö", "a,b", "[a]", "/abs/x y", "../a@b", "a\\b\"'"]
    {
        let file = Path::new(folder).join("x.sqlite");
        let url = sqlite_url(&file);
        assert_eq!(check_database_url(&url), Ok(()), "{url}");
        assert_eq!(url.parse::<SqliteConnectOptions>().unwrap().get_filename(), file, "{url}");
    }
}

#[test]
fn origins_and_hosts_are_as_browsers_send_them() {
    for (text, origin) in [
        ("http://127.0.0.1:8900", "http://127.0.0.1:8900"),
        ("https://Shop.Example/", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ] {
        assert_eq!(parse_origin(text).as_deref(), Ok(origin), "{text}");
    }
    for text in [
        "foo",
        "null",
        "*",
        "http://*",
        "http://*.example",
        "shop.example",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://a#b",
        "http://u:s3cret@a",
        "ftp://a",
        "http://a:99999",
        "http://a%zz",
    ] {
        let why = parse_origin(text).unwrap_err();
        assert!(why.contains("http://host:port") && !why.contains("s3cret"), "{text}: {why}");
    }
    for (text, host) in [
        ("shop.example", "shop.example"),
        ("Shop.Example:80", "shop.example:80"),
        ("order-service:8902", "order-service:8902"),
        ("[::1]", "[::1]"),
        ("[fd00::1]:8902", "[fd00::1]:8902"),
        ("10.1.2.3", "10.1.2.3"),
        ("bücher.example", "xn--bcher-kva.example"),
    ] {
        assert_eq!(parse_host(text).as_deref(), Ok(host), "{text}");
    }
    for text in
        ["*", "*.example", "http://a", "a/b", "a:b", "a:99999", "a:", "u@a", "::1", "a..b", ":80", "a b", "%", "a#"]
    {
        assert!(parse_host(text).is_err(), "{text}");
    }
}

#[test]
fn addresses_of_services_and_servers_are_checked_for_their_form() {
    for url in ["http://127.0.0.1:8910", "http://u:p@h/x", "http://h/", "https://h"] {
        assert!(parse_http_url(url).is_ok(), "{url}");
    }
    for url in ["", "h", "h:80", "https://", "http://", "http://h?x=1", "http://h/#x", "ftp://h", "http://h:99999"]
    {
        assert!(parse_http_url(url).is_err(), "{url}");
    }
    for url in ["nats://h", "h:4222", "a,b:1,nats://c", "tls://h:1/"] {
        assert!(parse_nats_url(url).is_ok(), "{url}");
    }
    for url in [
        "",
        ",",
        "nats://h,",
        "http://h",
        "ws://h",
        "nats://u:p@h",
        "nats://token@h",
        "nats://h/x",
        "nats://h:99999",
        "nats://",
    ] {
        assert!(parse_nats_url(url).is_err(), "{url}");
    }
}
