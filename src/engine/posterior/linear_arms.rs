//! The linear posteriors of a placement's arms, side by side: one pass over a request's terms scores eight arms.
//!
//! Scoring is a few hundred multiplications for each arm; with the arms as lanes they need no rearranging and no sums
//! across lanes, and vector instructions of any width give the bits of [`LinearPosterior::score_with`].

use super::linear::{FeatureTerms, LinearPosterior, student_t};
use crate::engine::pmf::distribution::ScoreDistribution;

/// Arms in a block.
const LANES: usize = 8;

/// Posteriors of one number of features, in the order of the arms.
#[derive(Clone, Debug, Default)]
pub struct LinearArms {
    blocks: Vec<Block>,
}

/// Up to eight arms, one a lane; lanes without an arm hold noughts.
#[derive(Clone, Debug)]
struct Block {
    /// Shape and scale of the noise variance of each arm.
    noise: Vec<(f64, f64)>,
    /// Means of the weights.
    means: Vec<[f64; LANES]>,
    /// Lambda^-1, packed lower triangles.
    shapes: Vec<[f64; LANES]>,
}

impl LinearArms {
    /// Lays the posteriors side by side.
    #[must_use]
    pub fn new(posteriors: &[&LinearPosterior]) -> Self {
        Self { blocks: posteriors.chunks(LANES).map(Block::new).collect() }
    }

    /// The scores of these arms, by ascending index.
    #[must_use]
    pub fn scores(&self, terms: &FeatureTerms, arms: &[usize]) -> Vec<ScoreDistribution> {
        let same_block = |left: &usize, right: &usize| left / LANES == right / LANES;
        let score = |arms: &[usize]| {
            let block = &self.blocks[arms[0] / LANES];
            let locations = weighted_sum(&block.means, &terms.singles);
            let forms = weighted_sum(&block.shapes, &terms.pairs);
            arms.iter()
                .map(|arm| {
                    let lane = arm % LANES;
                    let (a, b) = block.noise[lane];
                    student_t(a, b, locations[lane], forms[lane])
                })
                .collect::<Vec<_>>()
        };
        arms.chunk_by(same_block).flat_map(score).collect()
    }
}

impl Block {
    fn new(posteriors: &[&LinearPosterior]) -> Self {
        let side_by_side = |elements: fn(&LinearPosterior) -> &[f64]| {
            let lanes: Vec<&[f64]> = posteriors.iter().map(|posterior| elements(posterior)).collect();
            let row = |place| core::array::from_fn(|lane| lanes.get(lane).map_or(0.0, |elements| elements[place]));
            (0..lanes.first().map_or(0, |elements| elements.len())).map(row).collect()
        };
        Self {
            noise: posteriors.iter().map(|posterior| posterior.noise()).collect(),
            means: side_by_side(LinearPosterior::mean),
            shapes: side_by_side(LinearPosterior::shape),
        }
    }
}

fn weighted_sum(rows: &[[f64; LANES]], terms: &[(usize, f64)]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for &(place, factor) in terms {
        for (sum, element) in sums.iter_mut().zip(&rows[place]) {
            *sum += element * factor;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::posterior::{linear::LinearPrior, moments::Moments};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn arms_side_by_side_score_like_each_by_itself_to_the_last_bit() {
        const FEATURES: usize = 7;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let prior = LinearPrior { precision: 0.25, a: 6.0, b: 6.0 };
        let mut features = || -> Vec<f64> {
            (0..FEATURES).map(|_| if rng.random() { rng.random_range(-1.0..1.0) } else { 0.0 }).collect()
        };
        let posteriors: Vec<LinearPosterior> = (0..19)
            .map(|arm| {
                let mut moments = Moments::new(FEATURES);
                (0..10 * arm).for_each(|row| moments.observe(&features(), f64::from(row % 3), 1.0));
                LinearPosterior::derive::<f64>(prior, &moments).unwrap()
            })
            .collect();
        let arms = LinearArms::new(&posteriors.iter().collect::<Vec<_>>());
        for chosen in [vec![], vec![18], (0..19).collect(), vec![0, 3, 7, 8, 17]] {
            let x = features();
            let expected: Vec<_> = chosen.iter().map(|&arm| posteriors[arm].score(&x)).collect();
            assert_eq!(arms.scores(&FeatureTerms::new(&x), &chosen), expected);
        }
    }
}
