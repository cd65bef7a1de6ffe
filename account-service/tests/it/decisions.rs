//! The rules of one account.

use account_service::account::Account;
use contracts::account::AccountRefusal::{AlreadyExists, NotFound};

use crate::given::{changed, conflict, create, delete, deleted, details, given, refused, update};

fn open(version: i64, name: &str) -> Account {
    Account::Open { version, details: details(name) }
}

#[test]
fn a_new_account_is_created_with_version_1() {
    given(&[]).when(&create("Zoë")).then(&changed(1, "Zoë")).is(&open(1, "Zoë"));
}

#[test]
fn creating_an_account_that_exists_with_the_same_details_changes_nothing() {
    given(&[changed(1, "Zoë")]).when(&create("Zoë")).then_nothing().is(&open(1, "Zoë"));
    given(&[changed(1, "Ann"), changed(2, "Zoë")]).when(&create("Zoë")).then_nothing().is(&open(2, "Zoë"));
}

#[test]
fn creating_an_account_that_exists_with_other_details_is_refused() {
    given(&[changed(1, "Zoë")]).when(&create("Ann")).then(&refused(AlreadyExists)).is(&open(1, "Zoë"));
}

#[test]
fn an_account_that_is_created_again_continues_the_versions_after_its_deletion() {
    let history = [changed(1, "Zoë"), deleted(2)];
    given(&history).when(&create("Zoë")).then(&changed(3, "Zoë")).is(&open(3, "Zoë"));
}

#[test]
fn an_update_of_the_current_version_makes_the_next_one() {
    given(&[changed(1, "Zoë")]).when(&update(1, "Ann")).then(&changed(2, "Ann")).is(&open(2, "Ann"));
    given(&[changed(1, "Zoë")]).when(&update(1, "Zoë")).then(&changed(2, "Zoë"));
}

#[test]
fn an_update_of_another_version_is_refused_with_the_current_one() {
    let history = [changed(1, "Zoë"), changed(2, "Ann")];
    for version in [0, 1, 3, -1, i64::MAX] {
        given(&history).when(&update(version, "Eve")).then(&conflict(2)).is(&open(2, "Ann"));
    }
}

#[test]
fn a_late_update_to_the_current_details_is_refused() {
    given(&[changed(1, "Zoë"), changed(2, "Ann")]).when(&update(1, "Ann")).then(&conflict(2));
}

#[test]
fn an_account_that_does_not_exist_cannot_be_updated_or_deleted() {
    for history in [vec![], vec![changed(1, "Zoë"), deleted(2)]] {
        for version in [0, 1, 2] {
            given(&history).when(&update(version, "Ann")).then(&refused(NotFound));
            given(&history).when(&delete(version)).then(&refused(NotFound));
        }
    }
}

#[test]
fn a_deletion_of_the_current_version_makes_the_next_one() {
    given(&[changed(1, "Zoë")]).when(&delete(1)).then(&deleted(2)).is(&Account::Deleted { version: 2 });
}

#[test]
fn a_deletion_of_another_version_is_refused_with_the_current_one() {
    given(&[changed(1, "Zoë"), changed(2, "Ann")]).when(&delete(1)).then(&conflict(2)).is(&open(2, "Ann"));
}
