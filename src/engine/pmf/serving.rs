//! Probabilities of being highest, fast enough for every request.
//!
//! Usual arms take the `lattice`, which tells when it is not accurate enough; then, and for arms that share no axis, the
//! `panels` do. What is computed depends on arms and mask alone, not on what was asked before.

use super::{curve::ScoreCurve, distribution::ScoreDistribution, lattice::Lattice, panels::Panels};

/// One request's arms, with what was evaluated of them: the next slot's probabilities reuse it.
#[derive(Debug)]
pub struct ThompsonGrid<'a> {
    /// Where each arm stands among those that masks and probabilities run over, ascending.
    places: Vec<usize>,
    arms: Vec<(ScoreDistribution, &'a ScoreCurve)>,
    lattice: Option<Lattice<'a>>,
    /// Made where the lattice is not enough.
    panels: Option<Panels<'a>>,
}

/// P(a has the highest draw) for each of the given arms, making their curves first.
#[must_use]
pub fn thompson_pmf(arms: &[ScoreDistribution]) -> Vec<f64> {
    let curves: Vec<ScoreCurve> = arms.iter().map(ScoreCurve::of).collect();
    ThompsonGrid::new(arms.iter().copied().zip(&curves)).pmf(&vec![true; arms.len()])
}

impl<'a> ThompsonGrid<'a> {
    /// The grid of a request's eligible arms: each one's score distribution, and the curve of its shape.
    #[must_use]
    pub fn new(arms: impl IntoIterator<Item = (ScoreDistribution, &'a ScoreCurve)>) -> Self {
        Self::of(arms.into_iter().enumerate())
    }

    /// The grid of those arms that remain, for masks of all: the others have no say in it.
    #[must_use]
    pub fn among(arms: impl IntoIterator<Item = (ScoreDistribution, &'a ScoreCurve)>, remaining: &[bool]) -> Self {
        Self::of(arms.into_iter().enumerate().filter(|&(place, _)| remaining[place]))
    }

    fn of(arms: impl Iterator<Item = (usize, (ScoreDistribution, &'a ScoreCurve))>) -> Self {
        let (places, arms): (Vec<_>, Vec<_>) = arms.unzip();
        let lattice = Lattice::new(&arms);
        Self { places, arms, lattice, panels: None }
    }

    /// P(a has the highest draw among the remaining arms) for every arm of the mask: 0 for arms that do not remain,
    /// finite and not negative, summing to 1 if any remains. Arms that remain are in the grid.
    pub fn pmf(&mut self, remaining: &[bool]) -> Vec<f64> {
        let active: Vec<usize> = (0..self.places.len()).filter(|&arm| remaining[self.places[arm]]).collect();
        debug_assert_eq!(active.len(), remaining.iter().filter(|&&remains| remains).count());
        let mut probabilities = vec![0.0; remaining.len()];
        let among_active = match active.len() {
            0 => Vec::new(),
            1 => vec![1.0],
            _ => self.pmf_among(&active),
        };
        active
            .into_iter()
            .zip(among_active)
            .for_each(|(arm, probability)| probabilities[self.places[arm]] = probability);
        probabilities
    }

    fn pmf_among(&mut self, active: &[usize]) -> Vec<f64> {
        let by_lattice = self.lattice.as_mut().and_then(|lattice| lattice.pmf(active));
        by_lattice.unwrap_or_else(|| {
            let panels = self.panels.get_or_insert_with(|| Panels::new(self.arms.clone()));
            panels.pmf(active)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pmf::reference::thompson_pmf_reference;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A fifth of what is asked of the probabilities that act.
    const VARIATION_MAX: f64 = 2e-4;

    fn total_variation(left: &[f64], right: &[f64]) -> f64 {
        0.5 * left.iter().zip(right).map(|(a, b)| (a - b).abs()).sum::<f64>()
    }

    fn log_uniform(rng: &mut ChaCha8Rng, from: f64, to: f64) -> f64 {
        libm::exp(rng.random_range(libm::log(from)..libm::log(to)))
    }

    /// Families of posteriors: wild t, wild Beta, scaled Beta, learning Beta, near-tied t.
    fn random_arm(rng: &mut ChaCha8Rng, family: u32) -> ScoreDistribution {
        match family {
            0 => ScoreDistribution::StudentT {
                degrees_of_freedom: log_uniform(rng, 1.5, 1e7),
                location: rng.random_range(-1.0..1.0),
                scale: log_uniform(rng, 0.01, 3.0),
            },
            1 => {
                let [alpha, beta] = [0; 2].map(|_| log_uniform(rng, 0.3, 1e6));
                ScoreDistribution::Beta { alpha, beta, scale: 1.0 }
            }
            2 => random_arm(rng, 1).scaled_by(log_uniform(rng, 1.0, 300.0)),
            3 => {
                let (observations, rate) = (log_uniform(rng, 2.0, 1e6), rng.random_range(0.03..0.05));
                let [alpha, beta] = [rate, 1.0 - rate].map(|share| 1.0 + share * observations);
                ScoreDistribution::Beta { alpha, beta, scale: 1.0 }
            }
            _ => ScoreDistribution::StudentT {
                degrees_of_freedom: 30.0,
                location: rng.random_range(-0.1..0.1),
                scale: log_uniform(rng, 0.05, 0.1),
            },
        }
    }

    fn assert_is_pmf(pmf: &[f64]) {
        assert!(pmf.iter().all(|probability| probability.is_finite() && *probability >= 0.0), "{pmf:?}");
        assert!((pmf.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn serving_agrees_with_the_reference_for_random_posteriors() {
        let mut rng = ChaCha8Rng::seed_from_u64(20);
        let mut worst = 0.0_f64;
        for case in 0..300 {
            let count = [2, 3, 5, 8, 12][case % 5];
            // The sixth family mixes the others.
            let family = (case / 5 % 6) as u32;
            let arms: Vec<_> = (0..count)
                .map(|_| {
                    let family = if family == 5 { rng.random_range(0..5) } else { family };
                    random_arm(&mut rng, family)
                })
                .collect();
            let pmf = thompson_pmf(&arms);
            assert_is_pmf(&pmf);
            let variation = total_variation(&pmf, &thompson_pmf_reference(&arms));
            assert!(variation < VARIATION_MAX, "{variation:e}: {arms:?}");
            worst = worst.max(variation);
        }
        assert!(worst > 0.0, "the reference must not be the serving path");
    }

    #[test]
    fn arms_about_equally_wide_need_no_panels() {
        let mut rng = ChaCha8Rng::seed_from_u64(23);
        for count in [2, 5, 20, 100] {
            let arms: Vec<_> = (0..count).map(|_| random_arm(&mut rng, 4)).collect();
            let curves: Vec<_> = arms.iter().map(ScoreCurve::of).collect();
            let mut grid = ThompsonGrid::new(arms.iter().copied().zip(&curves));
            let variation = total_variation(&grid.pmf(&vec![true; count]), &thompson_pmf_reference(&arms));
            assert!(variation < 2e-5, "{count}: {variation:e}");
            assert!(grid.panels.is_none(), "{count}");
        }
    }

    #[test]
    fn a_hundred_arms_agree_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(21);
        for family in [0, 1, 3] {
            let arms: Vec<_> = (0..100).map(|_| random_arm(&mut rng, family)).collect();
            let variation = total_variation(&thompson_pmf(&arms), &thompson_pmf_reference(&arms));
            assert!(variation < VARIATION_MAX, "{family}: {variation:e}");
        }
    }

    #[test]
    fn arms_that_remain_share_as_if_alone_whatever_was_asked_before() {
        let mut rng = ChaCha8Rng::seed_from_u64(22);
        for family in 0..5 {
            let arms: Vec<_> = (0..10).map(|_| random_arm(&mut rng, family)).collect();
            let curves: Vec<_> = arms.iter().map(ScoreCurve::of).collect();
            let mut grid = ThompsonGrid::new(arms.iter().copied().zip(&curves));
            let mut remaining = vec![true; arms.len()];
            while remaining.iter().filter(|&&arm| arm).count() > 1 {
                let pmf = grid.pmf(&remaining);
                assert_is_pmf(&pmf);
                let rest: Vec<_> =
                    arms.iter().zip(&remaining).filter_map(|(arm, &stays)| stays.then_some(*arm)).collect();
                let kept: Vec<_> = pmf.iter().zip(&remaining).filter_map(|(p, &stays)| stays.then_some(*p)).collect();
                let variation = total_variation(&kept, &thompson_pmf_reference(&rest));
                assert!(variation < VARIATION_MAX, "{variation:e}: {rest:?}");
                let fresh = ThompsonGrid::new(arms.iter().copied().zip(&curves)).pmf(&remaining);
                assert!(pmf.iter().zip(&fresh).all(|(a, b)| a.to_bits() == b.to_bits()));
                let top = (0..pmf.len()).max_by(|&a, &b| pmf[a].total_cmp(&pmf[b])).unwrap();
                remaining[top] = false;
            }
        }
    }

    #[test]
    fn arms_without_spread_and_arms_worlds_apart_get_probabilities() {
        let t = |location, scale| ScoreDistribution::StudentT { degrees_of_freedom: 12.0, location, scale };
        assert_eq!(thompson_pmf(&[t(1e6, 1e-150), t(1e6, 1e-150)]), [0.5, 0.5]);
        let dominated = thompson_pmf(&[t(0.0, 1.0), t(1e12, 1.0), t(-1e12, 1e-9)]);
        assert_is_pmf(&dominated);
        assert!(dominated[1] > 1.0 - 1e-12);
        assert_eq!(thompson_pmf(&[t(3.0, 1.0)]), [1.0]);
        assert!(thompson_pmf(&[]).is_empty());
        let extreme = thompson_pmf(&[t(1e300, 1e300), t(-1e300, 1e-300), t(1.0, 1e-200)]);
        assert_is_pmf(&extreme);
    }

    proptest! {
        #[test]
        fn any_valid_arms_give_a_pmf_that_scaling_does_not_change(
            shapes in proptest::collection::vec((-1.2..13.8_f64, -1.2..13.8_f64, 0.0..5.0_f64), 2..12),
        ) {
            let arms: Vec<_> = shapes
                .iter()
                .map(|&(alpha, beta, scale)| ScoreDistribution::Beta {
                    alpha: libm::exp(alpha), beta: libm::exp(beta), scale: libm::exp(scale),
                })
                .collect();
            let pmf = thompson_pmf(&arms);
            assert_is_pmf(&pmf);
            // Doubling every score is exact.
            let doubled: Vec<_> = arms.iter().map(|arm| arm.scaled_by(2.0)).collect();
            prop_assert!(total_variation(&pmf, &thompson_pmf(&doubled)) < 1e-12);
        }
    }
}
