//! Folding rows, once, into what every estimator and interval is a function of.

use super::{
    estimators::{Contribution, Estimator, Weighting},
    moments::{Moments, Part},
    row::Row,
};
use crate::engine::math::{double_double::Dd, sums::Sums};
use std::{collections::HashMap, iter};

/// Sums over rows for some estimators; rows may come in any order.
#[derive(Clone, Debug)]
pub struct Evaluation {
    estimators: Vec<Estimator>,
    /// The same in the order of what is kept of each: those without a model first, to whose sums most rows add nothing.
    kept: Vec<Estimator>,
    clusters: Option<Clusters>,
    shared: Products,
    own: Vec<Own>,
    ranges: Ranges,
}

/// The smallest and the largest of what was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest; above the largest where nothing was seen.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// What bounds what a row can contribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranges {
    /// Of rewards: what is declared, or else what was seen.
    pub reward: Range,
    /// Of a reward model's word on logged arms.
    pub logged: Range,
    /// Of its word on the target policy.
    pub baseline: Range,
    /// The largest weight by design, at least the largest that was seen.
    pub weight_max: f64,
}

/// Totals of each cluster, in the order in which they first came.
#[derive(Clone, Debug, Default)]
struct Clusters {
    places: HashMap<u64, usize>,
    shared: Vec<SharedTotals>,
    /// Weighted parts, one for each estimator that is kept.
    own: Vec<Vec<[f64; LANES]>>,
}

/// What all estimators have in common of a row, or of a cluster's rows, in the order of [`SHARED`].
type SharedTotals = [f64; SHARED.len()];

const SHARED: [Part; LANES] = [Part::Rows, Part::Weight, Part::Baseline, Part::Reward];

/// Places in [`SHARED`].
const ROWS: usize = 0;
const WEIGHT: usize = 1;

/// How many estimators, and parts, are summed side by side.
const LANES: usize = 4;

/// Sums over clusters of some numbers, and of their products with each of [`SHARED`].
#[derive(Clone, Copy, Debug)]
struct Products {
    plain: Sums<LANES>,
    with: [Sums<LANES>; SHARED.len()],
}

/// Sums of what some estimators weighted.
#[derive(Clone, Copy, Debug)]
struct Own {
    squares: Sums<LANES>,
    products: Products,
}

impl Evaluation {
    /// Nothing folded. With `clustered`, rows of one cluster count as one observation, and 8 bytes are kept for each
    /// cluster and estimator; without, nothing grows with the rows.
    #[must_use]
    pub fn new(estimators: Vec<Estimator>, clustered: bool) -> Self {
        let mut kept = estimators.clone();
        kept.sort_by_key(|estimator| estimator.model);
        Self {
            own: vec![Own::NOTHING; kept.len().div_ceil(LANES)],
            clusters: clustered.then(Clusters::default),
            shared: Products::NOTHING,
            ranges: Ranges::default(),
            kept,
            estimators,
        }
    }

    /// Takes in a row, unless it lacks a reward, or what one of the estimators needs; says whether it did.
    pub fn observe(&mut self, row: &Row) -> bool {
        let Some(reward) = row.reward() else { return false };
        if self.estimators.iter().any(|estimator| estimator.model) && row.model.is_none() {
            return false;
        }
        self.ranges.observe(row, reward);
        let shared = [1.0, row.weight(), row.model.map_or(0.0, |model| model.target), reward];
        let weighted = self.kept.chunks(LANES).map(|estimators| weighted(estimators, row));
        match &mut self.clusters {
            Some(clusters) => clusters.add(row.cluster, &shared, weighted),
            None => {
                // Where every row is a cluster of its own, products with one row are the sums themselves.
                let factors = [0.0, shared[1], shared[2], shared[3]];
                self.shared.add(&shared, &factors);
                self.own.iter_mut().zip(weighted).for_each(|(own, weighted)| own.add(&weighted, &factors));
            }
        }
        true
    }

    /// The most that one cluster's weights come to; `None` where every row is a cluster of its own, and of none.
    #[must_use]
    pub fn largest_cluster(&self) -> Option<f64> {
        self.clusters.as_ref()?.shared.iter().map(|totals| totals[WEIGHT]).reduce(f64::max)
    }

    /// What bounds contributions, as far as rows told.
    #[must_use]
    pub const fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// The estimators, each with its moments, in the order in which they were given.
    #[must_use]
    pub fn moments(&self) -> Vec<(Estimator, Moments)> {
        let (mut shared, mut own) = (self.shared, self.own.clone());
        let count = match &self.clusters {
            Some(clusters) => {
                for (totals, weighted) in clusters.shared.iter().zip(&clusters.own) {
                    shared.add(totals, totals);
                    own.iter_mut().zip(weighted).for_each(|(own, weighted)| own.add(weighted, totals));
                }
                Dd::from(clusters.shared.len() as f64)
            }
            None => {
                for products in iter::once(&mut shared).chain(own.iter_mut().map(|own| &mut own.products)) {
                    products.with[ROWS] = products.plain;
                }
                shared.plain.total(ROWS)
            }
        };
        let moments = |estimator: &Estimator| {
            let place = self.kept.iter().position(|kept| kept == estimator)?;
            let mut moments = own[place / LANES].moments(place % LANES, &shared);
            moments.set(Part::Cluster, Part::Cluster, count);
            Some((*estimator, moments))
        };
        self.estimators.iter().filter_map(moments).collect()
    }
}

/// The weighted parts of a row; 0 in lanes that are nobody's.
fn weighted(estimators: &[Estimator], row: &Row) -> [f64; LANES] {
    let mut parts = [0.0; LANES];
    for (part, estimator) in parts.iter_mut().zip(estimators) {
        *part = estimator.contribution(row).map_or(0.0, |Contribution { weighted, .. }| weighted);
    }
    parts
}

