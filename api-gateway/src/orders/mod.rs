//! The REST side of orders: place, cancel, look.

mod cancel;
mod message;
mod payment;
mod place;
mod representation;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use choreo::Operator;
use choreo::explain::{Reach, explain};
use contracts::order::OrderCommand;
use contracts::query::{DEFAULT_PAGE, ListOrders, OrderStatus};
use contracts::{CustomerId, OrderId};
use messaging::Durability;
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

/// Orders.
pub(crate) struct OrdersApi {
    pub(crate) commands: Arc<Commands>,
    pub(crate) queries: Queries,
    pub(crate) waiters: Waiters,
    /// Asks services and streams with the rights of the gateway.
    pub(crate) explainer: Operator,
}

/// Answers to the commands about an order.
#[derive(ApiResponse)]
pub(crate) enum OrderCommanded {
    /// With `Prefer: wait`: the order is final, `confirmed` or `cancelled`.
    #[oai(status = 200)]
    Final(
        JsonOf<Order>,
        /// How long the answer may have been held.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The command is stored and will be carried out. Whether the order comes to be, and how it ends, is to be seen
    /// at `Location`, in `/events`, or with `Prefer: wait`.
    #[oai(status = 202)]
    Accepted(
        JsonOf<OrderAccepted>,
        /// Where the order is to be seen.
        #[oai(header = "Location")]
        String,
        /// How long the answer was held, where it was.
        #[oai(header = "Preference-Applied")]
        Option<String>,
        /// `true` where the command was there already, from the same request a short while (two minutes) ago.
        #[oai(header = "Idempotent-Replayed")]
        Option<bool>,
    ),
}

/// Answers to `GET /orders/{id}`.
#[derive(ApiResponse)]
pub(crate) enum GetOrder {
    /// The order as it stands.
    #[oai(status = 200)]
    Found(JsonOf<Order>),
}

/// Answers to `GET /orders`.
#[derive(ApiResponse)]
pub(crate) enum ListedOrders {
    /// A page of orders, newest first.
    #[oai(status = 200)]
    Page(JsonOf<OrderPage>),
}

/// Answers to `GET /orders/{id}/history`.
#[derive(ApiResponse)]
pub(crate) enum GetHistory {
    /// What happened to the order, in order.
    #[oai(status = 200)]
    Found(JsonOf<OrderHistory>),
}

/// Answers to `GET /orders/{id}/payment`.
#[derive(ApiResponse)]
pub(crate) enum GetPayment {
    /// The order's payment as it stands.
    #[oai(status = 200)]
    Found(JsonOf<Payment>),
}

/// Answers to `GET /orders/{id}/timeline`.
#[derive(ApiResponse)]
pub(crate) enum GetTimeline {
    /// What happened to the order, and what it waits for; `sources` names what did not answer.
    #[oai(status = 200)]
    Found(JsonOf<Timeline>),
}

/// Answers to `GET /orders/{id}/messages/{stream}/{sequence}`.
#[derive(ApiResponse)]
pub(crate) enum GetMessage {
    /// The message.
    #[oai(status = 200)]
    Found(JsonOf<Message>),
}

/// How `POST /orders` may fail.
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

/// How `POST /orders/{id}/cancel` may fail.
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

/// How looking at one order may fail.
pub(crate) struct GetFailures;

impl Codes for GetFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::OrderNotFound, Code::Unavailable];
}

/// How looking at a message may fail.
pub(crate) struct MessageFailures;

impl Codes for MessageFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::MessageNotFound, Code::Unavailable];
}

/// How looking at a payment may fail.
pub(crate) struct PaymentFailures;

impl Codes for PaymentFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::PaymentNotFound, Code::Unavailable];
}

/// How listing may fail.
pub(crate) struct ListFailures;

impl Codes for ListFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable];
}

#[OpenApi(tag = "Tag::Orders")]
impl OrdersApi {
    /// Place an order
    ///
    /// Answers as soon as the command is stored; sending the same request again is safe where it has an `orderId` or
    /// an `Idempotency-Key`. With `Prefer: wait=10` the answer is held until the order is final.
    #[oai(path = "/orders", method = "post", operation_id = "placeOrder")]
    async fn place(
        &self,
        /// Makes the request safe to repeat: a string in double quotes that the client thinks up for it, such as a
        /// UUID. The same key with the same content has the same answer and is carried out once; with other content
        /// it is refused. Keys are forgotten after 24 hours. A request that fails validation does not use its key up.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the answer until the order is final, N seconds at most; more than 60 count as 60.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<PlaceOrderForm>,
    ) -> Result<OrderCommanded, Failure<PlaceFailures>> {
        let key = idempotency_key.0;
        let order = body.0.into_order(key.as_ref())?;
        let draft = Draft::order(&OrderCommand::from(order.clone()))?;
        let request = Request {
            operation: Operation { template: "POST /orders", id: "" },
            id_without_key: draft.id_by_content(),
            draft,
            key: key.as_ref(),
            trace_parent: trace_parent.0.and_then(|context| context.0),
        };
        let commanded = self.command(&order.order_id, request, Expected::Placed(&order), prefer.0).await?;
        Ok(answer(&order.order_id, self.commands.durability(), commanded)?)
    }

