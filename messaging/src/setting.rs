//! Parsers of settings: whatever a program is given from outside is checked once, at its start.
//!
//! A refused setting is reported with its option, its variable, the value, and what is allowed. A value that may hold a
//! secret is never repeated. Behind the parser nothing can overflow: a time span has at most ten years.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::{Error, ErrorKind};
use reqwest::Url;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// The longest time span of any setting, in seconds: ten years.
pub const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// The longest limit of a single wait, in milliseconds: ten minutes.
const MAX_MILLISECONDS: u64 = 600_000;

/// A parser of one setting. Made by the functions of this module.
#[derive(Debug, Clone)]
pub struct Setting<F> {
    parse: F,
    is_secret: bool,
}

impl<F, T> TypedValueParser for Setting<F>
where
    F: Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<T, Error> {
        let parsed = match value.to_str() {
            None => Err("is not UTF-8".to_owned()),
            Some("") => Err("is empty; leave it out instead".to_owned()),
            Some(text) if text.trim() != text => Err("begins or ends with white space".to_owned()),
            Some(text) if text.contains(char::is_control) => Err("has a control character in it".to_owned()),
            Some(text) => (self.parse)(text),
        };
        parsed.map_err(|why| {
            let name = arg.map_or_else(String::new, full_name);
            let value = if self.is_secret { String::new() } else { format!("{value:?} ") };
            Error::raw(ErrorKind::ValueValidation, format!("{name}: {value}{why}\n")).with_cmd(command)
        })
    }
}

/// Returns the names of an option: as an argument, and as a variable of the environment.
fn full_name(arg: &clap::Arg) -> String {
    let option = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
    match arg.get_env() {
        Some(variable) => format!("{option} ({})", variable.to_string_lossy()),
        None => option,
    }
}

fn plain<T, F: Fn(&str) -> Result<T, String>>(parse: F) -> Setting<F> {
    Setting { parse, is_secret: false }
}

/// A whole number within a range.
pub fn number(range: RangeInclusive<u64>) -> Setting<impl Fn(&str) -> Result<u64, String> + Clone> {
    plain(move |text| {
        let parsed = text.parse().ok().filter(|number| range.contains(number));
        parsed.ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
    })
}

/// A time span in whole seconds, from one second to ten years.
pub fn seconds() -> Setting<impl Fn(&str) -> Result<u64, String> + Clone> {
    number(1..=MAX_SECONDS)
}

/// The limit of a wait in whole milliseconds, from one millisecond to ten minutes.
pub fn milliseconds() -> Setting<impl Fn(&str) -> Result<u64, String> + Clone> {
    number(1..=MAX_MILLISECONDS)
}

/// A count of at least one; `max` at most.
pub fn count(max: usize) -> Setting<impl Fn(&str) -> Result<usize, String> + Clone> {
    plain(move |text| {
        let parsed = text.parse().ok().filter(|count| (1..=max).contains(count));
        parsed.ok_or_else(|| format!("is not a whole number from 1 to {max}"))
    })
}

/// How many servers keep each stream.
pub fn replicas() -> Setting<impl Fn(&str) -> Result<usize, String> + Clone> {
    plain(|text| {
        let parsed = text.parse().ok().filter(|replicas| [1, 3, 5].contains(replicas));
        parsed.ok_or_else(|| "is not 1, 3, or 5".to_owned())
    })
}

/// A time span with units, such as `90s`, `15m`, `3d`; ten years at most.
pub fn age() -> Setting<impl Fn(&str) -> Result<Duration, String> + Clone> {
    plain(|text| {
        let parsed = humantime::parse_duration(text).ok();
        let parsed = parsed.filter(|age| *age <= Duration::from_secs(MAX_SECONDS));
        parsed.ok_or_else(|| "is not a time span such as 90s, 15m, 2h, 3d, of ten years at most".to_owned())
    })
}

/// An address to listen on.
pub fn address() -> Setting<impl Fn(&str) -> Result<SocketAddr, String> + Clone> {
    plain(|text| text.parse().map_err(|_| "is not an IP address with a port, such as 127.0.0.1:8900".to_owned()))
}

/// A text that is not a secret, such as the name of a user.
pub fn text() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    plain(|text| Ok(text.to_owned()))
}

/// A secret: any text that is not empty.
pub fn secret() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    Setting { parse: |text: &str| Ok(text.to_owned()), is_secret: true }
}

/// The path of a file or folder.
pub fn path() -> Setting<impl Fn(&str) -> Result<PathBuf, String> + Clone> {
    plain(|text| Ok(PathBuf::from(text)))
}

