//! The events that follow from accepted commands fit into their stream, and into the space that admission reserves.

use choreography::{Messages as _, Publish as _};
use contracts::account::{
    AccountChanged, AccountCommand, AccountCommandRefused, AccountDetails, AccountEvent, AccountRefusal,
    CreateAccount, MAX_ADDRESSES, MAX_LINE,
};
use contracts::capacity::{MAX_RESTOCK, follow_up};
use contracts::id::MAX_ID_LENGTH;
use contracts::identity::{
    IdentityCommand, IdentityEvent, MAX_CUSTOMERS, MAX_ORGANISATIONS, MAX_ROLES, Permission,
};
use contracts::inventory::{
    InventoryCommand, InventoryEvent, Restock, Restocked, StockBackordered, StockLine, StockRefused, StockReleased,
    StockReserved,
};
use contracts::money::{MAX_AMOUNT, MAX_QUANTITY};
use contracts::order::{
    CancelOrder, CancelOrderDeferred, CancelReason, MAX_ITEMS, MAX_REASON, OrderAwaitingStock, OrderCancelled,
    OrderCommand, OrderConfirmed, OrderDetails, OrderEvent, OrderItem, OrderPlaced, OrderReserved, PlaceOrder,
    Reason,
};
use contracts::payment::{PaymentCaptured, PaymentEvent, PaymentRefunded};
use contracts::topology::{ACCOUNT_SERVICE, EVENTS, IDENTITY_SERVICE, INVENTORY_SERVICE, ORDER_SERVICE, TOPOLOGY};
use contracts::{Amount, Currency, CustomerId, OrderId, ProductId, Quantity};
use serde::Serialize;
use serde_json::{Value, json};

/// The minimum overhead of a command in its stream, in bytes: the headers and the stream's own record, without body,
/// subject, and key.
const COMMAND_OVERHEAD: usize = 300;
/// The maximum overhead of an event in its stream, in bytes: it also has a causation id, a version, and a trace.
const EVENT_OVERHEAD: usize = 520;
/// The maximum length of a payment reference of the provider, in bytes.
const REFERENCE: usize = 200;

/// Returns an order with this number of lines, and ids of this length.
fn order(lines: usize, id: usize, amount: i64, quantity: u32) -> OrderDetails {
    let text = "X".repeat(id);
    let items = (0..lines).map(|n| OrderItem {
        product_id: ProductId::parse(format!("{n:0>id$}")).unwrap(),
        quantity: Quantity::parse(quantity.into()).unwrap(),
        unit_price: Amount::parse(amount).unwrap(),
    });
    let (order_id, customer_id) = (OrderId::parse(text.clone()).unwrap(), CustomerId::parse(text).unwrap());
    OrderDetails::new(order_id, customer_id, Currency::EUR, items.collect(), None).unwrap()
}

fn reason() -> String {
    "\u{1f4a9}".repeat(MAX_REASON)
}

fn account() -> AccountDetails {
    let line = "\u{1f4a9}".repeat(MAX_LINE);
    let address = json!({"type": "shipping", "street": line, "postalCode": line, "city": line, "country": line});
    serde_json::from_value(json!({
        "name": line, "addresses": vec![address; MAX_ADDRESSES],
        "contact": {"email": format!("{}@example.org", "x".repeat(180)), "phone": "+1".to_owned() + &"-".repeat(30) + "234"},
        "card": {"token": "t".repeat(100), "brand": line, "lastFour": "1111", "expiry": "2030-12"},
        "creditLimit": {"amount": MAX_AMOUNT, "currency": "EUR"}
    }))
    .unwrap()
}

fn size(subject: &str, body: &impl Serialize) -> usize {
    let key = subject.rsplit('.').next().unwrap();
    subject.len() + key.len() + serde_json::to_vec(body).unwrap().len()
}

fn event(subject: &str, body: &impl Serialize) -> usize {
    EVENT_OVERHEAD + size(subject, body)
}

