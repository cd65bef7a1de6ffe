//! Parsers of the options of a command line, and of their environment variables.

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{Error, ErrorKind};
use reqwest::Url;

use super::{MAX_SECONDS, check_database_url, parse_nats_url, parse_nkey_seed, parse_url};

/// The longest limit of a single wait, in milliseconds: ten minutes.
const MAX_MILLISECONDS: u64 = 600_000;

/// A parser of one setting. Created by the functions of this module.
#[derive(Debug, Clone)]
pub struct Setting<F> {
    parse: F,
    is_secret: bool,
    /// The values that `--help` lists; empty unless the setting is an enumeration.
    possible: Vec<PossibleValue>,
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

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        (!self.possible.is_empty()).then(|| Box::new(self.possible.iter().cloned()) as Box<_>)
    }
}

/// Returns the names of an option: its flag and its environment variable.
fn full_name(arg: &clap::Arg) -> String {
    let option = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
    match arg.get_env() {
        Some(variable) => format!("{option} ({})", variable.to_string_lossy()),
        None => option,
    }
}

fn plain<T, F: Fn(&str) -> Result<T, String>>(parse: F) -> Setting<F> {
    Setting { parse, is_secret: false, possible: Vec::new() }
}

fn secretive<T, F: Fn(&str) -> Result<T, String>>(parse: F) -> Setting<F> {
    Setting { parse, is_secret: true, possible: Vec::new() }
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

/// A count within a range.
pub fn count(range: RangeInclusive<usize>) -> Setting<impl Fn(&str) -> Result<usize, String> + Clone> {
    plain(move |text| {
        let parsed = text.parse().ok().filter(|count| range.contains(count));
        parsed.ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
    })
}

/// A switch: `true` or `false`, also as `yes`, `no`, `on`, `off`, `1`, `0`.
pub fn switch() -> Setting<impl Fn(&str) -> Result<bool, String> + Clone> {
    plain(|text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("is not true or false".to_owned()),
    })
}

/// One of a few words.
pub fn one_of<T: ValueEnum + Send + Sync + 'static>() -> Setting<impl Fn(&str) -> Result<T, String> + Clone> {
    let parse =
        |text: &str| T::from_str(text, false).map_err(|_| format!("is not one of {}", words::<T>().join(", ")));
    let possible = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    Setting { parse, is_secret: false, possible: possible.collect() }
}

fn words<T: ValueEnum>() -> Vec<String> {
    let words = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    words.map(|word| word.get_name().to_owned()).collect()
}

/// A text with a parser of its own; `form` is the error for a text that it refuses, such as `is not an id`.
pub fn parsed<T, E>(
    parse: impl Fn(&str) -> Result<T, E> + Clone,
    form: impl Display,
) -> Setting<impl Fn(&str) -> Result<T, String> + Clone> {
    let form = form.to_string();
    plain(move |text| parse(text).map_err(|_| form.clone()))
}

/// The number of replicas per stream.
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
    secretive(|text: &str| Ok(text.to_owned()))
}

/// The seed of a user's NKey, such as `SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM`.
pub fn nkey_seed() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    secretive(|text: &str| parse_nkey_seed(text).map(|_| text.to_owned()))
}

/// The path of a file or folder.
pub fn path() -> Setting<impl Fn(&str) -> Result<PathBuf, String> + Clone> {
    plain(|text| Ok(PathBuf::from(text)))
}

/// The address of a service: `http://host:port` or `https://host:port`, with an optional path.
pub fn http_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    secretive(parse_http_url)
}

pub(super) fn parse_http_url(text: &str) -> Result<String, String> {
    let url = parse_url(text)?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        return Err("is not of the form http://host:port/path or https://host:port/path".to_owned());
    }
    Ok(text.to_owned())
}

/// The origin of a web page, such as `https://shop.example`, as browsers send it.
pub fn origin() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    plain(parse_origin)
}

pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    const FORM: &str = "is not of the form http://host:port or https://host:port";
    let url = Url::parse(text).map_err(|_| FORM.to_owned())?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host_str().is_some_and(is_host);
    if is_origin { Ok(url.origin().ascii_serialization()) } else { Err(FORM.to_owned()) }
}

/// The name of a host, with an optional port, as clients write it into `Host`.
pub fn host() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    plain(parse_host)
}

pub(super) fn parse_host(text: &str) -> Result<String, String> {
    const FORM: &str = "is not a host such as shop.example, shop.example:8900, or [::1]";
    let url = Url::parse(&format!("http://{text}")).map_err(|_| FORM.to_owned())?;
    let is_only_host = !text.contains(['/', '\\', '?', '#', '@']) && !text.ends_with(':');
    let name = url.host_str().filter(|name| is_only_host && is_host(name)).ok_or_else(|| FORM.to_owned())?;
    // Read from the text: a parsed URL omits the default port of its scheme.
    match text.rsplit_once(':') {
        Some((_, port)) if !text.ends_with(']') => Ok(format!("{name}:{port}")),
        _ => Ok(name.to_owned()),
    }
}

/// Returns whether a URL's host is a name or an address. A URL accepts more, such as `*` or `foo..bar`.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.starts_with('[') || name.split('.').all(is_label)
}

/// The addresses of nats-servers, separated by commas: `nats://host:port` or `tls://host:port`.
pub fn nats_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    secretive(parse_nats_url)
}

/// The URL of a database: `sqlite://<file>?mode=rwc` or `postgres://user:password@host/name`.
pub fn database_url() -> Setting<impl Fn(&str) -> Result<String, String> + Clone> {
    secretive(|text: &str| check_database_url(text).map(|()| text.to_owned()))
}
