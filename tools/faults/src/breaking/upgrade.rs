//! An upgrade that is killed: the service's database has data and an earlier schema.

use std::time::Duration;

use anyhow::Context;
use choreography_test::Program;
use demo::Component;
use demo::shop::settings;
use rand::RngExt;
use sea_orm::{ConnectionTrait, Database, TransactionTrait};

use super::Breaker;
use super::first_start::LATEST;

/// The service whose last migration can be reverted without data loss: it computes a table from the others.
pub(super) const UPGRADED: Component = Component::InventoryService;
/// The statements that revert the migration.
const DOWNGRADE: [&str; 2] =
    ["DROP TABLE stock_receipts", "DELETE FROM seaql_migrations WHERE version = 'inventory_0002_stock_receipts'"];
/// The number of starts that are killed.
const KILLS: usize = 4;

impl Breaker {
    /// Reverts the last migration of the service and kills its starts (SIGKILL) at random.
    pub(super) async fn kill_upgrade(&mut self) -> anyhow::Result<()> {
        self.down.push(UPGRADED);
        self.shop.kill(UPGRADED)?;
        let url = self.shop.config().database_url(UPGRADED).context("finding the database to downgrade")?;
        let database = Database::connect(url).await.context("opening the database to downgrade")?;
        let downgrading = database.begin().await?;
        for statement in DOWNGRADE {
            downgrading.execute_unprepared(statement).await.context(statement)?;
        }
        downgrading.commit().await?;
        database.close().await?;
        let mut moments: Vec<u64> = (0..KILLS).map(|_| self.random.random_range(5..LATEST)).collect();
        moments.sort_unstable();
        for moment in moments {
            let mut program = Program::start(settings(self.shop.config(), UPGRADED, &self.on_line))?;
            tokio::time::sleep(Duration::from_millis(moment)).await;
            program.kill()?;
        }
        Ok(())
    }
}
