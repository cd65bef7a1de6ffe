//! A list of orders, with any cursor.

use choreography::database;
use choreography::query::{Query, QueryError};
use choreography::testing::sqlite_in_memory;
use choreography_test::postgres::TestPostgres;
use order_service::entity::order_view::{Entity, Model};
use order_service::migration::Migrator;
use order_service::queries::list;
use proptest::prelude::*;
use sea_orm::{DatabaseConnection, EntityTrait, IntoActiveModel};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// The times at which the orders of the test were placed.
const PLACED_AT: std::ops::RangeInclusive<i64> = -1..=1;

/// Any text, often one that resembles a cursor.
fn cursor() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-+]?[0-9]{0,20}\\.?[A-Za-z0-9_.-]{0,66}",
        (prop_oneof![any::<i64>(), -2_i64..3], "[A-Za-z0-9_-]{1,64}").prop_map(|(at, id)| format!("{at}.{id}")),
    ]
}

fn order(placed_at: i64) -> Model {
    Model {
        order_id: format!("ORDER{placed_at}"),
        customer_id: "CUSTOMER_001".to_owned(),
        status: "placed".to_owned(),
        currency: "EUR".to_owned(),
        total_price: 0,
        items: "[]".to_owned(),
        reason: None,
        version: 1,
        placed_at,
        updated_at: placed_at,
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn any_cursor_has_a_page_or_is_refused(runtime: &Runtime, db: &DatabaseConnection) {
    let orders = PLACED_AT.map(|placed_at| order(placed_at).into_active_model());
    runtime.block_on(Entity::insert_many(orders).exec(db)).unwrap();
    proptest!(|(cursor in cursor())| {
        let query = Query { key: "list".to_owned(), body: json!({ "cursor": cursor }).to_string().into() };
        match runtime.block_on(list(db.clone(), query)) {
            Ok(page) => {
                let placed_at: i64 = cursor.split_once('.').unwrap().0.parse().unwrap();
                let min = PLACED_AT.filter(|at| *at < placed_at).count();
                let max = PLACED_AT.filter(|at| *at <= placed_at).count();
                prop_assert!((min..=max).contains(&page.items.len()), "{} of {cursor:?}", page.items.len());
            }
            Err(QueryError::Invalid(why)) => prop_assert!(why.starts_with("cursor must be"), "{}", why),
            Err(other) => prop_assert!(false, "{cursor:?}: {other:?}"),
        }
    });
}

#[test]
fn any_cursor_has_a_page_or_is_refused_on_sqlite() {
    let runtime = runtime();
    let db = runtime.block_on(sqlite_in_memory::<Migrator>()).unwrap();
    any_cursor_has_a_page_or_is_refused(&runtime, &db);
}

#[test]
fn any_cursor_has_a_page_or_is_refused_on_postgres() {
    let runtime = runtime();
    let db = runtime.block_on(async {
        let url = TestPostgres::shared().await.unwrap().create_database().await.unwrap();
        database::open::<Migrator>(&url).await.unwrap()
    });
    any_cursor_has_a_page_or_is_refused(&runtime, &db);
}
