//! Numbers as flags give them.

fn number(text: &str, must: &str, accepts: impl Fn(f64) -> bool) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number| accepts(*number));
    number.ok_or_else(|| format!("must be {must}"))
}

/// A hyper-parameter of an estimator.
pub(super) fn lambda(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1e100", |lambda| (0.0..=1e100).contains(&lambda))
}

/// Replicates of a bootstrap, each of which is kept, with what each estimator has added up in it.
pub(super) fn replicates(text: &str) -> Result<usize, String> {
    text.trim().parse().ok().filter(|number| *number <= 100_000).ok_or_else(|| "must be from 0 to 100000".to_owned())
}

/// A probability that is neither none nor all.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    number(text, "a number above 0 and below 1", |p| p > 0.0 && p < 1.0)
}
