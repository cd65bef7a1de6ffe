//! The matrix of the users of nats-server in SECURITY.md, made from `nats.conf`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p demo matrix` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The lines around the matrix.
const BEGIN: &str = "<!-- The users of nats.conf; UPDATE_GOLDEN=1 cargo test -p demo matrix -->\n";
const END: &str = "<!-- End of the users -->\n";

/// The columns after the user.
const COLUMNS: [&str; 6] =
    ["sends commands to", "emits events of", "queries", "reads", "manages", "subscribes, besides its inbox"];
const COMMANDS: usize = 0;
const EVENTS: usize = 1;
const QUERIES: usize = 2;
const READS: usize = 3;
const MANAGES: usize = 4;
const SUBSCRIBES: usize = 5;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Returns the quoted texts of the first `allow` list.
fn allowed(text: &str) -> Vec<&str> {
    let text = text.split_once("deny:").map_or(text, |(allow, _)| allow);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

/// Returns the cell and the text of a subject on which a user may publish; `None` if another one implies it.
fn published(subject: &str) -> Option<(usize, String)> {
    let parts: Vec<&str> = subject.split('.').collect();
    let found = match parts.as_slice() {
        [context, "command", ">"] => (COMMANDS, (*context).to_owned()),
        [context, "event", ">"] => (EVENTS, (*context).to_owned()),
        [context, "schedule", ">"] => (EVENTS, format!("{context} (deadlines)")),
        [context, "query", ">"] => (QUERIES, (*context).to_owned()),
        [context, "query", name @ ..] => (QUERIES, format!("{context}: {}", name[0])),
        ["dead-letter", _, ">"] => (EVENTS, "its dead letters".to_owned()),
        ["dead-letter-deleted", ">"] => (MANAGES, "deleted dead letters".to_owned()),
        ["admin", ">"] => (MANAGES, "services: all requests".to_owned()),
        ["admin", "*", request, ..] => (MANAGES, format!("services: {request}")),
        ["$JS", "API", ">"] => (MANAGES, "all of JetStream".to_owned()),
        ["$JS", "ACK", ..] | ["$JS", "API", "CONSUMER", "INFO" | "NAMES", ..] => return None,
        ["$JS", "API", "INFO"] => (READS, "account limits".to_owned()),
        ["$JS", "API", "DIRECT", "GET", stream] if stream.starts_with("KV_") => return None,
        ["$JS", "API", "DIRECT", "GET", stream, ..] if stream.starts_with("KV_") => return None,
        ["$JS", "API", "DIRECT", "GET", stream, ..] => (READS, all(stream)),
        ["$JS", "API", "CONSUMER", "MSG", "NEXT", stream, "*"] => {
            (READS, format!("{stream} (own ephemeral consumers)"))
        }
        ["$JS", "API", "CONSUMER", "MSG", "NEXT", stream, name] => (READS, format!("{stream} (consumer {name})")),
        ["$JS", "API", "CONSUMER", "CREATE", stream, ">"] => (MANAGES, format!("ephemeral consumers of {stream}")),
        ["$JS", "API", "CONSUMER", "CREATE" | "DELETE", stream, name] => {
            (MANAGES, format!("consumer {name} of {stream}"))
        }
        ["$JS", "API", "STREAM", "MSG", "GET", stream] => (READS, all(stream)),
        ["$JS", "API", "STREAM", "MSG", "DELETE", stream] => (MANAGES, format!("messages of {stream}")),
        ["$JS", "API", "STREAM" | "CONSUMER", "INFO" | "LIST" | "NAMES", ..] => {
            (READS, "state of streams".to_owned())
        }
        ["$KV", bucket, ">"] => (MANAGES, format!("bucket {bucket}")),
        ["$SRV", ..] => (READS, "service discovery".to_owned()),
        _ => panic!("{subject} belongs to no column: add it to this test"),
    };
    Some(found)
}

fn all(stream: &str) -> String {
    if matches!(stream, ">" | "*") { "every stream".to_owned() } else { stream.to_owned() }
}

/// Returns the cells of each user.
fn users(config: &str) -> BTreeMap<&str, [BTreeSet<String>; 6]> {
    let mut users = BTreeMap::new();
    for block in config.split("\n      user: ").skip(1) {
        let (user, block) = block.split_once(',').unwrap();
        let (publish, subscribe) = block.split_once("subscribe:").unwrap();
        let mut cells: [BTreeSet<String>; 6] = Default::default();
        for (column, text) in allowed(publish).into_iter().filter_map(published) {
            cells[column].insert(text);
        }
        let inbox = format!("_INBOX_{user}.>");
        let subscribed: Vec<&str> = allowed(subscribe.split("\n    }\n").next().unwrap());
        assert!(subscribed.contains(&inbox.as_str()), "{user} has no inbox of its own");
        let others = subscribed.into_iter().filter(|subject| *subject != inbox);
        cells[SUBSCRIBES].extend(others.map(|subject| format!("`{subject}`")));
        users.insert(user, cells);
    }
    users
}

fn matrix(config: &str) -> String {
    let mut lines =
        vec![format!("| user | {} |", COLUMNS.join(" | ")), format!("|---|{}", "---|".repeat(COLUMNS.len()))];
    for (user, cells) in users(config) {
        let cells = cells.map(|texts| texts.into_iter().collect::<Vec<_>>().join(", "));
        lines.push(format!("| {user} | {} |", cells.join(" | ")));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_matrix_of_security_md_is_that_of_nats_conf() {
    let expected = matrix(&std::fs::read_to_string(file("nats.conf")).unwrap());
    let text = std::fs::read_to_string(file("SECURITY.md")).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("SECURITY.md has no beginning of the users");
    let (found, after) = rest.split_once(END).expect("SECURITY.md has no end of the users");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file("SECURITY.md"), format!("{before}{BEGIN}\n{expected}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(found.trim(), expected.trim(), "run UPDATE_GOLDEN=1 cargo test -p demo matrix");
    }
}

#[test]
fn only_the_service_of_a_context_emits_its_events() {
    let config = std::fs::read_to_string(file("nats.conf")).unwrap();
    let mut emitters = BTreeMap::new();
    for (user, cells) in users(&config) {
        for context in cells[EVENTS].iter().filter(|context| *context != "its dead letters") {
            assert_eq!(emitters.insert(context.clone(), user), None, "{context}");
        }
    }
    assert!(emitters.len() > 4, "{emitters:?}");
}
