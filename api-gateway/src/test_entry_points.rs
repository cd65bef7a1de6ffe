//! Entry points for property tests and for the targets of `tools/fuzz/`: the parsers of untrusted input. Not a part of the
//! gateway's API.

use contracts::account::{AccountCommand, CreateAccount};
use contracts::inventory::InventoryCommand;
use contracts::order::OrderCommand;
use contracts::query::OrderStatus;
use contracts::{CustomerId, OrderId, ProductId};
use serde::Serialize;

use crate::accounts::{AccountId, CreateAccountForm, IfMatch, UpdateAccountForm};
use crate::body::{Form, read_form};
use crate::idempotency::IdempotencyKey;
use crate::operations::{Age, DeleteDeadLetterForm, FilterText, ListLimit, RedriveForm};
use crate::orders::{CancelOrderForm, PlaceOrderForm, StreamName};
use crate::parameter::{After, Cursor, EventId, Limit, Parameter, Prefer, Sequence, TraceParent};
use crate::problem::Problem;
use crate::products::RestockForm;

/// Parses a parameter and returns its canonical text; the error is the detail of the problem.
pub type ReadParameter = fn(&str) -> Result<String, String>;

/// Parses a body and returns its command as stored; the error is the problem, JSON.
pub type ReadBody = fn(&[u8]) -> Result<Vec<u8>, String>;

/// The parameters of paths, queries, and headers, by name.
pub const PARAMETERS: [(&str, ReadParameter); 18] = [
    ("order id", |text| read(text, |id: OrderId| id.to_string())),
    ("customer id", |text| read(text, |id: CustomerId| id.to_string())),
    ("product id", |text| read(text, |id: ProductId| id.to_string())),
    ("account id", |text| read(text, |id: AccountId| id.0.to_string())),
    ("after", |text| read(text, |After(after)| after.to_string())),
    ("limit", |text| read(text, |Limit(limit)| limit.to_string())),
    ("status", |text| read(text, |status: OrderStatus| status.as_str().to_owned())),
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
    ("length of a list", |text| read(text, |ListLimit(limit)| limit.to_string())),
    ("stream of a message", |text| read(text, |stream: StreamName| stream.as_str().to_owned())),
    ("If-Match", |text| read(text, |IfMatch(version)| format!("\"{version}\""))),
];

/// The bodies, by the types of their commands.
pub const BODIES: [(&str, ReadBody); 5] = [
    ("order.place.v1", |bytes| {
        let placed = read_form(bytes).and_then(|form: PlaceOrderForm| form.into_order(None));
        written(placed.map(OrderCommand::from))
    }),
    ("order.cancel.v1", |bytes| {
        command(bytes, "ORDER_001", |form: CancelOrderForm, id| OrderCommand::from(form.into_cancellation(id)))
    }),
    ("inventory.restock.v1", |bytes| {
        command(bytes, "PRODUCT_001", |form: RestockForm, id| InventoryCommand::from(form.into_restock(id)))
    }),
    ("account.create.v1", |bytes| {
        let created: Result<CreateAccount, Problem> = read_form(bytes).map(CreateAccountForm::into_creation);
        written(created.map(AccountCommand::from))
    }),
    ("account.update.v1", |bytes| {
        let id = CustomerId::parse("CUSTOMER_001").map_err(|error| error.to_string())?;
        let updated = read_form(bytes).and_then(|form: UpdateAccountForm| form.into_update(&id, IfMatch(1)));
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

fn accepted<F: Form>(bytes: &[u8]) -> Result<(), String> {
    read_form::<F>(bytes).map(drop).map_err(|problem| problem.json())
}

fn command<F: Form, I: Parameter, C: Serialize>(
    bytes: &[u8],
    id: &str,
    make: impl FnOnce(F, I) -> C,
) -> Result<Vec<u8>, String> {
    let id = I::parse(id)?;
    written(read_form(bytes).map(|form| make(form, id)))
}

fn written<C: Serialize>(command: Result<C, Problem>) -> Result<Vec<u8>, String> {
    let command = command.map_err(|problem| problem.json())?;
    serde_json::to_vec(&command).map_err(|error| error.to_string())
}
