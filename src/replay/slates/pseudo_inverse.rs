//! The pseudo-inverse's weight of a slate (Swaminathan and others, 2017).
//!
//! With 1_s the indicators of a slate's items, G = E 1_s 1_s' under the logging policy and q = E 1_s under the target, the
//! weight is q' G^+ 1_s. Where slots add up to the reward it is unbiased: of all weights that give every item its due it
//! has the least variance. Where the logging policy draws every slot by itself it is 1 - L + the sum of L ratios.
//!
//! G is singular: every slate has one arm in its first slot, and no arm twice. Where the target shows only slates that the
//! log could, q lies in its range, and every generalised inverse gives the same weight; so does one in units in which
//! each item has probability 1, where the rarest item costs no digits. What the log could not show counts nothing, as in
//! every weight.
//!
//! The work grows with the cube of the number of items: 0.2 ms for 60, 10 ms for 200, 0.1 s for the 446 of two slots of 223
//! arms, the most that [`SLATES_MAX`](super::possible::SLATES_MAX) allows.

use super::possible::Possible;
use crate::engine::math::cholesky::{Cholesky, packed_len, row_start};

/// What is left of an item's square, of 1, where it is a sum of others: sums of 1e-16 leave less, and an item that
/// differs from the others once in 10^8 slates leaves more.
const PIVOT_MIN: f64 = 1e-9;

/// The weight of a slate with these items, all of which the logging policy shows; `target` is the probability of each of
/// its items under the target.
#[must_use]
pub fn weight(logging: &Possible, target: &[f64], shown: &[usize]) -> f64 {
    let items: Vec<usize> = (0..logging.items()).filter(|&item| logging.alone(item) > 0.0).collect();
    let units: Vec<f64> = items.iter().map(|&item| libm::sqrt(logging.alone(item))).collect();
    let square = |row: usize, column: usize| logging.together(items[row], items[column]) / (units[row] * units[column]);
    let factor = Factor::of(items.len(), square);
    let wanted = items.iter().zip(&units).map(|(&item, unit)| target[item] / unit);
    let drawn = items.iter().zip(&units).map(|(item, unit)| f64::from(u8::from(shown.contains(item))) / unit);
    factor.product(&wanted.collect::<Vec<_>>(), &drawn.collect::<Vec<_>>())
}

/// L with L L' = a positive semidefinite matrix, with as many columns as that has rank.
struct Factor {
    columns: Vec<Vec<f64>>,
}

impl Factor {
    /// By Cholesky's method with the largest pivot first, until nothing but rounding is left.
    fn of(dimension: usize, element: impl Fn(usize, usize) -> f64) -> Self {
        let mut left: Vec<f64> = (0..dimension).map(|row| element(row, row)).collect();
        let mut columns: Vec<Vec<f64>> = Vec::new();
        while let Some(pivot) =
            (0..dimension).max_by(|&a, &b| left[a].total_cmp(&left[b])).filter(|&p| left[p] > PIVOT_MIN)
        {
            let length = libm::sqrt(left[pivot]);
            let rest = |row: usize| {
                let known: f64 = columns.iter().map(|column| column[row] * column[pivot]).sum();
                (element(row, pivot) - known) / length
            };
            let column: Vec<f64> = (0..dimension).map(rest).collect();
            left.iter_mut().zip(&column).for_each(|(left, part)| *left -= part * part);
            // Rounding must not bring it back.
            left[pivot] = 0.0;
            columns.push(column);
        }
        Self { columns }
    }

