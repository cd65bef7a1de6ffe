//! given / when / then for payments.

use std::time::Duration;

use choreography::Cause;
use contracts::account::{
    AccountChanged, AccountDeleted, AccountDetails, Card, CardToken, Contact, CreditLimit, Email, Expiry, LastFour,
    Line,
};
use contracts::inventory::StockReserved;
use contracts::order::{CancelReason, OrderCancelled, OrderDetails, OrderItem, OrderPlaced};
use contracts::payment::{DeclineReason, PaymentCaptured, PaymentDeclined, PaymentEvent, PaymentRefunded};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use payment_service::payment::{Aggregates, Call, Decided, Outcome, Payment, PaymentMessage, Policy, State};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

pub(crate) const POLICY: Policy = Policy {
    account_wait: Duration::from_secs(30),
    provider_deadline: Duration::from_secs(60),
    retry_limit: Duration::from_secs(3600),
    fetch_accounts: false,
};

/// The time of the tests.
pub(crate) const NOW: OffsetDateTime = datetime!(2030-06-15 12:00 UTC);

pub(crate) fn order_id(id: &str) -> OrderId {
    OrderId::parse(id).unwrap()
}

pub(crate) fn customer_id(id: &str) -> CustomerId {
    CustomerId::parse(id).unwrap()
}

fn amount(minor_units: i64) -> Amount {
    Amount::parse(minor_units).unwrap()
}

pub(crate) fn placed_in(order: &str, customer: &str, price: i64, currency: Currency) -> PaymentMessage {
    let item = OrderItem {
        product_id: ProductId::parse("CUP").unwrap(),
        quantity: Quantity::parse(1).unwrap(),
        unit_price: amount(price),
    };
    let details = OrderDetails::new(order_id(order), customer_id(customer), currency, vec![item], None).unwrap();
    PaymentMessage::Placed(OrderPlaced(details))
}

pub(crate) fn placed(order: &str, customer: &str, price: i64) -> PaymentMessage {
    placed_in(order, customer, price, Currency::EUR)
}

pub(crate) fn reserved(order: &str) -> PaymentMessage {
    PaymentMessage::Reserved(StockReserved { order_id: order_id(order), lines: vec![] })
}

pub(crate) fn cancelled(order: &str) -> PaymentMessage {
    PaymentMessage::Cancelled(OrderCancelled {
        order_id: order_id(order),
        customer_id: customer_id("ANN"),
        reason: CancelReason::Customer { text: None },
    })
}

pub(crate) fn card(token: &str, expiry: &str) -> Card {
    Card {
        token: CardToken::parse(token).unwrap(),
        brand: Line::parse("VISA").unwrap(),
        last_four: LastFour::parse("1111").unwrap(),
        expiry: Expiry::parse(expiry).unwrap(),
    }
}

pub(crate) fn details(card: Option<Card>, limit: i64) -> AccountDetails {
    AccountDetails {
        name: Line::parse("Ann").unwrap(),
        addresses: vec![],
        contact: Contact { email: Email::parse("ann@example.org").unwrap(), phone: None },
        card,
        credit_limit: CreditLimit { amount: amount(limit), currency: Currency::EUR },
    }
}

pub(crate) fn account_with(customer: &str, version: i64, card: Option<Card>, limit: i64) -> PaymentMessage {
    let details = details(card, limit);
    PaymentMessage::AccountChanged(AccountChanged { customer_id: customer_id(customer), version, details })
}

/// An account with a valid card.
pub(crate) fn account(customer: &str, version: i64, limit: i64) -> PaymentMessage {
    account_with(customer, version, Some(card("tok_1", "2999-12")), limit)
}

pub(crate) fn deleted(customer: &str, version: i64) -> PaymentMessage {
    PaymentMessage::AccountDeleted(AccountDeleted { customer_id: customer_id(customer), version })
}

/// The id of a message, the same for the same message.
pub(crate) fn message_id(message: &PaymentMessage) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{message:?}").as_bytes())
}

/// The correlation id of an order's flow.
pub(crate) fn flow(message: &PaymentMessage) -> Uuid {
    let key = message.order_id().map(ToString::to_string).unwrap_or_default();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes())
}

pub(crate) fn cause(message: &PaymentMessage) -> Cause {
    Cause { id: message_id(message), correlation_id: flow(message), trace_parent: None, auth: None }
}

