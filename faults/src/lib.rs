//! The fault campaign: a store of real processes under load, its parts broken one after another, and a check of what
//! came of it that shares no code with the services.
//!
//! Everything random derives from a seed: what is asked for, and what is broken when. Processes do not run in lockstep,
//! so a seed repeats a campaign's plan and not its every interleaving.
//!
//! In reading order:
//!
//! - [`options`]: the command line;
//! - [`campaign`]: one run from start to verdict;
//! - [`load`]: what customers ask for, and how they ask; [`history`]: every request and its answer;
//! - [`breaking`]: what is broken when, and how;
//! - [`archive`]: what the streams discard, copied before; [`settling`]: what people settle at the end;
//! - [`collect`]: at the end, everything there is to know of the shop;
//! - [`recorded`]: that, as plain data; [`check`]: the invariants, pure functions over it;
//! - [`report`]: what people read.

pub mod archive;
pub mod breaking;
pub mod campaign;
pub mod check;
pub mod collect;
pub mod history;
pub mod load;
pub mod options;
pub mod recorded;
pub mod report;
pub mod settling;

pub use options::Options;