    /// a' (L L')^+ b, which is ((L'L)^-1 L'a)' ((L'L)^-1 L'b) (Courrieu, 2005).
    fn product(&self, a: &[f64], b: &[f64]) -> f64 {
        let rank = self.columns.len();
        let mut gram = vec![0.0; packed_len(rank)];
        for row in 0..rank {
            for column in 0..=row {
                gram[row_start(row) + column] = dot(&self.columns[row], &self.columns[column]);
            }
        }
        let gram = Cholesky::factor(rank, gram).expect("invariant: pivots above PIVOT_MIN are independent columns");
        let solve = |vector: &[f64]| {
            let projected: Vec<f64> = self.columns.iter().map(|column| dot(column, vector)).collect();
            gram.solve(&projected)
        };
        dot(&solve(a), &solve(b))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::slates::product_weight;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    type Slates = Vec<(Vec<usize>, f64)>;

    /// Slates of so many slots without repetition, slot by slot in proportion to shares (Plackett and Luce).
    fn renewed(shares: &[f64], slots: usize) -> Slates {
        let mut slates: Slates = vec![(Vec::new(), 1.0)];
        for _ in 0..slots {
            let longer = |(above, probability): &(Vec<usize>, f64)| -> Slates {
                let left: f64 = 1.0 - above.iter().map(|&arm| shares[arm]).sum::<f64>();
                let next = (0..shares.len()).filter(|arm| !above.contains(arm));
                next.map(|arm| ([&above[..], &[arm]].concat(), probability * shares[arm] / left)).collect()
            };
            slates = slates.iter().flat_map(longer).collect();
        }
        slates
    }

    /// The weight of a slate where both policies show slates with these probabilities.
    fn weight_of(slate: &[usize], logging: &Possible, target: &Possible) -> f64 {
        let wanted: Vec<f64> = (0..logging.items()).map(|item| target.alone(item)).collect();
        let shown: Vec<usize> = slate.iter().enumerate().map(|(slot, &arm)| logging.item(slot, arm)).collect();
        weight(logging, &wanted, &shown)
    }

    fn shares(arms: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let raw: Vec<f64> = (0..arms).map(|_| rng.random_range(0.05..1.0)).collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|share| share / sum).collect()
    }

    #[test]
    fn slots_that_are_drawn_alone_have_the_weight_in_closed_form() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let [logging, target]: [Vec<Vec<f64>>; 2] =
            std::array::from_fn(|_| (0..3).map(|_| shares(4, &mut rng)).collect());
        let product = |by_slot: &[Vec<f64>]| -> Possible {
            let all = (0..64).map(|number| vec![number / 16, number / 4 % 4, number % 4]);
            let probability = |slate: &Vec<usize>| slate.iter().zip(by_slot).map(|(&arm, slot)| slot[arm]).product();
            Possible::of_slates(
                3,
                4,
                all.map(|slate| {
                    let p = probability(&slate);
                    (slate, p)
                }),
            )
        };
        let (logged, wanted) = (product(&logging), product(&target));
        for slate in [[0, 0, 0], [3, 1, 2], [2, 2, 1]] {
            let ratios: Vec<f64> = (0..3).map(|slot| target[slot][slate[slot]] / logging[slot][slate[slot]]).collect();
            let (ours, closed) = (weight_of(&slate, &logged, &wanted), product_weight(&ratios));
            // Eigenvalues are 0, 1 and 3: sixteen digits less those of a dozen sums.
            assert!((ours - closed).abs() < 1e-11 * closed.abs().max(1.0), "{slate:?}: {ours}, {closed}");
        }
    }

    #[test]
    fn a_weight_that_was_computed_elsewhere_comes_out() {
        // That of golden case S04, slates of three out of five renewed slot by slot, whose propensities determine the shares.
        let logging = [
            0.298_155_444_054_586_2,
            0.093_513_127_321_505_06,
            0.218_544_389_804_134_32,
            0.033_301_933_246_431_1,
            0.356_485_105_573_343_2,
        ];
        let target = [
            0.074_499_885_924_025,
            0.087_257_888_513_464_3,
            0.497_042_368_756_912_4,
            0.258_861_174_767_834_7,
            0.082_338_682_037_763_4,
        ];
        let [logging, target] = [logging, target].map(|shares| Possible::of_slates(3, 5, renewed(&shares, 3)));
        let ours = weight_of(&[0, 4, 1], &logging, &target);
        // Of sixteen digits solving for the shares costs a few, and so do the sums of 60 slates.
        assert!((ours - -1.372_374_077_092_244).abs() < 1e-11, "{ours}");
    }

    #[test]
    fn weights_give_every_item_its_due() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (arms, slots) in [(3, 2), (4, 3), (3, 3), (6, 3)] {
            let (logged, wanted) = (renewed(&shares(arms, &mut rng), slots), renewed(&shares(arms, &mut rng), slots));
            let logging = Possible::of_slates(slots, arms, logged.clone());
            let target = Possible::of_slates(slots, arms, wanted);
            let weights: Vec<f64> = logged.iter().map(|(slate, _)| weight_of(slate, &logging, &target)).collect();
            for item in 0..logging.items() {
                let shows =
                    |slate: &[usize]| slate.iter().enumerate().any(|(slot, &arm)| logging.item(slot, arm) == item);
                let all = logged.iter().zip(&weights).filter(|((slate, _), _)| shows(slate));
                let due: f64 = all.map(|((_, probability), weight)| probability * weight).sum();
                assert!((due - target.alone(item)).abs() < 1e-10, "{arms} arms, {slots} slots, item {item}: {due}");
            }
        }
    }
}
