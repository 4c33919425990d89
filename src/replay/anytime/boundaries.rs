//! Curves u(v) that a martingale-like sum of variance v stays under at all times with probability 1 - alpha (Howard,
//! Ramdas, McAuliffe and Sekhon, 2021): mixtures of exponential supermartingales, and stitching.

use super::root::bisect;
use crate::{
    engine::math::{beta::ln_beta, gamma::ln_gamma, incomplete_gamma, normal},
    replay::intervals::Interval,
};

/// The variance at which a mixture is tightest, and for which alpha.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Above 0.
    pub variance: f64,
    /// In (0, 1).
    pub alpha: f64,
}

impl Tuning {
    fn two_sided(self) -> f64 {
        let log = 2.0 * libm::log(1.0 / self.alpha);
        self.variance / (log + libm::log1p(log))
    }

    fn one_sided(self) -> f64 {
        Self { alpha: 2.0 * self.alpha, ..self }.two_sided()
    }
}

/// The logarithm of the two-sided normal mixture at sum `s` and variance `v`.
#[must_use]
pub fn two_sided_normal_log_mixture(s: f64, v: f64, tuning: Tuning) -> f64 {
    let rho = tuning.two_sided();
    0.5 * libm::log(rho / (v + rho)) + s * s / (2.0 * (v + rho))
}

/// For the absolute sum of sub-Gaussian terms.
#[must_use]
pub fn two_sided_normal(v: f64, alpha: f64, tuning: Tuning) -> f64 {
    let rho = tuning.two_sided();
    libm::sqrt((v + rho) * (libm::log1p(v / rho) + 2.0 * libm::log(1.0 / alpha)))
}

/// For the sum of sub-Gaussian terms.
#[must_use]
pub fn one_sided_normal(v: f64, alpha: f64, tuning: Tuning) -> f64 {
    let rho = tuning.one_sided();
    let log_mixture = |s: f64| {
        0.5 * libm::log(4.0 * rho / (v + rho))
            + s * s / (2.0 * (v + rho))
            + libm::log(normal::cdf(s / libm::sqrt(v + rho)))
    };
    passing(v, alpha, log_mixture)
}

/// For the sum of sub-exponential terms of scale `c` above 0.
#[must_use]
pub fn gamma_exponential(v: f64, alpha: f64, c: f64, tuning: Tuning) -> f64 {
    let square = c * c;
    let rho = tuning.one_sided() / square;
    let constant = rho * libm::log(rho) - ln_gamma(rho) - libm::log(incomplete_gamma::tails(rho, rho).lower);
    let shape = v / square + rho;
    let log_mixture = |s: f64| {
        let point = (c * s + v) / square;
        let below = incomplete_gamma::tails(shape, point + rho).lower;
        constant + ln_gamma(shape) + libm::log(below) - shape * libm::log(point + rho) + point
    };
    passing(v, alpha, log_mixture)
}

/// For the sum of sub-Poisson terms of scale `c` above 0.
#[must_use]
pub fn gamma_poisson(v: f64, alpha: f64, c: f64, tuning: Tuning) -> f64 {
    let square = c * c;
    let rho = tuning.one_sided() / square;
    let constant = rho * libm::log(rho) - ln_gamma(rho) - libm::log(incomplete_gamma::tails(rho, rho).upper);
    let point = v / square + rho;
    let log_mixture = |s: f64| {
        let shape = s / c + point;
        let above = incomplete_gamma::tails(shape, point).upper;
        constant + ln_gamma(shape) + libm::log(above) - shape * libm::log(point) + v / square
    };
    passing(v, alpha, log_mixture)
}

/// For the sum of terms of scale `c`, by stitching together bounds over epochs of variance that double, from `v_min` on.
#[must_use]
pub fn poly_stitching(v: f64, alpha: f64, v_min: f64, c: f64) -> f64 {
    // The epochs' share of alpha falls like k^-1.4.
    const POWER: f64 = 1.4;
    const RATIO: f64 = 2.0;
    let fourth = libm::sqrt(libm::sqrt(RATIO));
    let k1 = (fourth + 1.0 / fourth) / libm::sqrt(2.0);
    let k2 = (libm::sqrt(RATIO) + 1.0) / 2.0;
    let v = v.max(v_min);
    let constant = libm::log(zeta(POWER) / libm::pow(libm::log(RATIO), POWER));
    let ell = POWER * libm::log(libm::log(RATIO * v / v_min)) + constant + libm::log(1.0 / alpha);
    let linear = k2 * c * ell;
    libm::sqrt(k1 * k1 * v * ell + linear * linear) + linear
}

/// The interval for a share that holds at all numbers of trials, tightest at `trials_best` of them.
#[must_use]
pub fn bernoulli(successes: f64, trials: f64, alpha: f64, trials_best: f64, alpha_best: f64) -> Interval {
    let share = successes / trials;
    let excess = |p: f64| {
        let variance = p * (1.0 - p);
        let rho = Tuning { variance: variance * trials_best, alpha: alpha_best }.two_sided();
        let r = (rho - variance).max(1e-3 * variance);
        beta_binomial(trials * (share - p), variance * trials, r, p) - libm::log(1.0 / alpha)
    };
    Interval {
        lower: if successes > 0.0 { bisect(0.0, share, |p| -excess(p)) } else { 0.0 },
        upper: if successes < trials { bisect(share, 1.0, excess) } else { 1.0 },
    }
}

/// The logarithm of the two-sided beta-binomial mixture for draws of probability p, less its value at nought.
fn beta_binomial(s: f64, v: f64, r: f64, p: f64) -> f64 {
    let q = 1.0 - p;
    -((v + q * s) / q) * libm::log(p) - ((v - p * s) / p) * libm::log(q)
        + ln_beta((r + v - p * s) / p, (r + v + q * s) / q)
        - ln_beta(r / p, r / q)
}

/// The sum at which a mixture that grows with it passes 1 / alpha.
fn passing(v: f64, alpha: f64, log_mixture: impl Fn(f64) -> f64) -> f64 {
    let excess = |s: f64| log_mixture(s) - libm::log(1.0 / alpha);
    let mut above = v.max(1.0);
    while excess(above) < 0.0 {
        above *= 2.0;
    }
    bisect(0.0, above, excess)
}

/// Riemann's zeta function for s > 1, by Euler and Maclaurin's formula from 16 on: what is left out is below 1e-17.
fn zeta(s: f64) -> f64 {
    const FROM: u32 = 16;
    let n = f64::from(FROM);
    let head: f64 = (1..FROM).map(|k| libm::pow(f64::from(k), -s)).sum();
    let power = libm::pow(n, -s);
    let mut rising = s;
    let mut tail = n * power / (s - 1.0) + 0.5 * power;
    let mut scale = power / n;
    for (index, coefficient) in [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30_240.0, -1.0 / 1_209_600.0].into_iter().enumerate() {
        tail += coefficient * rising * scale;
        let next = 2.0 * index as f64 + 1.0;
        rising *= (s + next) * (s + next + 1.0);
        scale /= n * n;
    }
    head + tail
}
