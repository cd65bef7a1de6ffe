//! The REST operations on orders: place, cancel, get, list.

mod cancel;
mod message;
mod payment;
mod place;
mod representation;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use choreography::Durability;
use choreography_ops::Operator;
use choreography_ops::explain::{Reach, explain};
use contracts::query::{DEFAULT_PAGE, ListOrders, OrderStatus};
use contracts::{CustomerId, OrderId};
use poem_openapi::{ApiResponse, OpenApi};

use crate::Tag;
use crate::body::Body;
use crate::commands::{Commands, Draft, Request, unavailable};
use crate::idempotency::{IdempotencyKey, Operation};
use crate::json::JsonOf;
use crate::parameter::{Cursor, Header, Limit, Path, Prefer, Query, Sequence, TraceParent};
use crate::problem::{Code, Codes, Failure, Problem};
use crate::queries::Queries;
use crate::wait::{Expected, Outcome, Waiter, Waiters};
pub(crate) use cancel::CancelOrderForm;
use message::Message;
pub(crate) use message::StreamName;
use payment::Payment;
pub(crate) use place::PlaceOrderForm;
use representation::{Order, OrderAccepted, OrderHistory, OrderPage};
use timeline::Timeline;

/// The operations on orders.
pub(crate) struct OrdersApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
    pub(crate) waiters: Waiters,
    /// Queries services and streams with the gateway's permissions.
    pub(crate) explainer: Operator,
}

/// The responses to the commands on orders.
#[derive(ApiResponse)]
pub(crate) enum OrderCommanded {
    /// With `Prefer: wait`: the order is final, `confirmed` or `cancelled`.
    #[oai(status = 200)]
    Final(
        JsonOf<Order>,
        /// The waiting time that the gateway applied.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The command is stored and will be processed. `Location`, `/events`, or `Prefer: wait` show whether the order is
    /// placed, and how it ends.
    #[oai(status = 202)]
    Accepted(
        JsonOf<OrderAccepted>,
        /// The path of the order, which may not exist yet.
        #[oai(header = "Location")]
        String,
        /// The waiting time that the gateway applied, if it held the response.
        #[oai(header = "Preference-Applied")]
        Option<String>,
        /// `true` if the stream had this command already, from the same request within the last two minutes.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// The responses of `GET /orders/{id}`.
#[derive(ApiResponse)]
pub(crate) enum GetOrder {
    /// The current order.
    #[oai(status = 200)]
    Found(JsonOf<Order>),
}

/// The responses of `GET /orders`.
#[derive(ApiResponse)]
pub(crate) enum ListedOrders {
    /// A page of orders, newest first.
    #[oai(status = 200)]
    Page(JsonOf<OrderPage>),
}

/// The responses of `GET /orders/{id}/history`.
#[derive(ApiResponse)]
pub(crate) enum GetHistory {
    /// The order's events, by version.
    #[oai(status = 200)]
    Found(JsonOf<OrderHistory>),
}

/// The responses of `GET /orders/{id}/payment`.
#[derive(ApiResponse)]
pub(crate) enum GetPayment {
    /// The order's current payment.
    #[oai(status = 200)]
    Found(JsonOf<Payment>),
}

/// The responses of `GET /orders/{id}/timeline`.
#[derive(ApiResponse)]
pub(crate) enum GetTimeline {
    /// The order's messages, and its blockers; `sources` lists unavailable sources.
    #[oai(status = 200)]
    Found(JsonOf<Timeline>),
}

/// The responses of `GET /orders/{id}/messages/{stream}/{sequence}`.
#[derive(ApiResponse)]
pub(crate) enum GetMessage {
    /// The message.
    #[oai(status = 200)]
    Found(JsonOf<Message>),
}

/// The errors of `POST /orders`.
pub(crate) struct PlaceFailures;

impl Codes for PlaceFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::IdempotencyKeyReused,
        Code::OrderIdAlreadyUsed,
        Code::Unavailable,
    ];
}

/// The errors of `POST /orders/{id}/cancel`.
pub(crate) struct CancelFailures;

impl Codes for CancelFailures {
    const CODES: &'static [Code] = &[
        Code::InvalidParameter,
        Code::MalformedJson,
        Code::OrderAlreadyConfirmed,
        Code::BodyTooLarge,
        Code::UnsupportedMediaType,
        Code::Validation,
        Code::IdempotencyKeyReused,
        Code::Unavailable,
    ];
}

/// The errors of getting an order.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::OrderNotFound, Code::Unavailable];
}

