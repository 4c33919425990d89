//! How heavy the tail of the weights is.

/// Rows that a tail needs to be judged.
const TAIL_MIN: usize = 5;
/// How many times the weight that it begins at a tail must reach: the largest weights are alike below that, and the shape
/// of what little is between them says nothing of means. A tail of shape 0.7 reaches more than that in any log that has
/// enough equal rows.
const REACH_MIN: f64 = 2.0;

/// How many of so many weights are the tail: the largest 3 sqrt(n), at most a fifth of all (Vehtari, Simpson, Gelman, Yao
/// and Gabry, 2024).
#[must_use]
pub fn tail(n: usize) -> usize {
    (n / 5).min((3.0 * libm::sqrt(n as f64)).ceil() as usize)
}

/// The shape of a generalised Pareto distribution fitted to the tail of the weights: above 1/2 they have no variance, above
/// 1 no mean. `None` where there are too few, or where the largest are alike.
///
/// The tail, and the weight before it, are the last of `ranked`, ascending. The fit is that of Zhang and Stephens (2009),
/// drawn towards 1/2 as by ten observations.
#[must_use]
pub fn shape(ranked: &[f64]) -> Option<f64> {
    let n = ranked.len();
    let tail = tail(n);
    if tail < TAIL_MIN {
        return None;
    }
    let threshold = ranked[n - tail - 1];
    if ranked[n - 1] < REACH_MIN * threshold {
        return None;
    }
    let excesses: Vec<f64> = ranked[n - tail..].iter().map(|weight| weight - threshold).collect();
    let fitted = zhang_stephens(&excesses)?;
    let count = tail as f64;
    Some((fitted * count + 5.0) / (count + 10.0))
}

fn zhang_stephens(excesses: &[f64]) -> Option<f64> {
    let n = excesses.len() as f64;
    let largest = *excesses.last()?;
    let quartile = excesses[(n / 4.0 + 0.5) as usize - 1];
    // Where a quarter of the tail is no larger than the threshold, weights take few values and no tail can be fitted.
    if quartile <= 0.0 {
        return None;
    }
    let grid = 30 + libm::sqrt(n) as usize;
    let theta = |step: usize| {
        let place = libm::sqrt(grid as f64 / (step as f64 - 0.5));
        1.0 / largest + (1.0 - place) / (3.0 * quartile)
    };
    let thetas: Vec<f64> = (1..=grid).map(theta).collect();
    let shape_at = |theta: f64| excesses.iter().map(|excess| libm::log1p(-theta * excess)).sum::<f64>() / n;
    let likelihoods: Vec<f64> = thetas
        .iter()
        .map(|&theta| {
            let shape = shape_at(theta);
            n * (libm::log(-theta / shape) - shape - 1.0)
        })
        .collect();
    let best = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut mean, mut mass) = (0.0, 0.0);
    for (theta, likelihood) in thetas.iter().zip(likelihoods).filter(|(_, likelihood)| likelihood.is_finite()) {
        let weight = libm::exp(likelihood - best);
        mean += theta * weight;
        mass += weight;
    }
    let shape = shape_at(mean / mass);
    shape.is_finite().then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles of a generalised Pareto distribution of this shape and scale 1.
    fn quantiles(shape: f64, n: usize) -> Vec<f64> {
        (0..n)
            .map(|index| {
                let above = 1.0 - (index as f64 + 0.5) / n as f64;
                if shape == 0.0 { -above.ln() } else { (above.powf(-shape) - 1.0) / shape }
            })
            .collect()
    }

    #[test]
    fn the_shape_of_a_tail_is_found() {
        for shape_of_all in [0.0, 0.3, 0.7, 1.2] {
            let found = shape(&quantiles(shape_of_all, 20_000)).unwrap();
            // 425 weights make the tail: the prior moves 0 by 5 / 435 and 1.2 by 0.7 * 10 / 435, the fit by about 0.02.
            assert!((found - shape_of_all).abs() < 0.05, "{shape_of_all}: {found}");
        }
    }

    #[test]
    fn few_or_equal_weights_have_no_shape() {
        assert_eq!(shape(&[]), None);
        assert_eq!(shape(&[1.0; 10]), None);
        assert_eq!(shape(&[2.0; 1000]), None);
        // A few values near each other, as fitted propensities give to one kind of user, fold by fold.
        let fold = |row: usize| if row < 2_800 { 1.0 } else { 2.0 + 1.5_f64.powi(((row - 2_800) / 40) as i32) / 50.0 };
        let fitted: Vec<f64> = (0..3_000).map(fold).collect();
        assert_eq!(shape(&fitted), None);
    }
}
