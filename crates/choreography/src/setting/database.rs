//! URLs of databases: each of the features `sqlite` and `postgres` adds a form.

use std::path::Path;

#[cfg(feature = "postgres")]
use sea_orm::sqlx::postgres::PgConnectOptions;
#[cfg(feature = "sqlite")]
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

#[cfg(feature = "postgres")]
use super::parse_url;

const FORMS: &str = "is not of the form sqlite://<file>?mode=rwc or postgres://user:password@host/name";

/// The parameters of a PostgreSQL URL. sqlx logs any other one, with its value, and ignores it.
#[cfg(feature = "postgres")]
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

/// Checks the URL of a database, so that no library reports an error that repeats it.
///
/// # Errors
///
/// The violation, without a part of the URL; or the missing feature.
pub(crate) fn check_database_url(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some(("sqlite", _)) => check_sqlite(text),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => check_postgres(text),
        _ => Err(FORMS.to_owned()),
    }
}

#[cfg(feature = "sqlite")]
fn check_sqlite(text: &str) -> Result<(), String> {
    match (reqwest::Url::parse(text), text.parse::<SqliteConnectOptions>()) {
        (Ok(_), Ok(_)) => Ok(()),
        _ => Err(format!("{FORMS}; percent-encode the path")),
    }
}

#[cfg(not(feature = "sqlite"))]
fn check_sqlite(_text: &str) -> Result<(), String> {
    Err(missing("sqlite"))
}

#[cfg(feature = "postgres")]
fn check_postgres(text: &str) -> Result<(), String> {
    let url = parse_url(text)?;
    let unknown =
        url.query_pairs().any(|(name, _)| !POSTGRES_PARAMETERS.contains(&&*name) && !name.starts_with("options["));
    if unknown {
        return Err(format!("has a parameter other than {}", POSTGRES_PARAMETERS.join(", ")));
    }
    // Its error may repeat a part of the text.
    text.parse::<PgConnectOptions>().map(drop).map_err(|_| FORMS.to_owned())
}

#[cfg(not(feature = "postgres"))]
fn check_postgres(_text: &str) -> Result<(), String> {
    Err(missing("postgres"))
}

/// Describes a database that the program was built without.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn missing(feature: &str) -> String {
    format!("needs the feature `{feature}` of the crate choreography, which this program was built without")
}

/// Returns the URL of an SQLite file, which is created if it does not exist. Its path may contain any character.
#[must_use]
pub fn sqlite_url(file: &Path) -> String {
    let bytes = file.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("sqlite://{}?mode=rwc", encoded.collect::<String>())
}
