//! A timer with a fixed rate.
//!
//! It runs on its own thread: the runtime's timers have a resolution of a millisecond, which is too coarse here.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

/// The maximum number of due times that wait to be received.
const MAX_WAITING: usize = 1_000_000;

/// Returns a channel that receives each due time when it is reached.
///
/// # Errors
///
/// If the rate is not positive, or no thread can be started.
pub fn pace(rate: f64, length: Duration) -> anyhow::Result<mpsc::Receiver<Instant>> {
    if !(rate > 0.0 && rate.is_finite()) {
        bail!("the rate must be above 0");
    }
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let run = move || {
        let start = Instant::now();
        for due in times(start, rate, length) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // The receiver was dropped.
            if sender.blocking_send(due).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("pacer".to_owned()).spawn(run).context("starting a thread")?;
    Ok(receiver)
}

fn times(start: Instant, rate: f64, length: Duration) -> impl Iterator<Item = Instant> {
    (0_u32..)
        .map(move |number| Duration::from_secs_f64(f64::from(number) / rate))
        .take_while(move |since| *since < length)
        .map(move |since| start + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_equidistant_and_do_not_drift() {
        let start = Instant::now();
        let times: Vec<_> = times(start, 1000.0, Duration::from_secs(2)).collect();
        assert_eq!(times.len(), 2000);
        assert_eq!(times[1500] - start, Duration::from_millis(1500));
    }

    #[tokio::test]
    async fn nothing_is_due_before_its_time() {
        let mut due = pace(1000.0, Duration::from_millis(20)).unwrap();
        let mut count = 0;
        while let Some(due) = due.recv().await {
            assert!(Instant::now() >= due);
            count += 1;
        }
        assert_eq!(count, 20);
    }
}