/// The events of the longest flow of an order, by name.
fn flow(details: &OrderDetails) -> Vec<(&'static str, usize)> {
    let OrderDetails { order_id, customer_id, currency, total_price, .. } = details.clone();
    let products: Vec<ProductId> = details.items.iter().map(|item| item.product_id.clone()).collect();
    let line =
        |item: &OrderItem| StockLine { product_id: item.product_id.clone(), quantity: item.quantity.get().into() };
    let lines: Vec<StockLine> = details.items.iter().map(line).collect();
    let of_order = |event: OrderEvent| (event.message_type(), self::event(&event.subject(), &event));
    let of_stock = |event: InventoryEvent| (event.message_type(), self::event(&event.subject(), &event));
    let of_payment = |event: PaymentEvent| (event.message_type(), self::event(&event.subject(), &event));
    let (id, customer) = (|| order_id.clone(), || customer_id.clone());
    let captured = PaymentCaptured {
        order_id: id(),
        customer_id: customer(),
        amount: total_price,
        currency,
        reference: "r".repeat(REFERENCE),
    };
    let cancelled = CancelReason::UnknownProduct { product_ids: vec![] };
    vec![
        of_order(OrderPlaced(details.clone()).into()),
        of_stock(StockBackordered { order_id: id(), short: products.clone() }.into()),
        of_order(OrderAwaitingStock { order_id: id(), customer_id: customer(), short: products }.into()),
        of_stock(StockReserved { order_id: id(), lines: lines.clone() }.into()),
        of_order(OrderReserved { order_id: id() }.into()),
        of_payment(captured.into()),
        of_order(OrderCancelled { order_id: id(), customer_id: customer(), reason: cancelled }.into()),
        of_stock(StockReleased { order_id: id(), lines }.into()),
        of_payment(
            PaymentRefunded { order_id: id(), customer_id: customer(), amount: total_price, currency }.into(),
        ),
    ]
}

/// The largest event of each kind that is not part of the longest flow.
fn others() -> Vec<(&'static str, usize)> {
    let details = order(MAX_ITEMS, MAX_ID_LENGTH, 1, 1);
    let OrderDetails { order_id, customer_id, currency, total_price, .. } = details.clone();
    let product_ids: Vec<ProductId> = details.items.into_iter().map(|item| item.product_id).collect();
    let id = || order_id.clone();
    let cancelled = |reason| OrderCancelled { order_id: id(), customer_id: customer_id.clone(), reason };
    let text = || Some(reason());
    let orders = [
        OrderEvent::from(cancelled(CancelReason::Customer { text: text() })),
        cancelled(CancelReason::UnknownProduct { product_ids: product_ids.clone() }).into(),
        CancelOrderDeferred { order_id: id(), reason: text() }.into(),
        OrderConfirmed { order_id: id(), customer_id: customer_id.clone(), currency, total_price }.into(),
    ];
    let stock = InventoryEvent::from(StockRefused { order_id: id(), unknown_products: product_ids });
    let changed = AccountEvent::from(AccountChanged { customer_id, version: i64::MAX, details: account() });
    let mut sizes: Vec<_> = orders.iter().map(|e| (e.message_type(), event(&e.subject(), e))).collect();
    sizes.push((stock.message_type(), event(&stock.subject(), &stock)));
    sizes.push((changed.message_type(), event(&changed.subject(), &changed)));
    sizes
}

#[test]
fn the_largest_event_of_each_type_fits_into_its_stream() {
    let topology: Value = serde_json::from_str(TOPOLOGY).unwrap();
    let stream = topology["streams"].as_array().unwrap().iter().find(|s| s["name"] == EVENTS).unwrap();
    let limit = usize::try_from(stream["maxMessageSize"].as_u64().unwrap()).unwrap();
    let large = order(MAX_ITEMS, MAX_ID_LENGTH, MAX_AMOUNT / 100 / i64::from(MAX_QUANTITY), MAX_QUANTITY);
    for (name, size) in flow(&large).into_iter().chain(others()) {
        assert!(size <= limit, "{name} has up to {size} bytes, and {EVENTS} accepts {limit}");
    }
}

