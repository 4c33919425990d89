//! Numbers of a round taken in four by four: one after the other, each would wait for the one before it.

const LANES: usize = 4;

/// What numbers come to by an operation whose order and grouping do not matter, but for rounding; `start` may be in it several
/// times.
pub(super) fn fold(numbers: &[f64], start: f64, operation: impl Fn(f64, f64) -> f64) -> f64 {
    let (whole, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in whole {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &number)| *lane = operation(*lane, number));
    }
    lanes.iter().chain(rest).copied().fold(start, operation)
}

/// The sum of products of numbers, as many on the left as on the right.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    debug_assert_eq!(left.len(), right.len());
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        lanes.iter_mut().zip(left.iter().zip(right)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    let rest = left_rest.iter().zip(right_rest).map(|(a, b)| a * b);
    lanes.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_and_products_are_those_of_one_after_the_other(pairs in prop::collection::vec((-1e3..1e3_f64, -1e3..1e3_f64), 0..30)) {
            let (left, right): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let products = || left.iter().zip(&right).map(|(a, b)| a * b);
            // Each of at most 30 additions is off by half an ulp of what all come to without signs, in either order.
            let off = |size: f64| 30.0 * f64::EPSILON * size;
            let sum = fold(&left, 0.0, |sum, number| sum + number);
            prop_assert!((sum - left.iter().sum::<f64>()).abs() <= off(left.iter().map(|a| a.abs()).sum()));
            prop_assert!((dot(&left, &right) - products().sum::<f64>()).abs() <= off(products().map(f64::abs).sum()));
            let largest = left.iter().copied().fold(-1.0, f64::max);
            prop_assert_eq!(fold(&left, -1.0, f64::max), largest);
        }
    }
}
