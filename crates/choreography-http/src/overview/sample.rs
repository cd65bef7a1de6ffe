//! An even sample of messages.

/// The maximum number of messages in a sample.
const MAX_SHOWN: usize = 20;

/// An even sample of any number of messages; it keeps at most twice as many as it returns.
#[derive(Debug)]
pub(super) struct Sample<T> {
    kept: Vec<T>,
    /// One of `stride` messages is kept.
    stride: u64,
    seen: u64,
}

impl<T> Sample<T> {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), stride: 1, seen: 0 }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == 2 * MAX_SHOWN {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if self.seen.is_multiple_of(self.stride) {
                self.kept.push(item);
            }
        }
        self.seen += 1;
    }

    /// Counts messages that were skipped.
    pub(super) fn miss(&mut self, count: u64) {
        self.seen += count;
    }

    /// Returns the sample and the number of messages, and begins a new sample.
    pub(super) fn take(&mut self) -> (Vec<T>, u64) {
        let Self { kept, seen, .. } = std::mem::replace(self, Self::new());
        let count = kept.len();
        let shown = count.min(MAX_SHOWN);
        // The i-th message of the result is at i × count / shown.
        let mut next = 0;
        let taken = kept.into_iter().enumerate().filter_map(|(index, item)| {
            (next < shown && index == next * count / shown).then(|| {
                next += 1;
                item
            })
        });
        (taken.collect(), seen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_is_small_even_and_in_order(count in 0_usize..5000) {
            let mut sample = Sample::new();
            (0..count).for_each(|n| sample.push(n));
            let (shown, seen) = sample.take();
            prop_assert_eq!(seen, count as u64);
            prop_assert_eq!(shown.len(), count.min(MAX_SHOWN).max(shown.len().min(MAX_SHOWN)));
            prop_assert!(shown.len() >= count.min(MAX_SHOWN));
            prop_assert!(shown.is_sorted());
            let gaps = shown.windows(2).map(|pair| pair[1] - pair[0]);
            let (min, max) = gaps.fold((usize::MAX, 0), |(min, max), gap| (min.min(gap), max.max(gap)));
            prop_assert!(shown.len() < 2 || max <= 2 * min, "{:?}", shown);
        }
    }
}
