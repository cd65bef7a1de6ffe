//! A repeated request is processed once, if the gateway can recognise it.

use contracts::declaration::topology;
use serde_json::{Value, json};

use crate::support::{HttpResponse, Shop, an_order};

fn without_id() -> Value {
    let mut order = an_order("x");
    order.as_object_mut().unwrap().remove("orderId");
    order
}

async fn place(shop: &Shop, order: &Value, key: &str) -> HttpResponse {
    HttpResponse::of(shop.post("/orders", order).header("idempotency-key", key)).await
}

#[tokio::test]
async fn the_same_key_and_content_have_the_same_response_and_one_command() {
    let shop = Shop::start().await;
    let first = place(&shop, &without_id(), "\"8e03978e\"").await;
    assert_eq!(first.status, 202, "{first:?}");
    for key in ["\"8e03978e\"", "8e03978e"] {
        let again = place(&shop, &without_id(), key).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.header("location"), first.header("location"));
    }
    // The same content in another spelling.
    let mut spelled = without_id();
    spelled.as_object_mut().unwrap().remove("totalPrice");
    spelled["orderId"] = Value::Null;
    assert_eq!(place(&shop, &spelled, "\"8e03978e\"").await.body, first.body);
    assert_eq!(shop.commands().await.len(), 1);
    assert_eq!(shop.keys().await, 1);
}

#[tokio::test]
async fn a_key_used_for_other_content_is_refused() {
    let shop = Shop::start().await;
    assert_eq!(place(&shop, &an_order("ORDER_001"), "\"k\"").await.status, 202);
    let mut other = an_order("ORDER_001");
    other["customerId"] = json!("CUSTOMER_002");
    place(&shop, &other, "\"k\"").await.is_problem(422, "idempotency-key-reused");
    place(&shop, &an_order("ORDER_002"), "\"k\"").await.is_problem(422, "idempotency-key-reused");
    assert_eq!(place(&shop, &an_order("ORDER_001"), "\"k\"").await.status, 202);
    assert_eq!(shop.commands().await.len(), 1);
}

#[tokio::test]
async fn a_key_belongs_to_its_method_and_path() {
    let shop = Shop::start().await;
    let send =
        |path: &str, body: Value| HttpResponse::of(shop.post(path, &body).header("idempotency-key", "\"k\""));
    assert_eq!(send("/orders", an_order("ORDER_001")).await.status, 202);
    assert_eq!(send("/orders/ORDER_001/cancel", json!({})).await.status, 202);
    assert_eq!(send("/orders/ORDER_002/cancel", json!({})).await.status, 202);
    assert_eq!(send("/products/PRODUCT_001/restock", json!({"quantity": 5})).await.status, 202);
    let ids: std::collections::HashSet<_> = shop.commands().await.iter().map(|command| command.id()).collect();
    assert_eq!(ids.len(), 4);
    send("/orders/ORDER_001/cancel", json!({"reason": "r"})).await.is_problem(422, "idempotency-key-reused");
    send("/products/PRODUCT_001/restock", json!({"quantity": 6})).await.is_problem(422, "idempotency-key-reused");
    assert_eq!(shop.commands().await.len(), 4);
}

#[tokio::test]
async fn a_request_that_fails_validation_does_not_use_its_key_up() {
    let shop = Shop::start().await;
    let mut wrong = an_order("ORDER_001");
    wrong["totalPrice"] = json!(1);
    place(&shop, &wrong, "\"k\"").await.is_problem(422, "validation");
    assert_eq!(place(&shop, &an_order("ORDER_001"), "\"k\"").await.status, 202);
}

#[tokio::test]
async fn a_claimed_key_whose_command_was_never_published_publishes_it_on_the_next_try() {
    let shop = Shop::start().await;
    assert_eq!(place(&shop, &an_order("ORDER_001"), "\"k\"").await.status, 202);
    let command = shop.commands().await[0].clone();
    let provisioner = async_nats::jetstream::new(shop.connect("provisioner").await);
    provisioner.get_stream("COMMANDS").await.unwrap().purge().await.unwrap();
    // A purge keeps the stream's duplicate window, so the stream is created again.
    provisioner.delete_stream("COMMANDS").await.unwrap();
    let topology = topology().unwrap();
    topology.provision(&provisioner, 1).await.unwrap();
    assert_eq!(place(&shop, &an_order("ORDER_001"), "\"k\"").await.status, 202);
    assert_eq!(shop.commands().await[0].id(), command.id());
}