    /// Cancel an order
    ///
    /// An order that is confirmed stays confirmed; `Prefer: wait=10` tells, without it the answer is 202 all the
    /// same. A cancellation that comes before its order waits for it.
    #[oai(path = "/orders/:id/cancel", method = "post", operation_id = "cancelOrder")]
    async fn cancel(
        &self,
        /// The order's id.
        id: Path<OrderId>,
        /// Makes the request safe to repeat, as for placing an order. Without a key, cancelling the same order for the
        /// same reason again is the same request.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<IdempotencyKey>,
        /// `wait=N` holds the answer until the order is final, N seconds at most; more than 60 count as 60.
        #[oai(name = "Prefer")]
        prefer: Header<Prefer>,
        /// W3C trace context, passed on with the command and all that follows from it.
        #[oai(name = "traceparent")]
        trace_parent: Header<TraceParent>,
        body: Body<CancelOrderForm>,
    ) -> Result<OrderCommanded, Failure<CancelFailures>> {
        let order_id = id.0;
        let draft = Draft::order(&OrderCommand::from(body.0.into_cancellation(order_id.clone())))?;
        let request = Request {
            operation: Operation { template: "POST /orders/{id}/cancel", id: order_id.as_str() },
            id_without_key: draft.id_by_content(),
            draft,
            key: idempotency_key.0.as_ref(),
            trace_parent: trace_parent.0.and_then(|context| context.0),
        };
        let commanded = self.command(&order_id, request, Expected::Cancelled, prefer.0).await?;
        Ok(answer(&order_id, self.commands.durability(), commanded)?)
    }

    /// See an order
    ///
    /// An order whose command is still under way does not exist yet.
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
        /// Only this customer's.
        #[oai(name = "customerId")]
        customer_id: Query<CustomerId>,
        /// Only those that stand there.
        status: Query<OrderStatus>,
        /// The `next` of the page before.
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

    /// See what happened to an order
    #[oai(path = "/orders/:id/history", method = "get", operation_id = "getOrderHistory")]
    async fn history(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetHistory, Failure<GetFailures>> {
        let json = self.queries.get(format!("order.query.history.{}", id.0), Code::OrderNotFound).await?;
        Ok(GetHistory::Found(JsonOf::relayed(json)))
    }

    /// See the payment of an order
    #[oai(path = "/orders/:id/payment", method = "get", operation_id = "getOrderPayment")]
    async fn payment(
        &self,
        /// The order's id.
        id: Path<OrderId>,
    ) -> Result<GetPayment, Failure<PaymentFailures>> {
        let json = self.queries.get(format!("payment.query.get.{}", id.0), Code::PaymentNotFound).await?;
        Ok(GetPayment::Found(JsonOf::relayed(json)))
    }

    /// See what happened to an order across all services
    ///
    /// Every message about it, what became of each with each service that listens to it, and what the order waits for
    /// at present. Services that do not answer are named; what only they know is said to be unknown.
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
                false => unavailable("streams and services do not answer"),
            }
            .into());
        }
        Ok(GetTimeline::Found(JsonOf::serialized(&timeline)?))
    }

    /// See one message of an order's timeline
    ///
    /// With all its headers, and its body as it was said. Messages of accounts are not shown.
    #[oai(path = "/orders/:id/messages/:stream/:sequence", method = "get", operation_id = "getOrderMessage")]
    async fn message(
        &self,
        /// The order's id.
        id: Path<OrderId>,
        /// The stream that holds it.
        stream: Path<StreamName>,
        /// Its place there.
        sequence: Path<Sequence>,
    ) -> Result<GetMessage, Failure<MessageFailures>> {
        let message = message::find(self.explainer.js(), &id.0, stream.0, sequence.0).await?;
        Ok(GetMessage::Found(JsonOf::serialized(&message)?))
    }
}

/// A command that is stored, and what came of it.
struct Commanded {
    /// How many seconds the answer may have been held, where it was.
    held: Option<u32>,
    /// Whether the stream had the command already; `None` where not.
    replayed: Option<bool>,
    outcome: Outcome,
}

impl OrdersApi {
    /// Publishes a command, and waits for its outcome where that is preferred and there is room to wait.
    async fn command(
        &self,
        order_id: &OrderId,
        request: Request<'_>,
        expected: Expected<'_>,
        prefer: Option<Prefer>,
    ) -> Result<Commanded, Problem> {
        let seconds = prefer.and_then(|prefer| prefer.wait);
        // Listening begins before the command is published, or the events that follow could be missed.
        let waiter: Option<(Waiter, u32)> = match seconds {
            Some(seconds) => self.waiters.listen(order_id).await.map(|waiter| (waiter, seconds)),
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
    tracing::error!(error = format!("{error:#}"), "a timeline could not be made");
    Problem::new(Code::Internal)
}

fn answer(order_id: &OrderId, durability: Durability, commanded: Commanded) -> Result<OrderCommanded, Problem> {
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
