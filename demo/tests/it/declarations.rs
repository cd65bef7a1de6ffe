//! The declarations of the services, against `nats.conf`.

use std::collections::BTreeSet;
use std::path::Path;

use contracts::declaration::{full_declarations, full_topology};
use demo::declarations::users;

#[test]
fn the_users_of_nats_conf_have_exactly_the_permissions_that_the_services_declare() {
    let topology = full_topology().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nats.conf");
    let config = std::fs::read_to_string(path).unwrap();
    for declaration in full_declarations() {
        let user = declaration.user(&topology).unwrap();
        let block = config.split("user: ").find(|block| block.starts_with(declaration.service())).unwrap();
        let (publish, subscribe) = block.split_once("subscribe:").unwrap();
        let set = |subjects: &[String]| subjects.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(quoted(publish), set(&user.publish), "{}", declaration.service());
        assert_eq!(quoted(subscribe), set(&user.subscribe), "{}", declaration.service());
        assert!(block.contains("allow_responses: true"));
    }
}

/// Returns the quoted texts outside of comments.
fn quoted(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_printed_users_name_the_variable_of_their_password() {
    let printed = users().unwrap();
    assert!(printed.contains("user: order-service, password: $ORDER_SERVICE_PASSWORD"), "{printed}");
    assert!(printed.contains("\"$JS.ACK.TIMERS.order-service.>\","), "{printed}");
}
