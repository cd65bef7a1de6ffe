//! Which orders have come to their end, and how often.

/// Orders by their numbers, from the first of a run on.
#[derive(Debug, Default)]
pub struct Ledger {
    first: u64,
    ended: Vec<bool>,
    /// Orders that have been placed.
    pub placed: u64,
    /// Orders that have come to their end.
    pub finished: u64,
    /// Ends of orders that had come to it before.
    pub repeated: u64,
}

impl Ledger {
    /// Begins with the number of the next order.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Takes the next number.
    pub fn place(&mut self) -> u64 {
        let number = self.first + self.placed;
        self.placed += 1;
        self.ended.push(false);
        number
    }

    /// Notes the end of an order; returns its place among those of this ledger, where it is the first end of it.
    pub fn finish(&mut self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let ended = self.ended.get_mut(index)?;
        if std::mem::replace(ended, true) {
            self.repeated += 1;
            return None;
        }
        self.finished += 1;
        Some(index)
    }

    /// Returns how many orders are on their way.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.placed - self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_ends_once_and_what_comes_again_is_counted() {
        let mut ledger = Ledger::starting_at(10);
        assert_eq!((ledger.place(), ledger.place()), (10, 11));
        assert_eq!(ledger.finish(11), Some(1));
        assert_eq!(ledger.finish(11), None);
        assert_eq!((ledger.under_way(), ledger.finished, ledger.repeated), (1, 1, 1));
    }

    #[test]
    fn orders_of_others_do_not_count() {
        let mut ledger = Ledger::starting_at(10);
        ledger.place();
        assert_eq!((ledger.finish(9), ledger.finish(11)), (None, None));
        assert_eq!((ledger.finished, ledger.repeated), (0, 0));
    }
}
