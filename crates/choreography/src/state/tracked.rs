//! State-stored aggregates of a batch: load, decide, save.
//!
//! The counterpart of [`EventSourced`](crate::EventSourced) for aggregates whose current state is a row.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Iter};
use std::ops::Deref;

use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr};

use crate::state::statement;

/// Aggregates by key that know which of them have changed since they were loaded.
///
/// A handler collects the rows that a batch needs, decides message by message, and saves what differs: a new aggregate
/// as a new row, a changed one over its row. An aggregate is copied before its first change; the others are not. Reads
/// are those of a [`BTreeMap`]. Nothing can be removed: a deleted aggregate is a state, so that a message that arrives
/// late does not create it again.
///
/// Two maps are equal if they have equal aggregates, whatever was loaded.
///
/// ```
/// use choreography::Tracked;
///
/// let mut stock: Tracked<&str, u32> = [("CUP", 3), ("TEA", 5)].into_iter().collect();
/// *stock.get_or_insert_with("CUP", u32::default) += 2;
/// *stock.get_or_insert_with("POT", u32::default) += 7;
///
/// assert_eq!((stock["CUP"], stock.loaded(&"CUP")), (5, Some(&3)));
/// assert_eq!(stock.inserted().collect::<Vec<_>>(), [(&"POT", &7)]);
/// assert_eq!(stock.updated().collect::<Vec<_>>(), [(&"CUP", &5)]);
/// ```
#[derive(Debug, Clone)]
pub struct Tracked<K, V> {
    aggregates: BTreeMap<K, V>,
    /// Each aggregate that may have changed, before its first change.
    before: BTreeMap<K, Before<V>>,
}

/// An aggregate before its first change: in the database if it `is_stored`, otherwise the initial state, which needs no
/// row. Without a `state`, any state needs one.
#[derive(Debug, Clone)]
struct Before<V> {
    state: Option<V>,
    is_stored: bool,
}

impl<K: Ord + Clone, V: Clone> Tracked<K, V> {
    /// Returns an aggregate for a change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let aggregate = self.aggregates.get_mut(key)?;
        if !self.before.contains_key(key) {
            self.before.insert(key.clone(), Before { state: Some(aggregate.clone()), is_stored: true });
        }
        Some(aggregate)
    }

    /// Returns an aggregate for a change; without a row it is in its `initial` state, and gets a row only if that changes.
    pub fn get_or_insert_with(&mut self, key: K, initial: impl FnOnce() -> V) -> &mut V {
        match self.aggregates.entry(key) {
            Entry::Occupied(entry) => {
                let before = self.before.entry(entry.key().clone());
                before.or_insert_with(|| Before { state: Some(entry.get().clone()), is_stored: true });
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                let initial = initial();
                self.before.insert(entry.key().clone(), Before { state: Some(initial.clone()), is_stored: false });
                entry.insert(initial)
            }
        }
    }

    /// Adds an aggregate, or replaces it.
    pub fn insert(&mut self, key: K, aggregate: V) {
        if let Some(known) = self.get_mut(&key) {
            *known = aggregate;
        } else {
            self.before.insert(key.clone(), Before { state: None, is_stored: false });
            self.aggregates.insert(key, aggregate);
        }
    }
}

impl<K: Ord, V: PartialEq> Tracked<K, V> {
    /// Returns the state of an aggregate in the database; `None` without a row.
    #[must_use]
    pub fn loaded(&self, key: &K) -> Option<&V> {
        match self.before.get(key) {
            Some(before) => before.state.as_ref().filter(|_| before.is_stored),
            None => self.aggregates.get(key),
        }
    }

    /// Returns the new and the changed aggregates, by key.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &V)> {
        let changed = self.before.iter().filter(|(key, before)| before.state.as_ref() != self.aggregates.get(*key));
        changed.filter_map(|(key, _)| self.aggregates.get_key_value(key))
    }

    /// Returns the new aggregates, by key: changed ones without a row.
    pub fn inserted(&self) -> impl Iterator<Item = (&K, &V)> {
        self.changed().filter(|(key, _)| self.loaded(key).is_none())
    }

    /// Returns the changed aggregates that have a row, by key.
    pub fn updated(&self) -> impl Iterator<Item = (&K, &V)> {
        self.changed().filter(|(key, _)| self.loaded(key).is_some())
    }

    /// Inserts the rows of new aggregates, and overwrites those of changed ones.
    ///
    /// # Errors
    ///
    /// The database's error; a unique violation if another instance inserted one of the new rows meanwhile. The
    /// messages are then retried on its state.
    pub async fn save<A>(
        &self,
        connection: &impl ConnectionTrait,
        row: impl Fn(&K, &V) -> Result<A, DbErr>,
    ) -> Result<(), DbErr>
    where
        A: ActiveModelTrait + Send,
    {
        let new = self.inserted().map(|(key, state)| row(key, state)).collect::<Result<_, _>>()?;
        let changed = self.updated().map(|(key, state)| row(key, state)).collect::<Result<_, _>>()?;
        statement::insert(connection, new, None).await?;
        statement::upsert::<A>(connection, changed).await
    }
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { aggregates: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K, V> Deref for Tracked<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.aggregates
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Tracked<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.aggregates == other.aggregates
    }
}

impl<K: Eq, V: Eq> Eq for Tracked<K, V> {}

/// Adds loaded aggregates. One that is loaded again, such as under a lock, replaces the former one with its changes.
impl<K: Ord, V> Extend<(K, V)> for Tracked<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, loaded: I) {
        for (key, state) in loaded {
            self.before.remove(&key);
            self.aggregates.insert(key, state);
        }
    }
}

/// Collects loaded aggregates.
impl<K: Ord, V> FromIterator<(K, V)> for Tracked<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(loaded: I) -> Self {
        Self { aggregates: loaded.into_iter().collect(), before: BTreeMap::new() }
    }
}

impl<'a, K, V> IntoIterator for &'a Tracked<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.aggregates.iter()
    }
}
