//! The rule of versions: of each aggregate, every event is applied once, in order. Pure.

use std::collections::{BTreeSet, HashMap};

use crate::projection::decode::{Entry, Version};

/// The last applied version of aggregates, by context and aggregate id. An absent aggregate has none.
pub(crate) type LastVersions = HashMap<(String, String), i64>;

/// An entry, and whether it is new.
#[derive(Debug)]
pub(crate) struct Judged<M> {
    pub(crate) entry: Entry<M>,
    pub(crate) is_new: bool,
}

/// A gap: events between the last applied version and that of an entry are missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) context: String,
    pub(crate) aggregate_id: String,
    /// The last version before the gap, and the first one after it.
    pub(crate) between: (i64, i64),
}

/// Returns the aggregates of a batch, each once.
pub(crate) fn aggregates<M>(entries: &[Entry<M>]) -> BTreeSet<(String, String)> {
    let versions = entries.iter().filter_map(|entry| entry.version.as_ref());
    versions.map(|version| (version.context.clone(), version.aggregate_id.clone())).collect()
}

/// Judges an entry by the last version of its aggregate, and updates that. An entry after a gap is handed back.
pub(crate) fn judge<M>(last: &mut LastVersions, entry: Entry<M>) -> Result<Judged<M>, Box<(Gap, Entry<M>)>> {
    let Some(Version { context, aggregate_id, number }) = &entry.version else {
        return Ok(Judged { entry, is_new: true });
    };
    let known = last.entry((context.clone(), aggregate_id.clone())).or_insert(0);
    if *number > *known + 1 {
        let between = (*known, *number);
        let gap = Gap { context: context.clone(), aggregate_id: aggregate_id.clone(), between };
        return Err(Box::new((gap, entry)));
    }
    let is_new = *number > *known;
    *known = (*known).max(*number);
    Ok(Judged { entry, is_new })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::projection::decode::Content;

    fn entry(aggregate_id: &str, number: Option<i64>) -> Entry<()> {
        let version = number.map(|number| Version {
            context: "order".to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            number,
        });
        Entry { content: Content::Other, version, place: None, stored_at: 0 }
    }

    #[test]
    fn each_version_of_an_aggregate_is_new_once() {
        let mut last = LastVersions::default();
        let mut is_new = |id, number| judge(&mut last, entry(id, Some(number))).unwrap().is_new;
        assert!(is_new("A", 1) && is_new("B", 1) && is_new("A", 2));
        assert!(!is_new("A", 2) && !is_new("A", 1) && !is_new("B", 1));
        assert!(is_new("A", 3));
        // Messages without a version are left to the inbox.
        assert!(judge(&mut last, entry("A", None)).unwrap().is_new);
    }

    #[test]
    fn a_version_after_the_next_one_is_a_gap_and_changes_nothing() {
        let mut last = LastVersions::default();
        judge(&mut last, entry("A", Some(1))).unwrap();
        let (gap, back) = *judge(&mut last, entry("A", Some(4))).unwrap_err();
        assert_eq!((gap.aggregate_id.as_str(), gap.between), ("A", (1, 4)));
        assert_eq!(back.version.unwrap().number, 4);
        assert!(judge(&mut last, entry("A", Some(2))).unwrap().is_new);
    }
}