/// The errors of getting a message.
pub(crate) struct MessageFailures;

impl Codes for MessageFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::MessageNotFound, Code::Unavailable];
}

/// The errors of getting a payment.
pub(crate) struct PaymentFailures;

impl Codes for PaymentFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::PaymentNotFound, Code::Unavailable];
}

/// The errors of listing orders.
pub(crate) struct ListFailures;

impl Codes for ListFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable];
}

#[OpenApi(tag = "Tag::Orders")]
impl OrdersApi {
    /// Place an order
    ///
    /// Responds as soon as the command is stored. Repeating the request is safe if it has an `orderId` or an
    /// `Idempotency-Key`. With `Prefer: wait=10` the response is held until the order is final.
    #[oai(path = "/orders", method = "post", operation_id = "placeOrder")]
    async fn place(
        &self,
        /// Makes the request safe to repeat: a string in double quotes that the client generates, such as a UUID. The
        /// same key with the same content returns the same response, and the command is processed once; with other
        /// content the request is refused. Keys expire after 24 hours. A request that fails validation does not use its
        /// key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the response until the order is final, for at most N seconds; more than 60 count as 60.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<PlaceOrderForm>,
    ) -> Result<OrderCommanded, Failure<PlaceFailures>> {
        let key = idempotency_key.0;
        let order = body.0.into_order(key.as_ref())?;
        let draft = Draft::new(&order)?;
        let request = Request {
            operation: Operation { template: "POST /orders", id: "" },
            id_without_key: draft.id_by_content(),
            draft,
            key: key.as_ref(),
            trace_parent: trace_parent.0.and_then(|context| context.0),
        };
        let commanded = self.command(&order.order_id, request, Expected::Placed(&order), prefer.0).await?;
        Ok(response(&order.order_id, self.commands.durability(), commanded)?)
    }

    /// Cancel an order
    ///
    /// A confirmed order stays confirmed. `Prefer: wait=10` reports that as an error; otherwise the response is 202. A
    /// cancellation that arrives before its order waits for it.
    #[oai(path = "/orders/:id/cancel", method = "post", operation_id = "cancelOrder")]
    async fn cancel(
        &self,
        /// The order's id.
        id: Path<OrderId>,
        /// Makes the request safe to repeat, as for placing an order. Without a key, cancelling the same order for the
        /// same reason again is the same request.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the response until the order is final, for at most N seconds; more than 60 count as 60.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all messages that it causes.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<CancelOrderForm>,
    ) -> Result<OrderCommanded, Failure<CancelFailures>> {
        let order_id = id.0;
        let draft = Draft::new(&body.0.into_cancellation(order_id.clone()))?;
        let request = Request {
            operation: Operation { template: "POST /orders/{id}/cancel", id: order_id.as_str() },
            id_without_key: draft.id_by_content(),
            draft,
            key: idempotency_key.0.as_ref(),
            trace_parent: trace_parent.0.and_then(|context| context.0),
        };
        let commanded = self.command(&order_id, request, Expected::Cancelled, prefer.0).await?;
        Ok(response(&order_id, self.commands.durability(), commanded)?)
    }

