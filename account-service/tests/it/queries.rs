//! Queries on accounts.

use account_service::queries::{get, snapshot};
use bytes::Bytes;
use choreography::Messages as _;
use choreography::query::{Query, QueryError};
use contracts::query::{AccountSnapshotEntry, Page};
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};

use crate::database::{Engine, TestDatabase, handle_all};
use crate::given::{create_of, delete_of, details, update_of};
use crate::on_both_databases;

on_both_databases!(
    the_reply_has_the_version_and_the_details_of_an_account,
    an_unknown_or_deleted_account_is_not_found,
    a_snapshot_has_all_accounts_including_deleted_ones_page_by_page,
    a_page_of_large_accounts_fits_into_a_message,
    an_invalid_snapshot_query_is_refused_and_an_empty_one_has_the_default_limit,
);

fn about(key: &str) -> Query {
    Query { key: key.to_owned(), body: Bytes::new() }
}

fn page(body: &Value) -> Query {
    Query { key: "snapshot".to_owned(), body: body.to_string().into() }
}

async fn the_reply_has_the_version_and_the_details_of_an_account(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle_all(&database.db, &[create_of("A", "Zoë"), update_of("A", 1, "Ann")]).await;
    let mut expected = serde_json::to_value(details("Ann")).unwrap();
    expected["customerId"] = json!("A");
    expected["version"] = json!(2);
    let reply = get(database.db.clone(), about("A")).await.unwrap();
    assert_eq!(serde_json::to_value(reply).unwrap(), expected);
}

async fn an_unknown_or_deleted_account_is_not_found(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    handle_all(&database.db, &[create_of("A", "Zoë"), delete_of("A", 1)]).await;
    for id in ["A", "B"] {
        let reply = get(database.db.clone(), about(id)).await;
        assert!(matches!(reply, Err(QueryError::NotFound(_))), "{id}");
    }
    assert!(matches!(get(database.db.clone(), about("C*")).await, Err(QueryError::Invalid(_))));
}

/// Reads all pages.
async fn pages(db: &DatabaseConnection, limit: u64) -> Vec<Page<AccountSnapshotEntry>> {
    let mut pages = Vec::new();
    let mut after = Value::Null;
    loop {
        let reply = snapshot(db.clone(), page(&json!({"after": after, "limit": limit}))).await.unwrap();
        after = json!(reply.next);
        pages.push(reply);
        if after.is_null() {
            return pages;
        }
    }
}

async fn a_snapshot_has_all_accounts_including_deleted_ones_page_by_page(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    let commands: Vec<_> = ["b", "A", "_", "a-1", "a_1"].iter().map(|id| create_of(id, "Zoë")).collect();
    handle_all(&database.db, &commands).await;
    handle_all(&database.db, &[delete_of("A", 1), update_of("b", 1, "Ann")]).await;
    let read = pages(&database.db, 2).await;
    let sizes: Vec<_> = read.iter().map(|page| page.items.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    let entries: Vec<_> = read.into_iter().flat_map(|page| page.items).collect();
    let shown: Vec<_> =
        entries.iter().map(|entry| (entry.customer_id.as_str(), entry.version, entry.deleted)).collect();
    let expected = [("A", 2, true), ("_", 1, false), ("a-1", 1, false), ("a_1", 1, false), ("b", 2, false)];
    assert_eq!(shown, expected);
    assert_eq!(entries[0].details, None);
    assert_eq!(entries[4].details, Some(details("Ann")));
    let written = serde_json::to_value(&entries[0]).unwrap();
    assert_eq!(written, json!({"customerId": "A", "version": 2, "deleted": true, "details": null}));
}

async fn a_page_of_large_accounts_fits_into_a_message(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    // The largest possible account, made of characters of four bytes.
    let line = "𝄞".repeat(200);
    let mut large = serde_json::to_value(create_of("C", "Zoë")).unwrap();
    let address = json!({"type": "billing", "street": line, "postalCode": line, "city": line, "country": line});
    large["details"]["addresses"] = json!(vec![address; 10]);
    large["details"]["name"] = json!(line);
    let commands: Vec<_> = (0..60)
        .map(|index| {
            large["customerId"] = json!(format!("C{index:02}"));
            contracts::account::AccountCommand::decode("account.create.v1", large.to_string().as_bytes()).unwrap()
        })
        .collect();
    handle_all(&database.db, &commands).await;
    let read = pages(&database.db, 200).await;
    for page in &read {
        assert!(serde_json::to_vec(page).unwrap().len() < 1_000_000);
    }
    let ids: Vec<_> = read.iter().flat_map(|page| &page.items).map(|entry| entry.customer_id.to_string()).collect();
    assert_eq!(ids, (0..60).map(|index| format!("C{index:02}")).collect::<Vec<_>>());
}

async fn an_invalid_snapshot_query_is_refused_and_an_empty_one_has_the_default_limit(engine: Engine) {
    let database = TestDatabase::new(engine).await;
    for body in [json!({"limit": 0}), json!({"limit": 201}), json!({"after": "C*P"}), json!([1]), json!({"x": 1})] {
        let reply = snapshot(database.db.clone(), page(&body)).await;
        assert!(matches!(reply, Err(QueryError::Invalid(_))), "{body}");
    }
    let reply = snapshot(database.db.clone(), about("snapshot")).await.unwrap();
    assert_eq!(serde_json::to_value(reply).unwrap(), json!({"items": [], "next": null}));
}