#[tokio::test]
async fn an_expired_key_leads_to_a_new_command() {
    let shop = Shop::start().await;
    let restock = || {
        let request = shop.post("/products/PRODUCT_001/restock", &json!({"quantity": 5}));
        HttpResponse::of(request.header("idempotency-key", "\"k\""))
    };
    assert_eq!(restock().await.status, 202);
    let provisioner = async_nats::jetstream::new(shop.connect("provisioner").await);
    provisioner.get_stream("KV_IDEMPOTENCY").await.unwrap().purge().await.unwrap();
    assert_eq!(restock().await.status, 202);
    let commands = shop.commands().await;
    assert_eq!(commands.len(), 2, "an inbox that remembers the first would drop a second with the same id");
    assert_ne!(commands[0].id(), commands[1].id());
}

#[tokio::test]
async fn without_a_key_the_same_order_is_one_command_and_two_restocks_are_two() {
    let shop = Shop::start().await;
    for _ in 0..2 {
        let response = HttpResponse::of(shop.post("/orders", &an_order("ORDER_001"))).await;
        assert_eq!(response.status, 202);
        assert_eq!(response.body, json!({"orderId": "ORDER_001", "status": "accepted", "durability": "unsynced"}));
    }
    assert_eq!(shop.commands().await.len(), 1);
    let mut other = an_order("ORDER_001");
    other["customerId"] = json!("CUSTOMER_002");
    assert_eq!(HttpResponse::of(shop.post("/orders", &other)).await.status, 202);
    for _ in 0..2 {
        let restock = shop.post("/products/PRODUCT_001/restock", &json!({"quantity": 5}));
        assert_eq!(HttpResponse::of(restock).await.status, 202);
    }
    assert_eq!(shop.commands().await.len(), 4);
    assert_eq!(shop.keys().await, 0);
}

#[tokio::test]
async fn the_id_of_a_command_sorts_next_to_that_of_its_order() {
    let shop = Shop::start().await;
    let order = "01943b6e-7c00-7000-8000-000000000001";
    for quantity in [1, 1, 2] {
        let mut placed = an_order(order);
        placed["items"][0]["quantity"] = json!(quantity);
        placed.as_object_mut().unwrap().remove("totalPrice");
        assert_eq!(HttpResponse::of(shop.post("/orders", &placed)).await.status, 202);
    }
    assert_eq!(HttpResponse::of(shop.post("/orders", &without_id())).await.status, 202);
    let commands = shop.commands().await;
    let ids: Vec<String> = commands.iter().map(|command| command.id().to_string()).collect();
    assert_eq!(ids.len(), 3, "the same content has the same id, other content another one: {ids:?}");
    assert!(ids[..2].iter().all(|id| id[..13] == order[..13]), "{ids:?}");
    let given = commands[2].headers["ce-subject"].clone();
    assert_eq!(
        ids[2][..13],
        given[..13],
        "an id that the gateway generates is time-ordered, and so is its command's"
    );
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_time_are_one_command() {
    let shop = Shop::start().await;
    let order = without_id();
    let responses = futures::future::join_all((0..20).map(|_| place(&shop, &order, "\"k\""))).await;
    assert!(
        responses.iter().all(|response| response.status == 202 && response.body == responses[0].body),
        "{responses:?}"
    );
    assert_eq!(shop.commands().await.len(), 1);
    let mut other = order.clone();
    other["customerId"] = json!("CUSTOMER_002");
    let both = [&order, &other];
    let responses = futures::future::join_all((0..20).map(|n| place(&shop, both[n % 2], "\"l\""))).await;
    let accepted = responses.iter().filter(|response| response.status == 202).count();
    assert_eq!(accepted, 10, "one of the two contents has the key: {responses:?}");
    assert_eq!(shop.commands().await.len(), 2);
}
