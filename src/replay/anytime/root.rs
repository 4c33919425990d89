//! Where an increasing function passes nought.

/// The point between `from` and `to` where `f` turns from negative to not, to the last bit.
pub(super) fn bisect(mut from: f64, mut to: f64, f: impl Fn(f64) -> f64) -> f64 {
    // Halving doubles ends after some sixty steps, unless an end is 0.
    for _ in 0..200 {
        let middle = from + (to - from) / 2.0;
        if middle <= from || middle >= to {
            break;
        }
        if f(middle) < 0.0 { from = middle } else { to = middle }
    }
    from + (to - from) / 2.0
}