impl Clusters {
    fn add(&mut self, cluster: u64, shared: &SharedTotals, weighted: impl Iterator<Item = [f64; LANES]>) {
        let place = *self.places.entry(cluster).or_insert_with(|| {
            self.shared.push([0.0; SHARED.len()]);
            self.own.push(Vec::new());
            self.shared.len() - 1
        });
        self.shared[place].iter_mut().zip(shared).for_each(|(total, shared)| *total += shared);
        let own = &mut self.own[place];
        for (index, weighted) in weighted.enumerate() {
            match own.get_mut(index) {
                Some(totals) => totals.iter_mut().zip(weighted).for_each(|(total, weighted)| *total += weighted),
                None => own.push(weighted),
            }
        }
    }
}

impl Products {
    const NOTHING: Self = Self { plain: Sums::ZERO, with: [Sums::ZERO; SHARED.len()] };

    /// Takes in the numbers of a cluster, and what is shared of it.
    fn add(&mut self, own: &[f64; LANES], shared: &SharedTotals) {
        self.plain.add(own);
        for (sums, &factor) in self.with.iter_mut().zip(shared).filter(|(_, factor)| **factor != 0.0) {
            sums.add_products(own, factor);
        }
    }
}

impl Own {
    const NOTHING: Self = Self { squares: Sums::ZERO, products: Products::NOTHING };

    fn add(&mut self, weighted: &[f64; LANES], shared: &SharedTotals) {
        // Most weights of a target that is sure of its arms are nought.
        if weighted.iter().all(|weighted| *weighted == 0.0) {
            return;
        }
        self.squares.add_squares(weighted);
        self.products.add(weighted, shared);
    }

    /// Of one estimator, all but the number of clusters.
    fn moments(&self, lane: usize, shared: &Products) -> Moments {
        let mut moments = Moments::new();
        moments.set(Part::Weighted, Part::Weighted, self.squares.total(lane));
        moments.set(Part::Weighted, Part::Cluster, self.products.plain.total(lane));
        for (row, &left) in SHARED.iter().enumerate() {
            moments.set(Part::Weighted, left, self.products.with[row].total(lane));
            moments.set(Part::Cluster, left, shared.plain.total(row));
            for (column, &right) in SHARED.iter().enumerate().take(row + 1) {
                moments.set(left, right, shared.with[row].total(column));
            }
        }
        moments
    }
}

impl Range {
    /// What rewards are taken to be where nobody says more, as long as none is outside.
    pub const UNIT: Self = Self { min: 0.0, max: 1.0 };

    /// Of nothing.
    pub const NOTHING: Self = Self { min: f64::INFINITY, max: f64::NEG_INFINITY };

    /// What rewards can be: what is declared, or else what was seen, for which [`Self::UNIT`] stands where it holds that.
    #[must_use]
    pub fn of_rewards(declared: Option<Self>, seen: Self) -> Self {
        declared.unwrap_or(if seen.is_in(Self::UNIT) { Self::UNIT } else { seen })
    }

    /// Whether another range holds this one.
    #[must_use]
    pub fn is_in(self, other: Self) -> bool {
        self.min >= other.min && self.max <= other.max
    }

    /// The range that has this value in it too.
    pub const fn include(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

impl Default for Ranges {
    fn default() -> Self {
        let nothing = Range::NOTHING;
        Self { reward: nothing, logged: nothing, baseline: nothing, weight_max: 0.0 }
    }
}

impl Ranges {
    fn observe(&mut self, row: &Row, reward: f64) {
        self.reward.include(reward);
        if let Some(model) = row.model {
            self.logged.include(model.logged);
            self.baseline.include(model.target);
        }
        self.weight_max = self.weight_max.max(row.weight()).max(row.weight_max);
    }

    /// The lowest and the highest that a row of this weight can contribute, less `paired` times its reward.
    #[must_use]
    pub fn contribution(&self, estimator: &Estimator, weight: f64, paired: f64) -> Range {
        let used = match estimator.weighting {
            Weighting::Match | Weighting::Ignored => 0.0,
            weighting => weighting.of(weight),
        };
        let nought = Range { min: 0.0, max: 0.0 };
        let (logged, baseline) = if estimator.model { (self.logged, self.baseline) } else { (nought, nought) };
        let (lowest, highest) =
            if used >= paired { (self.reward.min, self.reward.max) } else { (self.reward.max, self.reward.min) };
        Range {
            min: (used - paired) * lowest - used * logged.max + baseline.min,
            max: (used - paired) * highest - used * logged.min + baseline.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{
        estimators::Grids,
        row::{Outcome, Prediction},
    };

    #[test]
    fn rows_that_are_clusters_of_their_own_have_the_same_moments_as_rows() {
        let estimators = Grids::default().estimators(true);
        let [mut rows, mut clusters] = [false, true].map(|clustered| Evaluation::new(estimators.clone(), clustered));
        for n in 0..500_u32 {
            let share = f64::from(n % 17) / 17.0;
            let row = Row {
                cluster: u64::from(n),
                day: None,
                arm: 0,
                position: 0,
                propensity: 0.1 + share / 3.0,
                target: 1.0 - share,
                unsupported: 0.0,
                weight_max: 0.0,
                outcome: Outcome::Reward(f64::from(n % 3)),
                model: Some(Prediction { logged: share, target: 0.5 - share }),
            };
            assert!(rows.observe(&row) && clusters.observe(&row));
        }
        assert_eq!(rows.moments(), clusters.moments());
        let order: Vec<Estimator> = rows.moments().into_iter().map(|(estimator, _)| estimator).collect();
        assert_eq!(order, estimators);
    }
}
