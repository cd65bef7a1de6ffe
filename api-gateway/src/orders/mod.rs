//! The REST operations on orders: place, cancel, get, list.

mod cancel;
mod message;
mod outcome;
mod payment;
mod place;
mod representation;
mod timeline;

use std::sync::Arc;

use choreography::Publish;
use choreography::envelope::unix_millis;
use choreography_http::auth::Caller;
use choreography_http::body::Body;
use choreography_http::code::Code;
use choreography_http::commands::{Commands, Request, WithoutKey};
use choreography_http::idempotency::{IdempotencyKey, Operation};
use choreography_http::json::JsonOf;
use choreography_http::parameter::{
    Cursor, Header, Id, Path, Prefer, Query, Sequence, Time, TraceParent, Version, point,
};
use choreography_http::problem::{Failure, Problem, internal, unavailable};
use choreography_http::queries::{Queries, decode};
use choreography_http::waiter::Waiters;
use choreography_http::{failures, replies};
use choreography_ops::Operator;
use choreography_ops::explain::{Reach, explain};
use contracts::query::{OrderSort, OrderStatus, SearchOrders, WaitsFor};
use contracts::{CustomerId, OrderId, ProductId};
use poem_openapi::{ApiResponse, OpenApi};

use crate::Tag;
use crate::fields::{OneOf, PageLimit};
use crate::problems;
pub(crate) use cancel::CancelOrderForm;
use message::Message;
pub(crate) use message::StreamName;
use outcome::{Expected, outcome, subjects};
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

replies! {
    /// The current order.
    GetOrder: Order;

    /// A page of orders.
    ListedOrders: OrderPage;

    /// The order's events, by version.
    GetHistory: OrderHistory;

    /// The order's current payment.
    GetPayment: Payment;

    /// The order's messages, and its blockers; `sources` lists unavailable sources.
    GetTimeline: Timeline;

    /// The message.
    GetMessage: Message;
}

