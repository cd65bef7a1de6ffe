//! The tables of the service, the library's first.

mod m0001_stock;
mod m0002_stock_receipts;
mod m0003_stock_history;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// Brings the tables up to date.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = choreography::migration::library();
        migrations.extend(choreography::migration::effects());
        migrations.push(Box::new(m0001_stock::Migration));
        migrations.push(Box::new(m0002_stock_receipts::Migration));
        migrations.push(Box::new(m0003_stock_history::Migration));
        migrations
    }
}
