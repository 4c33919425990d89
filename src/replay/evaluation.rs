//! Folding rows, once, into what every estimator and interval is a function of.

use super::{
    estimators::{Contribution, Estimator, Weighting},
    moments::{Moments, Part},
    row::Row,
};
use crate::engine::math::double_double::Dd;
use std::collections::HashMap;

/// Sums over rows for some estimators; rows may come in any order.
#[derive(Clone, Debug)]
pub struct Evaluation {
    estimators: Vec<Estimator>,
    clusters: Option<Clusters>,
    shared: SharedSums,
    own: Vec<OwnSums>,
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
    /// Weighted parts, one for each estimator.
    own: Vec<Vec<f64>>,
}

/// What all estimators have in common of a row, or of a cluster's rows.
#[derive(Clone, Copy, Debug, Default)]
struct SharedTotals {
    rows: f64,
    weight: f64,
    baseline: f64,
    reward: f64,
}

const SHARED: [Part; 5] = [Part::Cluster, Part::Rows, Part::Weight, Part::Baseline, Part::Reward];

#[derive(Clone, Copy, Debug, Default)]
struct SharedSums {
    products: [[Dd; 5]; 5],
}

#[derive(Clone, Copy, Debug, Default)]
struct OwnSums {
    square: Dd,
    products: [Dd; 5],
}

impl Evaluation {
    /// Nothing folded. With `clustered`, rows of one cluster count as one observation, and 8 bytes are kept for each
    /// cluster and estimator; without, nothing grows with the rows.
    #[must_use]
    pub fn new(estimators: Vec<Estimator>, clustered: bool) -> Self {
        Self {
            own: vec![OwnSums::default(); estimators.len()],
            clusters: clustered.then(Clusters::default),
            shared: SharedSums::default(),
            ranges: Ranges::default(),
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
        let baseline = row.model.map_or(0.0, |model| model.target);
        let shared = SharedTotals { rows: 1.0, weight: row.weight(), baseline, reward };
        let weighted =
            |estimator: &Estimator| estimator.contribution(row).map_or(0.0, |Contribution { weighted, .. }| weighted);
        match &mut self.clusters {
            Some(clusters) => clusters.add(row.cluster, &shared, self.estimators.iter().map(weighted)),
            None => {
                self.shared.add(&shared);
                for (own, estimator) in self.own.iter_mut().zip(&self.estimators) {
                    own.add(&shared, weighted(estimator));
                }
            }
        }
        true
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
        if let Some(clusters) = &self.clusters {
            for (totals, weighted) in clusters.shared.iter().zip(&clusters.own) {
                shared.add(totals);
                own.iter_mut().zip(weighted).for_each(|(own, &weighted)| own.add(totals, weighted));
            }
        }
        self.estimators.iter().copied().zip(own.iter().map(|own| own.moments(&shared))).collect()
    }
}

impl Clusters {
    fn add(&mut self, cluster: u64, shared: &SharedTotals, weighted: impl Iterator<Item = f64>) {
        let place = *self.places.entry(cluster).or_insert_with(|| {
            self.shared.push(SharedTotals::default());
            self.own.push(Vec::new());
            self.shared.len() - 1
        });
        let totals = &mut self.shared[place];
        totals.rows += shared.rows;
        totals.weight += shared.weight;
        totals.baseline += shared.baseline;
        totals.reward += shared.reward;
        let own = &mut self.own[place];
        for (index, weighted) in weighted.enumerate() {
            match own.get_mut(index) {
                Some(total) => *total += weighted,
                None => own.push(weighted),
            }
        }
    }
}

impl SharedTotals {
    /// In the order of [`SHARED`].
    const fn parts(&self) -> [f64; 5] {
        [1.0, self.rows, self.weight, self.baseline, self.reward]
    }
}

impl SharedSums {
    fn add(&mut self, totals: &SharedTotals) {
        let parts = totals.parts();
        for (row, sums) in self.products.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate().take(row + 1).filter(|_| parts[row] != 0.0) {
                *sum = *sum + Dd::product(parts[row], parts[column]);
            }
        }
    }
}

impl OwnSums {
    fn add(&mut self, totals: &SharedTotals, weighted: f64) {
        // Most weights of a target that is sure of its arms are nought.
        if weighted == 0.0 {
            return;
        }
        self.square = self.square + Dd::product(weighted, weighted);
        for (sum, part) in self.products.iter_mut().zip(totals.parts()).filter(|(_, part)| *part != 0.0) {
            *sum = *sum + Dd::product(weighted, part);
        }
    }

    fn moments(&self, shared: &SharedSums) -> Moments {
        let mut moments = Moments::new();
        moments.set(Part::Weighted, Part::Weighted, self.square);
        for (row, &left) in SHARED.iter().enumerate() {
            moments.set(Part::Weighted, left, self.products[row]);
            for (column, &right) in SHARED.iter().enumerate().take(row + 1) {
                moments.set(left, right, shared.products[row][column]);
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