failures! {
    /// The errors of `POST /orders`.
    PlaceFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY, &[problems::ORDER_ID_ALREADY_USED];

    /// The errors of `POST /orders/{id}/cancel`.
    CancelFailures = Code::OF_QUERY, Code::OF_BODY, Code::OF_KEY, &[problems::ORDER_ALREADY_CONFIRMED];

    /// The errors of getting an order.
    GetFailures = Code::OF_QUERY, &[problems::ORDER_NOT_FOUND];

    /// The errors of getting a message.
    MessageFailures = Code::OF_QUERY, &[problems::MESSAGE_NOT_FOUND];

    /// The errors of getting a payment.
    PaymentFailures = Code::OF_QUERY, &[problems::PAYMENT_NOT_FOUND];

    /// The errors of listing orders.
    ListFailures = Code::OF_QUERY;
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
        caller: Caller,
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
        if !caller.may_reach(order.customer_id.as_str()) {
            return Err(crate::auth::foreign_customer().into());
        }
        let request = Request {
            operation: Operation { template: "POST /orders", id: "" },
            key: key.as_ref(),
            without_key: WithoutKey::IdByContent,
            trace_parent: trace_parent.0,
            auth: caller.auth(),
        };
        Ok(self.command(&order.order_id, &order, request, &Expected::Placed(&order), prefer.0).await?)
    }

    /// Cancel an order
    ///
    /// A confirmed order stays confirmed. `Prefer: wait=10` reports that as an error; otherwise the response is 202. A
    /// cancellation that arrives before its order waits for it.
    #[oai(path = "/orders/:id/cancel", method = "post", operation_id = "cancelOrder")]
    async fn cancel(
        &self,
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
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
        let Id(order_id) = id.0;
        self.reach(&caller, &order_id).await?;
        let cancellation = body.0.into_cancellation(order_id.clone());
        let request = Request {
            operation: Operation { template: "POST /orders/{id}/cancel", id: order_id.as_str() },
            key: idempotency_key.0.as_ref(),
            without_key: WithoutKey::IdByContent,
            trace_parent: trace_parent.0,
            auth: caller.auth(),
        };
        Ok(self.command(&order_id, &cancellation, request, &Expected::Cancelled, prefer.0).await?)
    }

    /// Get an order
    ///
    /// An order whose command is still being processed does not exist yet. With `version` or `at`: the order as it was
    /// then.
    #[oai(path = "/orders/:id", method = "get", operation_id = "getOrder")]
    async fn get(
        &self,
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
        /// The order after the event of this version; not together with `at`.
        version: Query<Version>,
        /// The order at this time; not together with `version`.
        at: Query<Time>,
    ) -> Result<GetOrder, Failure<GetFailures>> {
        self.reach(&caller, &id.0.0).await?;
        let (subject, missing) = (format!("order.query.get.{}", id.0.0), problems::ORDER_NOT_FOUND);
        let json = match point(version, at)? {
            None => self.queries.get(subject, missing).await?,
            Some(point) => self.queries.get_past(subject, point, missing).await?,
        };
        Ok(GetOrder::Found(JsonOf::relayed(json)))
    }

    /// Search orders
    ///
    /// Newest first, unless `sort` says otherwise. `asOf` is the time up to which the list contains all orders.
    #[oai(path = "/orders", method = "get", operation_id = "listOrders")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        caller: Caller,
        /// Only orders of this customer.
        #[oai(name = "customerId")]
        customer_id: Query<Id<CustomerId>>,
        /// Only orders with this product.
        #[oai(name = "productId")]
        product_id: Query<Id<ProductId>>,
        /// Only orders with this status.
        status: Query<OneOf<OrderStatus>>,
        /// Only orders that wait for this.
        #[oai(name = "waitsFor")]
        waits_for: Query<OneOf<WaitsFor>>,
        /// Only orders placed at this time or later.
        from: Query<Time>,
        /// Only orders placed before this time.
        to: Query<Time>,
        /// The order of the list. With `-`: the largest first.
        sort: Query<OneOf<OrderSort>>,
        /// The `next` of the previous page, with the same `sort`.
        cursor: Query<Cursor>,
        /// How many orders a page has at most.
        limit: Query<PageLimit>,
    ) -> Result<ListedOrders, Failure<ListFailures>> {
        let query = SearchOrders {
            customer_id: crate::auth::searched(&caller, customer_id.0.map(|Id(id)| id))?,
            product_id: product_id.0.map(|Id(id)| id),
            status: status.0.map(|OneOf(status)| status),
            waits_for: waits_for.0.map(|OneOf(waits_for)| waits_for),
            from: from.0.map(|Time(time)| unix_millis(time)),
            to: to.0.map(|Time(time)| unix_millis(time)),
            sort: sort.0.map_or_else(OrderSort::default, |OneOf(sort)| sort),
            cursor: cursor.0.map(|cursor| cursor.0),
            limit: Some(limit.0.unwrap_or_default().0),
        };
        Ok(ListedOrders::Found(JsonOf::relayed(self.queries.list("projection.query.orders", &query).await?)))
    }

    /// Get the history of an order
    #[oai(path = "/orders/:id/history", method = "get", operation_id = "getOrderHistory")]
    async fn history(
        &self,
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
    ) -> Result<GetHistory, Failure<GetFailures>> {
        self.reach(&caller, &id.0.0).await?;
        let json = self.queries.get(format!("order.query.history.{}", id.0.0), problems::ORDER_NOT_FOUND).await?;
        Ok(GetHistory::Found(JsonOf::relayed(json)))
    }

    /// Get the payment of an order
    #[oai(path = "/orders/:id/payment", method = "get", operation_id = "getOrderPayment")]
    async fn payment(
        &self,
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
    ) -> Result<GetPayment, Failure<PaymentFailures>> {
        self.reach(&caller, &id.0.0).await?;
        let json = self.queries.get(format!("payment.query.get.{}", id.0.0), problems::PAYMENT_NOT_FOUND).await?;
        Ok(GetPayment::Found(JsonOf::relayed(json)))
    }

    /// Get the timeline of an order across all services
    ///
    /// Every message with the order's id, its delivery status at each consumer, and the order's current blockers.
    /// Unavailable services are listed as such; a status that only they know is `unknown`.
    #[oai(path = "/orders/:id/timeline", method = "get", operation_id = "getOrderTimeline")]
    async fn timeline(
        &self,
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
    ) -> Result<GetTimeline, Failure<GetFailures>> {
        self.reach(&caller, &id.0.0).await?;
        let timeline = explain(&self.explainer, id.0.0.as_str(), Reach::NotDeadLetters).await;
        let timeline = timeline.map_err(|error| internal(&error, "a timeline cannot be built"))?;
        if timeline.is_empty() {
            return Err(match timeline.is_complete() {
                true => Problem::new(problems::ORDER_NOT_FOUND),
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
        caller: Caller,
        /// The order's id.
        id: Path<Id<OrderId>>,
        /// The stream of the message.
        stream: Path<StreamName>,
        /// Its sequence in the stream.
        sequence: Path<Sequence>,
    ) -> Result<GetMessage, Failure<MessageFailures>> {
        self.reach(&caller, &id.0.0).await?;
        let message = message::find(self.explainer.js(), &id.0.0, stream.0, sequence.0).await?;
        Ok(GetMessage::Found(JsonOf::serialized(&message)?))
    }
}

impl OrdersApi {
    /// Checks that the caller may reach an order; another's order does not exist for a restricted caller.
    async fn reach(&self, caller: &Caller, id: &OrderId) -> Result<(), Problem> {
        if caller.restricted_to().is_none() {
            return Ok(());
        }
        let json = self.queries.get(format!("order.query.get.{id}"), problems::ORDER_NOT_FOUND).await?;
        let owned: crate::auth::Owned = decode(&json)?;
        if caller.may_reach(&owned.customer_id) { Ok(()) } else { Err(Problem::new(problems::ORDER_NOT_FOUND)) }
    }

    /// Publishes a command, and waits for its outcome if the request prefers that.
    async fn command(
        &self,
        order_id: &OrderId,
        command: &impl Publish,
        request: Request<'_>,
        expected: &Expected<'_>,
        prefer: Option<Prefer>,
    ) -> Result<OrderCommanded, Problem> {
        let prefer = prefer.unwrap_or(Prefer { wait: None });
        let waiting = match prefer.duration() {
            Some(wait) => self.waiters.subscribe(subjects(order_id)).await.map(|waiter| (waiter, wait)),
            None => None,
        };
        let stored = self.commands.send(command, request).await?;
        let held = waiting.as_ref().and_then(|_| prefer.applied());
        let found = match waiting {
            Some((waiter, wait)) => outcome(waiter, &self.queries, order_id, stored.id, expected, wait).await,
            None => None,
        };
        match found {
            Some(Ok(json)) => Ok(OrderCommanded::Final(JsonOf::relayed(json), held)),
            Some(Err(problem)) => Err(problem),
            None => Ok(OrderCommanded::Accepted(
                JsonOf::written(&OrderAccepted::new(order_id, self.commands.durability())),
                format!("/orders/{order_id}"),
                held,
                stored.duplicate.then_some(true),
            )),
        }
    }
}
