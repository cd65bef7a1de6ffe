//! State-stored aggregates: which are new, and which have changed.

use choreography::Tracked;

fn loaded() -> Tracked<char, i32> {
    [('A', 1), ('B', 2)].into_iter().collect()
}

/// The new aggregates, and the changed ones.
fn changes(tracked: &Tracked<char, i32>) -> [Vec<(char, i32)>; 2] {
    let owned = |(key, state): (&char, &i32)| (*key, *state);
    [tracked.inserted().map(owned).collect(), tracked.updated().map(owned).collect()]
}

#[test]
fn a_loaded_aggregate_has_changed_only_if_its_state_differs() {
    let mut tracked = loaded();
    *tracked.get_mut(&'A').unwrap() += 1;
    *tracked.get_mut(&'A').unwrap() += 1;
    *tracked.get_or_insert_with('B', i32::default) += 1;
    assert_eq!(changes(&tracked), [vec![], vec![('A', 3), ('B', 3)]]);
    assert_eq!((tracked.loaded(&'A'), tracked.loaded(&'B')), (Some(&1), Some(&2)));
    tracked.insert('A', 1);
    tracked.insert('B', 2);
    assert_eq!(changes(&tracked), [vec![], vec![]], "back in the loaded state");
}

#[test]
fn an_aggregate_without_a_row_is_new_unless_it_stays_in_its_initial_state() {
    let mut tracked = loaded();
    assert_eq!(tracked.get_mut(&'C'), None);
    tracked.get_or_insert_with('C', i32::default);
    *tracked.get_or_insert_with('D', i32::default) += 4;
    tracked.insert('E', 0);
    *tracked.get_mut(&'E').unwrap() += 5;
    assert_eq!(changes(&tracked), [vec![('D', 4), ('E', 5)], vec![]]);
    assert_eq!(tracked.changed().count(), 2);
    assert_eq!((tracked.get(&'C'), tracked.loaded(&'D'), tracked.loaded(&'E')), (Some(&0), None, None));
}

#[test]
fn loading_an_aggregate_again_replaces_its_changes() {
    let mut tracked = loaded();
    tracked.insert('A', 7);
    tracked.insert('C', 7);
    tracked.extend([('A', 3), ('C', 5)]);
    assert_eq!(changes(&tracked), [vec![], vec![]]);
    assert_eq!(tracked, [('A', 3), ('B', 2), ('C', 5)].into_iter().collect());
    tracked.insert('C', 6);
    assert_eq!(changes(&tracked), [vec![], vec![('C', 6)]]);
}
