//! The completed orders of a run, and repetitions among them.

/// The orders of a run by number, from the first one on.
#[derive(Debug, Default)]
pub struct Ledger {
    first: u64,
    ended: Vec<bool>,
    /// The number of placed orders.
    pub placed: u64,
    /// The number of completed orders.
    pub finished: u64,
    /// The number of orders that were completed again.
    pub repeated: u64,
}

impl Ledger {
    /// Makes an empty ledger; `first` is the number of its first order.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Records a placed order, and returns its number.
    pub fn place(&mut self) -> u64 {
        let number = self.first + self.placed;
        self.placed += 1;
        self.ended.push(false);
        number
    }

    /// Records that an order is completed. Returns its index in this ledger, the first time.
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

    /// Returns the number of orders in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.placed - self.finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_completed_once_and_repetitions_are_counted() {
        let mut ledger = Ledger::starting_at(10);
        assert_eq!((ledger.place(), ledger.place()), (10, 11));
        assert_eq!(ledger.finish(11), Some(1));
        assert_eq!(ledger.finish(11), None);
        assert_eq!((ledger.in_flight(), ledger.finished, ledger.repeated), (1, 1, 1));
    }

    #[test]
    fn orders_of_other_runs_do_not_count() {
        let mut ledger = Ledger::starting_at(10);
        ledger.place();
        assert_eq!((ledger.finish(9), ledger.finish(11)), (None, None));
        assert_eq!((ledger.finished, ledger.repeated), (0, 0));
    }
}