    /// Get an order
    ///
    /// An order whose command is still being processed does not exist yet.
    #[oai(path = "/orders/:id", method = "get", operation_id = "getOrder")]
    async fn get(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetOrder, Failure<GetFailures>> {
        let json = self.queries.get(format!("order.query.get.{}", id.0), Code::OrderNotFound).await?;
        Ok(GetOrder::Found(JsonOf::relayed(json)))
    }

    /// List orders
    ///
    /// Newest first.
    #[oai(path = "/orders", method = "get", operation_id = "listOrders")]
    async fn list(
        &self,
        /// Only orders of this customer.
        #[oai(name = "customerId")]
        customer_id: Query<CustomerId>,
        /// Only orders with this status.
        status: Query<OrderStatus>,
        /// The `next` of the previous page.
        cursor: Query<Cursor>,
        /// How many orders a page has at most.
        limit: Query<Limit>,
    ) -> Result<ListedOrders, Failure<ListFailures>> {
        let query = ListOrders {
            customer_id: customer_id.0,
            status: status.0,
            cursor: cursor.0.map(|cursor| cursor.0),
            limit: Some(limit.0.map_or(DEFAULT_PAGE, |limit| limit.0)),
        };
        Ok(ListedOrders::Page(JsonOf::relayed(self.queries.list("order.query.list", &query).await?)))
    }

    /// Get the history of an order
    #[oai(path = "/orders/:id/history", method = "get", operation_id = "getOrderHistory")]
    async fn history(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetHistory, Failure<GetFailures>> {
        let json = self.queries.get(format!("order.query.history.{}", id.0), Code::OrderNotFound).await?;
        Ok(GetHistory::Found(JsonOf::relayed(json)))
    }

    /// Get the payment of an order
    #[oai(path = "/orders/:id/payment", method = "get", operation_id = "getOrderPayment")]
    async fn payment(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetPayment, Failure<PaymentFailures>> {
        let json = self.queries.get(format!("payment.query.get.{}", id.0), Code::PaymentNotFound).await?;
        Ok(GetPayment::Found(JsonOf::relayed(json)))
    }

    /// Get the timeline of an order across all services
    ///
    /// Every message with the order's id, its delivery status at each consumer, and the order's current blockers.
    /// Unavailable services are listed as such; a status that only they know is `unknown`.
    #[oai(path = "/orders/:id/timeline", method = "get", operation_id = "getOrderTimeline")]
    async fn timeline(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetTimeline, Failure<GetFailures>> {
        let timeline = explain(&self.explainer, id.0.as_str(), Reach::NotDeadLetters).await;
        let timeline = timeline.map_err(|error| internal(&error))?;
        if timeline.is_empty() {
            return Err(match timeline.is_complete() {
                true => Problem::new(Code::OrderNotFound),
                false => unavailable("streams and services are unavailable"),
            }
            .into());
        }
        Ok(GetTimeline::Found(JsonOf::serialized(&timeline)?))
    }

    /// Get a message of an order's timeline
    ///
    /// With all its headers, and its body as published. Messages of accounts are not included.
    #[oai(path = "/orders/:id/messages/:stream/:sequence", method = "get", operation_id = "getOrderMessage")]
    async fn message(
        &self,
        /// The order's id.
        id: Path<OrderId>,
        /// The stream of the message.
        stream: Path<StreamName>,
        /// Its sequence in the stream.
        sequence: Path<Sequence>,
    ) -> Result<GetMessage, Failure<MessageFailures>> {
        let message = message::find(self.explainer.js(), &id.0, stream.0, sequence.0).await?;
        Ok(GetMessage::Found(JsonOf::serialized(&message)?))
    }
}

/// A stored command and its outcome.
struct Commanded {
    /// The waiting time in seconds, if the response was held.
    held: Option<u32>,
    /// `Some(true)` if the stream had the command already.
    replayed: Option<bool>,
    outcome: Outcome,
}

impl OrdersApi {
    /// Publishes a command. Waits for its outcome if the request prefers that and fewer than the maximum wait.
    async fn command(
        &self,
        order_id: &OrderId,
        request: Request<'_>,
        expected: Expected<'_>,
        prefer: Option<Prefer>,
    ) -> Result<Commanded, Problem> {
        let seconds = prefer.and_then(|prefer| prefer.wait);
        // Subscribe before the command is published; otherwise an event that it causes could be missed.
        let waiter: Option<(Waiter, u32)> = match seconds {
            Some(seconds) => self.waiters.subscribe(order_id).await.map(|waiter| (waiter, seconds)),
            None => None,
        };
        let stored = self.commands.publish(request).await?;
        let replayed = stored.duplicate.then_some(true);
        Ok(match waiter {
            Some((waiter, seconds)) => {
                let outcome = waiter.outcome(stored.id, expected, Duration::from_secs(seconds.into())).await;
                Commanded { held: Some(seconds), replayed, outcome }
            }
            None => Commanded { held: None, replayed, outcome: Outcome::NotYet },
        })
    }
}

fn internal(error: &anyhow::Error) -> Problem {
    tracing::error!(error = format!("{error:#}"), "a timeline cannot be built");
    Problem::new(Code::Internal)
}

fn response(order_id: &OrderId, durability: Durability, commanded: Commanded) -> Result<OrderCommanded, Problem> {
    let applied = commanded.held.map(|seconds| format!("wait={seconds}"));
    match commanded.outcome {
        Outcome::Final(json) => Ok(OrderCommanded::Final(JsonOf::relayed(json), applied)),
        Outcome::Refused(problem) => Err(problem),
        Outcome::NotYet => Ok(OrderCommanded::Accepted(
            JsonOf::written(&OrderAccepted::new(order_id, durability)),
            format!("/orders/{order_id}"),
            applied,
            commanded.replayed,
        )),
    }
}
