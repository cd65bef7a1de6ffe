//! The declarations, against `nats.conf`.

use std::collections::BTreeSet;

use restaurant::declaration::{declarations, topology};

#[test]
fn the_users_of_nats_conf_have_exactly_the_permissions_that_the_programs_declare() {
    let config = include_str!("../../nats.conf");
    for declaration in declarations().unwrap() {
        let user = declaration.user(&topology().unwrap()).unwrap();
        let block = config.split("user: ").find(|block| block.starts_with(user.name)).unwrap();
        let (publish, subscribe) = block.split_once("subscribe:").unwrap();
        let set = |subjects: &[String]| subjects.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(quoted(publish), set(&user.publish), "{}: see `restaurant users`", user.name);
        assert_eq!(quoted(subscribe), set(&user.subscribe), "{}: see `restaurant users`", user.name);
    }
}

/// Returns the quoted texts outside of comments.
fn quoted(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}
