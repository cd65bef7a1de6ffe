//! Queries on notifications.

use bytes::Bytes;
use choreography::query::{Query, QueryError};
use contracts::Currency;
use contracts::declaration::NotificationMessage;
use notification_service::queries::list;
use serde_json::{Value, json};

use crate::database::{Engine, TestDatabase, all, handle_each};
use crate::given::{changed, confirmed};
use crate::on_both_databases;

on_both_databases!(
    a_customers_notifications_are_read_page_by_page_oldest_first,
    an_invalid_list_query_is_refused_and_one_of_an_unknown_customer_is_empty,
);

fn about(key: &str, body: Value) -> Query {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    Query { key: key.to_owned(), body }
}

async fn a_customers_notifications_are_read_page_by_page_oldest_first(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle_each(&database.db, vec![changed("C1", 1, "Ada", "ada@example.org")]).await;
    for index in 0..5 {
        for customer in ["C1", "C2"] {
            let notified = confirmed(&format!("O{index}"), customer, 1000, Currency::EUR);
            handle_each(&database.db, vec![NotificationMessage::Notify(notified)]).await;
        }
    }
    let (mut read, mut after) = (Vec::new(), Value::Null);
    loop {
        let request = json!({"after": after, "limit": 2});
        let page = list(database.db.clone(), about("C1", request)).await.unwrap();
        assert!(page.items.len() <= 2);
        read.extend(page.items);
        match page.next {
            Some(next) => after = next.parse::<i64>().unwrap().into(),
            None => break,
        }
    }
    let orders: Vec<_> = read.iter().map(|item| item.order_id.as_str()).collect();
    assert_eq!(orders, ["O0", "O1", "O2", "O3", "O4"]);
    let whole = list(database.db.clone(), about("C1", Value::Null)).await.unwrap();
    assert_eq!((whole.items, whole.next), (read, None));

    let row = all(&database.db).await.remove(0);
    let item = list(database.db.clone(), about("C1", json!({"limit": 1}))).await.unwrap().items.remove(0);
    let mut item = serde_json::to_value(item).unwrap();
    let created = item["createdAt"].take();
    assert!(created.as_str().unwrap().ends_with('Z'), "{created}");
    let expected = json!({
        "sequence": 1, "eventId": row.event_id.to_string(), "customerId": "C1", "orderId": "O0",
        "type": "order.confirmed.v1", "subject": "Your order O0 is confirmed",
        "text": "Dear Ada,\n\nyour order O0 is confirmed. The total is 10.00 EUR.\n\nYour online store\n",
        "createdAt": null, "deliveredAt": null,
    });
    assert_eq!(item, expected);
}

async fn an_invalid_list_query_is_refused_and_one_of_an_unknown_customer_is_empty(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    for body in [json!({"limit": 0}), json!({"limit": 201}), json!({"after": "x"}), json!({"aftr": 1}), json!("x")]
    {
        let reply = list(database.db.clone(), about("C1", body.clone())).await;
        assert!(matches!(reply, Err(QueryError::Invalid(_))), "{body}");
    }
    assert!(matches!(list(database.db.clone(), about("C*1", Value::Null)).await, Err(QueryError::Invalid(_))));
    let page = list(database.db.clone(), about("C1", Value::Null)).await.unwrap();
    assert_eq!(serde_json::to_value(page).unwrap(), json!({"items": [], "next": null}));
}