#[test]
fn follow_up_events_of_a_command_fit_into_its_reserved_space() {
    let reserved = |service: &str, command: usize| usize::try_from(follow_up(service)).unwrap() * command;
    for (lines, id) in [(1, 1), (1, MAX_ID_LENGTH), (MAX_ITEMS, 3), (MAX_ITEMS, MAX_ID_LENGTH)] {
        for (amount, quantity) in [(0, 1), (MAX_AMOUNT / 100 / i64::from(MAX_QUANTITY), MAX_QUANTITY)] {
            let details = order(lines, id, amount, quantity);
            let command = OrderCommand::from(PlaceOrder(details.clone()));
            let command = COMMAND_OVERHEAD + size(&command.subject(), &command);
            let events: usize = flow(&details).iter().map(|(_, size)| size).sum();
            assert!(
                events <= reserved(ORDER_SERVICE, command),
                "{lines} lines, ids of {id}: {events} of {command}"
            );
        }
    }
    let order_id = OrderId::parse("X".repeat(MAX_ID_LENGTH)).unwrap();
    let deferred = OrderEvent::from(CancelOrderDeferred { order_id: order_id.clone(), reason: Some(reason()) });
    let cancel = OrderCommand::from(CancelOrder { order_id, reason: Some(Reason::parse(reason()).unwrap()) });
    let command = COMMAND_OVERHEAD + size(&cancel.subject(), &cancel);
    assert!(event(&deferred.subject(), &deferred) <= reserved(ORDER_SERVICE, command));
    let (product_id, quantity) = (ProductId::parse("P").unwrap(), Quantity::parse(1).unwrap());
    let restocked = Restocked { product_id: product_id.clone(), quantity, available: u64::MAX };
    let (restock, restocked) =
        (InventoryCommand::from(Restock { product_id, quantity }), InventoryEvent::from(restocked));
    let command = COMMAND_OVERHEAD + size(&restock.subject(), &restock);
    assert!(event(&restocked.subject(), &restocked) <= reserved(INVENTORY_SERVICE, command));
    let customer_id = CustomerId::parse("C").unwrap();
    let create = AccountCommand::from(CreateAccount { customer_id: customer_id.clone(), details: account() });
    let command = COMMAND_OVERHEAD + size(&create.subject(), &create);
    let changed = AccountEvent::from(AccountChanged {
        customer_id: customer_id.clone(),
        version: i64::MAX,
        details: account(),
    });
    assert!(event(&changed.subject(), &changed) <= reserved(ACCOUNT_SERVICE, command));
    let reason = AccountRefusal::VersionConflict { version: i64::MAX };
    let refused = AccountEvent::from(AccountCommandRefused { customer_id: customer_id.clone(), reason });
    let delete = AccountCommand::from(contracts::account::DeleteAccount { customer_id, expected_version: 1 });
    let command = COMMAND_OVERHEAD + size(&delete.subject(), &delete);
    assert!(event(&refused.subject(), &refused) <= reserved(ACCOUNT_SERVICE, command));
}

#[test]
fn the_follow_up_events_of_the_smallest_identity_command_fit_into_its_reserved_space() {
    let id = "X".repeat(MAX_ID_LENGTH);
    let grants: Vec<String> = Permission::ALL
        .iter()
        .flat_map(|permission| [format!("{permission}"), format!("{permission}:own")])
        .collect();
    let rights = json!({
        "userId": id, "version": i64::MAX, "name": "\u{1f4a9}".repeat(MAX_LINE), "kind": "service", "disabled": false,
        "roles": vec![&id; MAX_ROLES], "grants": grants, "organisationIds": vec![&id; MAX_ORGANISATIONS],
        "customerIds": vec![&id; MAX_CUSTOMERS], "validFrom": i64::MAX
    });
    let decoded = |name: &str, body: Value| {
        IdentityEvent::decode(&format!("identity.{name}.v1"), body.to_string().as_bytes()).unwrap()
    };
    let rights = decoded("rights-changed", rights);
    let granted = decoded("role-granted", json!({"userId": id, "role": id}));
    let command = json!({"userId": id, "role": "r"}).to_string();
    let command = IdentityCommand::decode("identity.grant-role.v1", command.as_bytes()).unwrap();
    let command = COMMAND_OVERHEAD + size(&command.subject(), &command);
    let events = event(&rights.subject(), &rights) + event(&granted.subject(), &granted);
    let reserved = usize::try_from(follow_up(IDENTITY_SERVICE)).unwrap() * command;
    assert!(events <= reserved, "{events} of {command}");
}

/// Backordered orders are in no stream. The follow-up of a restock must fit into the 20 % that admission leaves free.
#[test]
fn the_reserve_fits_the_follow_up_of_all_orders_that_the_largest_restock_releases() {
    let topology: Value = serde_json::from_str(TOPOLOGY).unwrap();
    let stream = topology["streams"].as_array().unwrap().iter().find(|s| s["name"] == EVENTS).unwrap();
    let reserve = usize::try_from(stream["maxBytes"].as_u64().unwrap() / 5).unwrap();
    let restock = usize::try_from(MAX_RESTOCK).unwrap();
    for lines in [1, MAX_ITEMS] {
        let flow = flow(&order(lines, MAX_ID_LENGTH, 1, 1));
        let freed = flow.iter().skip_while(|(name, _)| *name != "inventory.reserved.v1");
        let bytes: usize = freed.map(|(_, size)| size).sum();
        assert!(bytes > 0 && reserve / bytes >= restock, "{lines} lines: the reserve fits {}", reserve / bytes);
    }
}

#[test]
fn a_reason_longer_than_the_contracts_allow_is_refused_from_every_producer() {
    let body = |length| json!({"orderId": "ORDER_001", "reason": "r".repeat(length)}).to_string();
    assert!(OrderCommand::decode("order.cancel.v1", body(MAX_REASON).as_bytes()).is_ok());
    for length in [MAX_REASON + 1, 262_000] {
        let refused = OrderCommand::decode("order.cancel.v1", body(length).as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("at most 500 characters"), "{refused}");
    }
}
