//! The arguments of `#[message(…)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, LitInt, LitStr, Member, Path, Result, Token};

/// The first tokens of subjects that the library uses itself.
const RESERVED: [&str; 3] = ["admin", "dead-letter", "dead-letter-deleted"];

/// The path of fields to the business id: `order_id`, or `0.order_id`.
pub(crate) type Key = Punctuated<Member, Token![.]>;

/// The declaration in `#[message(…)]`.
pub(crate) struct Arguments {
    pub(crate) context: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) key: Key,
    pub(crate) producer: Expr,
    /// The version before this one, which this one is made of.
    pub(crate) upcast: Option<Path>,
}

/// The arguments that were read so far.
#[derive(Default)]
struct Given {
    context: Option<String>,
    name: Option<String>,
    version: Option<u32>,
    key: Option<Key>,
    producer: Option<Expr>,
    upcast: Option<Path>,
}

impl Arguments {
    /// Reads the arguments; missing ones are reported at `at`.
    pub(crate) fn read(attributes: &[Attribute], at: Span) -> Result<Self> {
        let mut given = Given::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("message")) {
            attribute.parse_nested_meta(|meta| given.read(&meta))?;
        }
        let Given { context, name, version, key, producer, upcast } = given;
        match (context, name, version, key, producer) {
            (Some(context), Some(name), Some(version), Some(key), Some(producer)) => {
                check_upcast(version, upcast.as_ref())?;
                Ok(Self { context, name, version, key, producer, upcast })
            }
            (context, name, version, key, producer) => {
                let missing = [
                    (context.is_none(), r#"`context = "order"`: the bounded context it belongs to"#),
                    (name.is_none(), r#"`name = "placed"`: its name within the context"#),
                    (version.is_none(), "`version = 1`: the version of its body"),
                    (key.is_none(), "`key = order_id`: the field that holds the business id it is about"),
                    (producer.is_none(), r#"`producer = "order-service"`: the service that may publish it"#),
                ];
                let missing: Vec<&str> =
                    missing.iter().filter(|(missing, _)| *missing).map(|(_, text)| *text).collect();
                Err(Error::new(at, format!("a message needs `#[message(…)]` with\n{}", missing.join("\n"))))
            }
        }
    }
}

impl Given {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let argument = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match argument.as_str() {
            "context" => set(&mut self.context, meta, context(&meta.value()?.parse()?)?),
            "name" => set(&mut self.name, meta, token(&meta.value()?.parse()?)?),
            "version" => set(&mut self.version, meta, version(&meta.value()?.parse()?)?),
            "key" => set(&mut self.key, meta, Key::parse_separated_nonempty(meta.value()?)?),
            "producer" => set(&mut self.producer, meta, meta.value()?.parse()?),
            "upcast" => set(&mut self.upcast, meta, meta.value()?.parse()?),
            _ => Err(meta.error(
                "unknown argument; `#[message(…)]` takes context, name, version, key, producer, and upcast",
            )),
        }
    }
}

fn set<T>(argument: &mut Option<T>, meta: &ParseNestedMeta<'_>, value: T) -> Result<()> {
    match argument.replace(value) {
        Some(_) => Err(meta.error("given twice; remove one of them")),
        None => Ok(()),
    }
}

/// Refuses an older version of the first one.
fn check_upcast(version: u32, upcast: Option<&Path>) -> Result<()> {
    match upcast {
        Some(older) if version == 1 => {
            Err(Error::new_spanned(older, "version 1 has no older version: remove `upcast`, or raise the version"))
        }
        _ => Ok(()),
    }
}

fn context(literal: &LitStr) -> Result<String> {
    let context = token(literal)?;
    if RESERVED.contains(&context.as_str()) {
        let text = format!("subjects that begin with `{context}` are the library's own: choose another context");
        return Err(Error::new(literal.span(), text));
    }
    Ok(context)
}

/// Checks that a text is a valid subject token.
fn token(literal: &LitStr) -> Result<String> {
    let token = literal.value();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if token.is_empty() || !token.bytes().all(allowed) {
        let text = format!("{token:?} is not a valid subject token: use letters, digits, `-`, and `_`");
        return Err(Error::new(literal.span(), text));
    }
    Ok(token)
}

fn version(literal: &LitInt) -> Result<u32> {
    match literal.base10_parse()? {
        0 => Err(Error::new(literal.span(), "versions begin with 1")),
        version => Ok(version),
    }
}
