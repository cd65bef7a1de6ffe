//! First starts that are killed.

use std::time::Duration;

use choreography_test::Program;
use demo::shop::settings;
use demo::{Component, OnLine, ShopConfig};
use rand::RngExt;

use crate::random::{Purpose, random};

/// The number of kills per service.
const KILLS: usize = 8;
/// The latest kill, in milliseconds after the start; by then the tables exist.
pub(super) const LATEST: u64 = 250;

/// Starts each service on its empty database and kills it (SIGKILL), several times at random.
///
/// # Errors
///
/// If a process cannot be started or killed.
pub async fn kill_first_starts(config: &ShopConfig, on_line: &OnLine, seed: u64) -> anyhow::Result<()> {
    let mut random = random(seed, Purpose::FirstStart);
    for component in Component::WITH_DATABASE {
        let mut moments: Vec<u64> = (0..KILLS).map(|_| random.random_range(5..LATEST)).collect();
        // Each start lasts longer than the previous one.
        moments.sort_unstable();
        for moment in moments {
            let mut program = Program::start(settings(config, component, on_line))?;
            tokio::time::sleep(Duration::from_millis(moment)).await;
            program.kill()?;
        }
    }
    Ok(())
}
