//! The program killed during a redrive.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use choreography_ops::dead_letters::{self, Filter};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Echo, Shop, eventually};

/// The number of dead letters: the ramp takes 1, 2, 4, 8, 16, and the rest.
const DEAD_LETTERS: u64 = 40;

/// When the program is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// As soon as so many dead letters are handled, which the program may not know yet.
    Handled(usize),
    /// After this time.
    After(Duration),
}

const MOMENTS: [Moment; 5] = [
    Moment::After(Duration::from_millis(30)),
    Moment::Handled(1),
    Moment::Handled(4),
    Moment::After(Duration::from_millis(1300)),
    Moment::Handled(10),
];

/// Returns the message ids of the listed dead letters, as the program prints them.
async fn listed(shop: &Shop) -> HashSet<String> {
    let output = shop.choreo(&["dead-letters", "list"]).await;
    assert!(output.status.success(), "{output:?}");
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dead_letters = listing["deadLetters"].as_array().unwrap();
    dead_letters.iter().map(|dead_letter| dead_letter["messageId"].as_str().unwrap().to_owned()).collect()
}

fn handled(handler: &Echo) -> HashSet<String> {
    handler.handled.lock().unwrap().iter().map(Uuid::to_string).collect()
}

/// Lists repeatedly: each dead letter that is no longer listed has been handled. Never returns.
async fn watch(shop: &Shop, handler: &Echo, all: &HashSet<String>) -> std::convert::Infallible {
    let operator = shop.operator().await;
    loop {
        let listing = dead_letters::list(&operator, &Filter::default(), dead_letters::MAX_SELECTION).await.unwrap();
        let listed: HashSet<String> =
            listing.dead_letters.into_iter().filter_map(|dead_letter| dead_letter.message_id).collect();
        let handled = handled(handler);
        let lost: Vec<_> = all.iter().filter(|id| !listed.contains(*id) && !handled.contains(*id)).collect();
        assert!(lost.is_empty(), "neither listed nor handled: {lost:?}");
    }
}

/// Starts to redrive all dead letters and kills the program; returns the lines that it printed.
async fn redrive_until(shop: &Shop, handler: &Echo, moment: Moment) -> Vec<Value> {
    let before = handled(handler).len();
    let mut program = shop.spawn(&["dead-letters", "redrive", "--all", "--rate", "8"]);
    match moment {
        Moment::After(time) => tokio::time::sleep(time).await,
        Moment::Handled(count) => {
            while handled(handler).len() < before + count {
                tokio::task::yield_now().await;
            }
        }
    }
    program.start_kill().unwrap();
    let ended = program.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), None, "it ended before it was killed: {ended:?}");
    // The last line may be incomplete.
    String::from_utf8_lossy(&ended.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_redrive_that_was_killed_and_repeated_handles_each_dead_letter_once() {
    let shop = Shop::start().await;
    let handler = Echo::default();
    let keys: Vec<String> = (0..DEAD_LETTERS).map(|n| format!("P{n}")).collect();
    handler.barred.lock().unwrap().extend(keys.iter().cloned());
    let _service = shop.serve(handler.clone()).await;
    let mut ids = HashMap::new();
    for key in &keys {
        ids.insert(key.as_str(), shop.command("place", key).await.to_string());
    }
    let all: HashSet<String> = ids.values().cloned().collect();
    shop.has("DEAD_LETTERS", DEAD_LETTERS).await;
    assert_eq!(listed(&shop).await, all);
    handler.barred.lock().unwrap().clear();

    let rounds = async {
        for moment in MOMENTS {
            let reported = redrive_until(&shop, &handler, moment).await;
            let (listed, handled) = (listed(&shop).await, handled(&handler));
            for line in reported {
                let id = &ids[line["key"].as_str().unwrap()];
                let outcome = line["outcome"].as_str().unwrap();
                assert!(["handled", "already-handled"].contains(&outcome) && handled.contains(id), "{line}");
                assert!(line["removed"] == false || !listed.contains(id), "{moment:?}: {line} is still listed");
            }
        }
        let last = shop.choreo(&["dead-letters", "redrive", "--all"]).await;
        assert!(last.status.success(), "{last:?}");
    };
    tokio::select! {
        () = rounds => {}
        never = watch(&shop, &handler, &all) => match never {},
    }
    assert_eq!(listed(&shop).await, HashSet::new());
    let mut each: Vec<String> = handler.handled.lock().unwrap().iter().map(Uuid::to_string).collect();
    assert_eq!(each.len() as u64, DEAD_LETTERS, "each once");
    each.sort_unstable();
    each.dedup();
    assert_eq!(each.into_iter().collect::<HashSet<_>>(), all);
    eventually("each has one event", || async { shop.messages("EVENTS").await == DEAD_LETTERS }).await;
}