pub(crate) fn captured(order: &str, price: i64) -> PaymentEvent {
    PaymentCaptured {
        order_id: order_id(order),
        customer_id: customer_id("ANN"),
        amount: amount(price),
        currency: Currency::EUR,
        reference: format!("cap_{order}"),
    }
    .into()
}

pub(crate) fn declined(order: &str, reason: DeclineReason) -> PaymentEvent {
    PaymentDeclined { order_id: order_id(order), customer_id: customer_id("ANN"), reason }.into()
}

pub(crate) fn refunded(order: &str, price: i64) -> PaymentEvent {
    PaymentRefunded {
        order_id: order_id(order),
        customer_id: customer_id("ANN"),
        amount: amount(price),
        currency: Currency::EUR,
    }
    .into()
}

pub(crate) fn capture_outcome(order: &str) -> Outcome {
    Outcome::Captured { reference: format!("cap_{order}") }
}

pub(crate) fn refund_outcome(order: &str) -> Outcome {
    Outcome::Refunded { reference: format!("cap_{order}") }
}

/// Begins an attempt as the worker does.
pub(crate) fn begin_attempt(payment: &mut Payment, now: OffsetDateTime) -> i64 {
    payment.attempts += 1;
    payment.next_attempt_at = Some(now + Duration::from_secs(30));
    payment.attempts
}

/// Aggregates to which messages were applied.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) aggregates: Aggregates,
    pub(crate) now: OffsetDateTime,
    published: Option<Decided>,
}

pub(crate) fn given(messages: &[PaymentMessage]) -> Given {
    let given = Given { aggregates: Aggregates::default(), now: NOW, published: None };
    messages.iter().fold(given, |given, message| given.when(message))
}

impl Given {
    pub(crate) fn when(mut self, message: &PaymentMessage) -> Self {
        self.published = self.aggregates.apply(message, &cause(message), self.now, &POLICY);
        self
    }

    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    /// Begins an attempt, which must have the expected call.
    #[track_caller]
    pub(crate) fn calls(mut self, order: &str, expected: impl Fn(&Call) -> bool) -> Self {
        let payment = self.aggregates.payments.get_mut(&order_id(order)).unwrap();
        begin_attempt(payment, self.now);
        let call = payment.call(&order_id(order), self.now, &POLICY).unwrap();
        assert!(expected(&call), "{call:?}");
        self
    }

    pub(crate) fn calls_capture(self, order: &str) -> Self {
        self.calls(order, |call| matches!(call, Call::Capture { .. }))
    }

    /// The latest attempt ends.
    pub(crate) fn ends_with(self, order: &str, outcome: &Outcome) -> Self {
        let attempt = self.aggregates.payments[&order_id(order)].attempts;
        self.attempt_ends_with(order, attempt, outcome)
    }

    /// Some attempt ends.
    pub(crate) fn attempt_ends_with(mut self, order: &str, attempt: i64, outcome: &Outcome) -> Self {
        self.published = self.aggregates.record(&order_id(order), attempt, outcome, self.now, &POLICY);
        self
    }

    pub(crate) fn rechecked(mut self, order: &str) -> Self {
        self.published = self.aggregates.recheck(&order_id(order), self.now, &POLICY);
        self
    }

    /// Exactly this event, with that cause.
    #[track_caller]
    pub(crate) fn publishes(self, event: &PaymentEvent, cause_message: &PaymentMessage) -> Self {
        let published = self.published.as_ref().expect("no event was published");
        assert_eq!(&published.event, event);
        assert_eq!(published.cause.id, message_id(cause_message));
        assert_eq!(published.cause.correlation_id, flow(cause_message));
        assert_eq!(published.version, self.aggregates.payments[cause_message.order_id().unwrap()].version);
        self
    }

    #[track_caller]
    pub(crate) fn publishes_nothing(self) -> Self {
        assert_eq!(self.published, None);
        self
    }

    #[track_caller]
    pub(crate) fn has_state(self, order: &str, expected: impl Fn(&State) -> bool) -> Self {
        let state = &self.aggregates.payments[&order_id(order)].state;
        assert!(expected(state), "{state:?}");
        self
    }

    /// The exposure of Ann.
    #[track_caller]
    pub(crate) fn exposes(self, expected: i64) -> Self {
        assert_eq!(
            self.aggregates.exposures.get(&(customer_id("ANN"), "EUR")).copied().unwrap_or_default(),
            expected
        );
        self
    }
}
