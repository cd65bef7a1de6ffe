//! Medians, ratios, and rates.

/// Returns the median; `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted.get(middle).copied()
    } else {
        Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, *sorted.get(middle)?))
    }
}

/// Returns the ratio of two medians; `None` if there are no values or the second median is 0.
#[must_use]
pub fn ratio(values: &[f64], to: &[f64]) -> Option<f64> {
    let (value, to) = (median(values)?, median(to)?);
    (to > 0.0).then(|| value / to)
}

/// Converts a count for divisions.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "the counts of a run are far below 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Returns a rate per second; 0 for no time.
#[must_use]
pub fn rate(count: u64, time: std::time::Duration) -> f64 {
    if time.is_zero() { 0.0 } else { number(count) / time.as_secs_f64() }
}

/// Returns the average per item; 0 without items.
#[must_use]
pub fn per(total: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total / number(count) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_median_does_not_depend_on_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_ratio_is_that_of_medians() {
        assert_eq!(ratio(&[1.0, 5.0, 100.0], &[10.0, 10.0, 1.0]), Some(0.5));
        assert_eq!(ratio(&[1.0], &[]), None);
        assert_eq!(ratio(&[1.0], &[0.0]), None);
    }

    #[test]
    fn a_rate_in_no_time_and_an_average_of_no_items_are_zero() {
        assert!((rate(10, Duration::from_secs(4)) - 2.5).abs() < f64::EPSILON);
        assert!(rate(10, Duration::ZERO).abs() < f64::EPSILON);
        assert!(per(3.0, 0).abs() < f64::EPSILON);
    }
}
