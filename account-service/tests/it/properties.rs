//! Invariants for every sequence of commands.

use account_service::account::Account;
use contracts::account::{AccountCommand, AccountEvent, AccountRefusal};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::given::{apply, create_of, delete_of, update_of};

pub(crate) fn config(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

fn customer_id(index: usize) -> String {
    format!("C{index}")
}

/// Any commands to a few accounts, often with the current version.
pub(crate) fn commands(customers: usize, length: usize) -> impl Strategy<Value = Vec<AccountCommand>> {
    let name = prop_oneof![Just("Zoë"), Just("Ann"), Just("Eve")];
    let command = (0..customers, 0..5_u8, 0..8_i64, name).prop_map(|(customer, kind, version, name)| {
        let id = customer_id(customer);
        match kind {
            0 => create_of(&id, name),
            1 => delete_of(&id, version),
            _ => update_of(&id, version, name),
        }
    });
    vec(command, 1..length)
}

fn expected_version(command: &AccountCommand) -> Option<i64> {
    match command {
        AccountCommand::Create(_) => None,
        AccountCommand::Update(update) => Some(update.expected_version),
        AccountCommand::Delete(delete) => Some(delete.expected_version),
    }
}

fn version_of(event: &AccountEvent) -> Option<i64> {
    match event {
        AccountEvent::Changed(changed) => Some(changed.version),
        AccountEvent::Deleted(deleted) => Some(deleted.version),
        AccountEvent::Refused(_) => None,
    }
}

/// Applies an event to a copy in another service: only a newer version counts.
fn apply_to_copy(copy: &mut Account, event: &AccountEvent) {
    if version_of(event).is_some_and(|version| version > copy.version()) {
        *copy = account_service::account::evolve(std::mem::take(copy), event);
    }
}

/// Applies all commands to one account, and returns it with the events.
fn play(commands: &[AccountCommand]) -> (Account, Vec<AccountEvent>) {
    let mut account = Account::default();
    let events = commands.iter().filter_map(|command| apply(&mut account, command)).collect();
    (account, events)
}

/// Changes that all expect version 1.
fn contenders() -> impl Strategy<Value = Vec<AccountCommand>> {
    let contender = prop_oneof![
        2 => prop_oneof![Just("Ann"), Just("Eve")].prop_map(|name| update_of("C0", 1, name)),
        1 => Just(delete_of("C0", 1)),
    ];
    vec(contender, 2..10).prop_shuffle()
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn versions_are_1_2_3_and_each_is_made_once(commands in commands(1, 40)) {
        let (account, events) = play(&commands);
        let versions: Vec<i64> = events.iter().filter_map(version_of).collect();
        let count = i64::try_from(versions.len()).unwrap();
        prop_assert_eq!(versions, (1..=count).collect::<Vec<_>>());
        prop_assert_eq!(account.version(), count);
    }

    #[test]
    fn a_change_is_made_only_on_its_expected_version(commands in commands(1, 40)) {
        let mut account = Account::default();
        for command in &commands {
            let before = account.clone();
            let event = apply(&mut account, command);
            match (expected_version(command), event) {
                (Some(expected), Some(AccountEvent::Refused(refused))) => {
                    prop_assert_eq!(&account, &before);
                    let open = matches!(before, Account::Open { .. });
                    match refused.reason {
                        AccountRefusal::VersionConflict { version } => {
                            prop_assert!(open && version == before.version() && version != expected);
                        }
                        AccountRefusal::NotFound => prop_assert!(!open),
                        AccountRefusal::AlreadyExists => prop_assert!(false, "only a creation may be refused for this reason"),
                    }
                }
                (Some(expected), Some(_)) => prop_assert_eq!(expected, before.version()),
                (Some(_), None) => prop_assert!(false, "a change is made or refused"),
                (None, Some(AccountEvent::Changed(_))) => {
                    let open = matches!(before, Account::Open { .. });
                    prop_assert!(!open);
                }
                (None, _) => prop_assert_eq!(&account, &before),
            }
        }
    }

    #[test]
    fn of_changes_to_the_same_version_exactly_one_wins_in_any_order(mut commands in contenders()) {
        commands.insert(0, create_of("C0", "Zoë"));
        let (account, events) = play(&commands);
        let won = events.iter().skip(1).filter(|event| version_of(event) == Some(2)).count();
        prop_assert_eq!(won, 1);
        prop_assert_eq!(account.version(), 2);
        prop_assert_eq!(events.len(), commands.len(), "the others are refused");
    }

    #[test]
    fn a_repeated_command_with_another_id_changes_nothing(commands in commands(1, 20)) {
        // The ids differ: the inbox drops a message with the same id.
        let mut account = Account::default();
        for command in &commands {
            apply(&mut account, command);
            let after = account.clone();
            apply(&mut account, command);
            prop_assert_eq!(&account, &after);
        }
    }

    #[test]
    fn a_copy_converges_for_any_order_and_repetition_of_events(
        commands in commands(1, 30),
        deliveries in vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let (account, events) = play(&commands);
        let mut copy = Account::default();
        for delivery in deliveries.iter().filter(|_| !events.is_empty()) {
            apply_to_copy(&mut copy, delivery.get(&events));
        }
        for event in events.iter().rev() {
            apply_to_copy(&mut copy, event);
        }
        prop_assert_eq!(copy, account);
    }
}
