//! Entry points for property tests and for the targets of `tools/fuzz/`: the parsers of untrusted input. Not a part of the
//! gateway's API.

use choreography_http::body::read_form;
use choreography_http::form::Form;
use choreography_http::idempotency::IdempotencyKey;
use choreography_http::parameter::{After, Cursor, EventId, Id, Parameter, Prefer, Sequence, Time, TraceParent};
use choreography_http::problem::Problem;
use contracts::account::AccountCommand;
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use contracts::query::OrderStatus;
use contracts::{CustomerId, OrderId, ProductId};
use serde::Serialize;

use crate::accounts::{AccountId, CreateAccountForm, IfMatch, UpdateAccountForm};
use crate::fields::{Day, OneOf, PageLimit};
use crate::operations::{Age, DeleteDeadLetterForm, FilterText, ListLimit, RedriveForm};
use crate::orders::{CancelOrderForm, PlaceOrderForm, StreamName};
use crate::problems::VOCABULARY;
use crate::products::RestockForm;

/// Parses a parameter and returns its canonical text; the error is the detail of the problem.
pub type ReadParameter = fn(&str) -> Result<String, String>;

/// Parses a body and returns its command as stored; the error is the problem, JSON.
pub type ReadBody = fn(&[u8]) -> Result<Vec<u8>, String>;

/// The parameters of paths, queries, and headers, by name.
pub const PARAMETERS: [(&str, ReadParameter); 20] = [
    ("order id", |text| read(text, |id: Id<OrderId>| id.0.to_string())),
    ("customer id", |text| read(text, |id: Id<CustomerId>| id.0.to_string())),
    ("product id", |text| read(text, |id: Id<ProductId>| id.0.to_string())),
    ("account id", |text| read(text, |id: AccountId| id.0.to_string())),
    ("after", |text| read(text, |After(after)| after.to_string())),
    ("limit", |text| read(text, |limit: PageLimit| limit.0.to_string())),
    ("status", |text| read(text, |OneOf(status): OneOf<OrderStatus>| status.as_str().to_owned())),
    ("time", |text| read(text, |Time(time)| time.to_string())),
    ("day", |text| read(text, |Day(day)| day)),
    ("cursor", |text| read(text, |Cursor(cursor)| cursor)),
    ("Last-Event-ID", |text| read(text, |id: EventId| id.to_string())),
    ("traceparent", |text| read(text, |TraceParent(trace)| trace.unwrap_or_default())),
    ("Prefer", |text| {
        read(text, |prefer: Prefer| prefer.wait.map(|wait| format!("wait={wait}")).unwrap_or_default())
    }),
    ("Idempotency-Key", |text| {
        let quoted =
            |key: IdempotencyKey| format!("\"{}\"", key.as_str().replace('\\', "\\\\").replace('"', "\\\""));
        read(text, quoted)
    }),
    ("sequence", |text| read(text, |Sequence(sequence)| sequence.to_string())),
    ("filter", |text| read(text, |FilterText(text)| text)),
    ("age", |text| read(text, |Age(age)| humantime::format_duration(age).to_string())),
    ("length of a list", |text| read(text, |limit: ListLimit| limit.0.to_string())),
    ("stream of a message", |text| read(text, |stream: StreamName| stream.as_str().to_owned())),
    ("If-Match", |text| read(text, |IfMatch(version)| format!("\"{version}\""))),
];

/// The bodies, by the types of their commands.
pub const BODIES: [(&str, ReadBody); 5] = [
    ("order.place.v1", |bytes| {
        let placed = form::<PlaceOrderForm>(bytes).and_then(|form| form.into_order(None));
        written(placed.map(OrderCommand::from))
    }),
    ("order.cancel.v1", |bytes| {
        let id = OrderId::parse("ORDER_001").map_err(|error| error.to_string())?;
        written(form::<CancelOrderForm>(bytes).map(|form| OrderCommand::from(form.into_cancellation(id))))
    }),
    ("inventory.restock.v1", |bytes| {
        let id = ProductId::parse("PRODUCT_001").map_err(|error| error.to_string())?;
        written(form::<RestockForm>(bytes).map(|form| InventoryCommand::from(form.into_restock(id))))
    }),
    ("account.create.v1", |bytes| written(form::<CreateAccountForm>(bytes).map(AccountCommand::from))),
    ("account.update.v1", |bytes| {
        let id = CustomerId::parse("CUSTOMER_001").map_err(|error| error.to_string())?;
        let updated = form::<UpdateAccountForm>(bytes).and_then(|form| form.into_update(&id, IfMatch(1)));
        written(updated.map(AccountCommand::from))
    }),
];

/// Parses a body that does not become a command; the error is the problem, JSON.
pub type AcceptBody = fn(&[u8]) -> Result<(), String>;

/// The bodies of operators.
pub const OPERATOR_BODIES: [AcceptBody; 2] = [accepted::<RedriveForm>, accepted::<DeleteDeadLetterForm>];

fn read<T: Parameter>(text: &str, write: impl FnOnce(T) -> String) -> Result<String, String> {
    T::parse(text).map(write)
}

/// Reads a form, with the shop's vocabulary for its errors.
fn form<F: Form>(bytes: &[u8]) -> Result<F::Value, Problem> {
    VOCABULARY.install();
    read_form::<F>(bytes)
}

fn accepted<F: Form>(bytes: &[u8]) -> Result<(), String> {
    form::<F>(bytes).map(drop).map_err(|problem| problem.json())
}

fn written<C: Serialize>(command: Result<C, Problem>) -> Result<Vec<u8>, String> {
    let command = command.map_err(|problem| problem.json())?;
    serde_json::to_vec(&command).map_err(|error| error.to_string())
}
