//! catalogue-service: restaurants and their tables, state-stored.

use choreography::database::Databases;
use choreography::documents::{self, Documents};
use choreography::query::{Endpoint, QueryError};
use choreography::{Envelope, HandleError, Handler, Outgoing, Running, Service, migration};
use sea_orm::{DatabaseConnection, DatabaseTransaction};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ServiceConfig;
use crate::declaration::{CATALOGUE_SERVICE, catalogue_service};
use crate::messages::{PutRestaurant, Restaurant, RestaurantChanged};

/// The library's tables; the restaurants are documents.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migration::library().into_iter().chain(migration::documents()).collect()
    }
}

/// Handles batches of commands.
pub struct Catalogue;

impl Handler for Catalogue {
    type Message = PutRestaurant;

    async fn handle(
        &self,
        tx: &DatabaseTransaction,
        batch: &[&Envelope<PutRestaurant>],
    ) -> Result<Vec<Outgoing>, HandleError> {
        let mut restaurants = Documents::load(tx, batch.iter().map(|message| message.key.clone())).await?;
        let mut outgoing = Vec::new();
        for message in batch {
            let PutRestaurant(restaurant) = &message.payload;
            if let Some(version) = restaurants.put(&message.key, restaurant) {
                let event = RestaurantChanged { restaurant: restaurant.clone(), version };
                outgoing.push(message.emit_change(&event, version)?);
            }
        }
        restaurants.save(tx).await?;
        Ok(outgoing)
    }
}

/// The query `catalogue.query.list`.
async fn list(db: DatabaseConnection) -> Result<Value, QueryError> {
    let items: Vec<Restaurant> = documents::list(&db, 500).await?;
    Ok(json!({ "items": items }))
}

/// Runs the service until `shutdown` is cancelled.
pub fn run(config: ServiceConfig, shutdown: CancellationToken) -> Running<'static> {
    Box::pin(async move {
        let db = Databases::open::<Migrator>(&config.service.database_url(CATALOGUE_SERVICE)).await?;
        let reader = db.reader.clone();
        let service = Service::builder(catalogue_service())
            .description("Restaurants and their tables")
            .handler(Catalogue)
            .queries([Endpoint::new("list", "catalogue.query.list", move |_| list(reader.clone()))]);
        config.run(service, db, shutdown).await
    })
}
