//! The fault campaign: it injects faults into a shop of real processes under load, and checks the outcome with code
//! that the services do not share.
//!
//! All random choices derive from a seed: the requests and the schedule of faults. Processes do not run in lockstep,
//! so a seed repeats the plan of a campaign, but not every interleaving.
//!
//! In reading order:
//!
//! - [`options`]: the command line;
//! - [`campaign`]: one run from start to verdict;
//! - [`load`]: the requests of customers; [`history`]: every request and its response;
//! - [`breaking`]: the schedule of faults, and their injection;
//! - [`archive`]: copies of the messages that streams discard; [`settling`]: the manual actions at the end;
//! - [`collect`]: collects the record at the end;
//! - [`recorded`]: the record as plain data; [`check`]: the invariants, pure functions over it;
//! - [`report`]: the report as text.

pub mod archive;
pub mod breaking;
pub mod campaign;
pub mod check;
pub mod collect;
pub mod history;
pub mod load;
pub mod options;
pub mod random;
pub mod recorded;
pub mod report;
pub mod settling;

pub use options::Options;
