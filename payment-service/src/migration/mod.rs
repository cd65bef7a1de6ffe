//! The tables of the service, the library's first.

mod m0001_payment;
mod m0002_provider;
mod m0003_auth;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// Brings the tables up to date.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = choreography::migration::library();
        migrations.push(Box::new(m0001_payment::Migration));
        migrations.push(Box::new(m0002_provider::Migration));
        migrations.push(Box::new(m0003_auth::Migration));
        migrations
    }
}
