//! Derive macros of `choreography`, which re-exports and documents them.
//!
//! The expanded code refers to `::choreography`, so depend on that crate and not on this one.

mod attribute;
mod message;
mod set;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::message::Kind;

/// Declares a command: a request to a context to do something.
///
/// The type also needs `Serialize` and `Deserialize`. `#[message(…)]` takes these arguments, all but the last required:
///
/// | argument | example | |
/// |---|---|---|
/// | `context` | `"order"` | the bounded context, the first token of the subject |
/// | `name` | `"place"` | the name within the context, the third token |
/// | `version` | `1` | the version of the body, from 1 |
/// | `key` | `order_id` | the field that holds the business id, an `AsRef<str>`; `0.order_id` for a field of a field |
/// | `producer` | `"api-gateway"` | the service that may publish it, a text or a constant |
/// | `upcast` | `v1::PlaceOrder` | the version before this one, of which `From` makes this one |
#[proc_macro_derive(Command, attributes(message))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    derive(input, |input| message::expand(input, Kind::Command))
}

/// Declares an event: a fact that a context publishes. Arguments as of [`Command`](macro@Command).
#[proc_macro_derive(Event, attributes(message))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    derive(input, |input| message::expand(input, Kind::Event))
}

/// Declares a timer: a deadline that a context schedules for itself. Arguments as of [`Command`](macro@Command).
#[proc_macro_derive(Timer, attributes(message))]
pub fn derive_timer(input: TokenStream) -> TokenStream {
    derive(input, |input| message::expand(input, Kind::Timer))
}

/// Declares a closed set of messages: an enum whose variants hold one message each, or one of a smaller set.
///
/// Implements `Messages`, `Publish`, and `Serialize` (the body alone, without the name of the variant), and `From` for
/// each message.
#[proc_macro_derive(Messages)]
pub fn derive_messages(input: TokenStream) -> TokenStream {
    derive(input, set::expand)
}

/// Stands for the derive macros of clap without the feature `cli` of choreography: accepts their attributes, and
/// generates nothing.
#[doc(hidden)]
#[proc_macro_derive(NoOptions, attributes(arg, command, value))]
pub fn derive_no_options(_: TokenStream) -> TokenStream {
    TokenStream::new()
}

fn derive(
    input: TokenStream,
    expand: impl FnOnce(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
