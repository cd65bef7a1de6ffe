//! Random numbers, derived from the seed by purpose.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The purpose of random numbers: each has its own sequence, so that one does not shift another.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// The actions of customers.
    Load,
    /// The schedule of faults.
    Faults,
    /// The messages that are published again.
    Republish,
    /// The times at which first starts are killed.
    FirstStart,
    /// The times at which the starts of an upgrade are killed.
    Upgrade,
}

/// Returns the generator of a seed for a purpose.
#[must_use]
pub fn random(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(purpose as u64);
    random
}
