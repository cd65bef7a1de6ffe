//! The tables of the service, the library's first.

mod m0001_identity;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// Brings the tables up to date.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = choreography::migration::library();
        migrations.extend(choreography::migration::event_store());
        migrations.extend(choreography::migration::effects());
        migrations.push(Box::new(m0001_identity::Migration));
        migrations
    }
}