/// The address of a service: `http://host:port`, with a path where there is one.
pub fn http_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    Setting { parse: parse_http_url, is_secret: true }
}

fn parse_http_url(text: &str) -> Result<String, String> {
    let url = parse_url(text)?;
    if url.scheme() != "http" || url.query().is_some() {
        return Err("is not of the form http://host:port/path".to_owned());
    }
    Ok(text.to_owned())
}

/// The addresses of nats-servers, separated by commas: `nats://host:port` or `tls://host:port`.
pub fn nats_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    Setting { parse: parse_nats_url, is_secret: true }
}

/// Checks the addresses of nats-servers; what is wrong is reported without a part of them.
pub(crate) fn parse_nats_url(text: &str) -> Result<String, String> {
    for server in text.split(',').map(str::trim) {
        let url = parse_url(&with_scheme(server))?;
        let is_server = matches!(url.scheme(), "nats" | "tls")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && matches!(url.path(), "" | "/")
            && url.query().is_none();
        if !is_server {
            return Err("has a server that is not of the form nats://host:port or tls://host:port".to_owned());
        }
        // The client would ignore them.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user, password, or token in it; set NATS_USER and NATS_PASSWORD instead".to_owned());
        }
    }
    Ok(text.to_owned())
}

/// The URL of a database: `sqlite://<file>?mode=rwc` or `postgres://user:password@host/name`.
pub fn database_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    Setting { parse: |text: &str| check_database_url(text).map(|()| text.to_owned()), is_secret: true }
}

/// Parameters of a PostgreSQL URL. sqlx logs any other one, with its value, and ignores it.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Checks the URL of a database, so that no library complains about it in words that repeat it.
///
/// # Errors
///
/// What is wrong with it, without a part of it.
pub(crate) fn check_database_url(text: &str) -> Result<(), String> {
    const FORMS: &str = "is not of the form sqlite://<file>?mode=rwc or postgres://user:password@host/name";
    match text.split_once(':') {
        Some(("sqlite", _)) => match (Url::parse(text), text.parse::<SqliteConnectOptions>()) {
            (Ok(_), Ok(_)) => Ok(()),
            _ => Err(format!("{FORMS}; percent-encode the path")),
        },
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            let url = parse_url(text)?;
            let unknown = url
                .query_pairs()
                .any(|(name, _)| !POSTGRES_PARAMETERS.contains(&&*name) && !name.starts_with("options["));
            if unknown {
                return Err(format!("has a parameter other than {}", POSTGRES_PARAMETERS.join(", ")));
            }
            // Its error may repeat a part of the text.
            text.parse::<PgConnectOptions>().map(drop).map_err(|_| FORMS.to_owned())
        }
        _ => Err(FORMS.to_owned()),
    }
}

/// Returns the URL of an SQLite file, made if it does not exist. Its path may contain any character.
#[must_use]
pub fn sqlite_url(file: &Path) -> String {
    let bytes = file.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("sqlite://{}?mode=rwc", encoded.collect::<String>())
}

/// Returns the URLs, separated by commas, without user, password, parameters, and fragment: for logs and errors.
#[must_use]
pub fn redacted(urls: &str) -> String {
    let redacted = urls.split(',').map(|url| match Url::parse(&with_scheme(url.trim())) {
        Ok(url) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        Err(_) => "(not a URL)".to_owned(),
    });
    redacted.collect::<Vec<_>>().join(",")
}

fn with_scheme(server: &str) -> Cow<'_, str> {
    if server.contains("://") { server.into() } else { format!("nats://{server}").into() }
}

/// Parses a URL; what is wrong is reported without a part of it. An unencoded `#`, `/`, or `?` in a password ends the host
/// too early, and leaves an `@` behind it.
fn parse_url(text: &str) -> Result<Url, String> {
    let encode = "percent-encode the characters # / ? @ : in a user or password";
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {encode}"))?;
    let has_stray_at = url.path().contains('@') || url.query().is_some_and(|query| query.contains('@'));
    if has_stray_at || url.fragment().is_some() {
        return Err(format!("has an @ or # behind its host; {encode}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
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
        for url in
            ["sqlite://data/a.sqlite?mode=rwc", "postgres://u:p%23@h/x?sslmode=disable", "postgres:///x?host=/s"]
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
    fn addresses_of_services_and_servers_have_the_form_that_is_used() {
        for url in ["http://127.0.0.1:8910", "http://u:p@h/x", "http://h/"] {
            assert!(parse_http_url(url).is_ok(), "{url}");
        }
        for url in
            ["", "h", "h:80", "https://h", "http://", "http://h?x=1", "http://h/#x", "ftp://h", "http://h:99999"]
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
}
