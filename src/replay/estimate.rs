//! An estimator's value, its standard error and its intervals, as functions of moments.

use super::{
    estimators::{Estimator, Weighting},
    evaluation::{Range, Ranges},
    intervals::{
        Interval, clopper_pearson,
        cressie_read::{self, Sums, Unseen},
        empirical_bernstein, normal,
    },
    moments::{Form, Moments, Part},
};

/// What is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimand {
    /// The target policy's reward per row.
    Value,
    /// By how much that exceeds the logging policy's own, row by row.
    Gain,
}

/// An estimator over folded rows.
#[derive(Clone, Copy, Debug)]
pub struct Estimate<'a> {
    /// Which.
    pub estimator: Estimator,
    /// Of what.
    pub estimand: Estimand,
    /// What was folded.
    pub moments: &'a Moments,
    /// What bounds a row.
    pub ranges: &'a Ranges,
}

impl Estimate<'_> {
    /// The estimated value; `None` where it is undefined, 0/0.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let rows = self.moments.total(Part::Rows);
        if rows < 1.0 {
            return None;
        }
        let plain = self.moments.sum(&self.contribution()).to_f64() / rows;
        if !self.estimator.normalised {
            return Some(plain);
        }
        let rest = Form::of(&[(Part::Baseline, self.modelled()), (Part::Reward, -self.paired())]);
        Some(self.ratio()? + self.moments.sum(&rest).to_f64() / rows)
    }

    /// The standard error; for self-normalised estimators by the delta method. `None` with fewer than two clusters.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        self.moments.standard_error(&self.residual()?)
    }

    /// The normal interval.
    #[must_use]
    pub fn normal(&self, alpha: f64) -> Option<Interval> {
        Some(normal::interval(self.value()?, self.standard_error()?, alpha))
    }

    /// The interval by Cressie and Read's divergence, which knows the largest weight; the default one.
    ///
    /// A cluster counts as one observation, as heavy and valuable as it is for its size. The direct method, which no
    /// weight touches, has the normal interval, in which its model's own error is missing.
    #[must_use]
    pub fn cressie_read(&self, alpha: f64) -> Option<Interval> {
        self.value()?;
        if self.estimator.weighting == Weighting::Ignored {
            return self.normal(alpha);
        }
        // A target that draws as the log did has weights of 1, and so has what it did not see.
        let weight_max = self.ranges.weight_max.max(1.0);
        let most = Unseen { weight: weight_max, values: self.unseen_values(weight_max) };
        let least = Unseen { weight: 0.0, values: self.ranges.contribution(&self.estimator, 0.0, self.paired()) };
        cressie_read::interval(&self.sums(), least, most, self.bounds(), alpha)
    }

    /// The empirical Bernstein interval; `None` for clusters and where nothing bounds the weights.
    #[must_use]
    pub fn empirical_bernstein(&self, alpha: f64) -> Option<Interval> {
        let (clusters, rows) = (self.moments.clusters(), self.moments.total(Part::Rows));
        if self.estimator.normalised || clusters < rows || self.ranges.weight_max.is_infinite() {
            return None;
        }
        let [least, most] = [0.0, self.ranges.weight_max]
            .map(|weight| self.ranges.contribution(&self.estimator, weight, self.paired()));
        let range = least.max.max(most.max) - least.min.min(most.min);
        let error = self.standard_error()?;
        empirical_bernstein::interval(self.value()?, error * error * rows, rows, range, alpha)
    }

    /// Clopper and Pearson's interval, for inverse propensity scores alone; `None` for clusters and where nothing bounds
    /// the weights.
    #[must_use]
    pub fn clopper_pearson(&self, alpha: f64) -> Option<Interval> {
        let (Range { min, max }, weight_max) = (self.ranges.reward, self.ranges.weight_max);
        let (clusters, rows) = (self.moments.clusters(), self.moments.total(Part::Rows));
        let applies = self.estimator == Estimator::IPS && self.estimand == Estimand::Value && clusters == rows;
        if !(applies && weight_max > 0.0 && weight_max.is_finite() && max > min) {
            return None;
        }
        let won = (self.moments.total(Part::Weighted) - min * self.moments.total(Part::Weight)) / (max - min);
        let trials = rows / weight_max;
        let share = clopper_pearson::interval((won / weight_max).clamp(0.0, trials), trials, alpha);
        Some(Interval { lower: min + share.lower * (max - min), upper: min + share.upper * (max - min) })
    }

    /// Everything that sums observe, in which a cluster of average size weighs 1 on average.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let moments = self.moments;
        let (clusters, rows) = (moments.clusters(), moments.total(Part::Rows));
        let size = rows / clusters;
        // 1 + (W - m) / size and V + (Z - V m) / size; with clusters of one row that is w and z.
        let weight = Form::of(&[(Part::Cluster, 1.0), (Part::Rows, -1.0 / size), (Part::Weight, 1.0 / size)]);
        let contribution = self.contribution();
        let centre = moments.sum(&contribution).to_f64() / rows;
        let value = Form::of(&[(Part::Cluster, centre), (Part::Rows, -centre / size)]).plus(1.0 / size, &contribution);
        Sums {
            n: clusters,
            weight: moments.sum(&weight),
            weight_weight: moments.product(&weight, &weight),
            value: moments.sum(&value),
            weight_value: moments.product(&weight, &value),
            value_value: moments.product(&value, &value),
        }
    }

    /// 1 where the logging policy's reward is taken off.
    const fn paired(&self) -> f64 {
        match self.estimand {
            Estimand::Value => 0.0,
            Estimand::Gain => 1.0,
        }
    }

    /// 1 where there is a baseline: rows may have a model's word that this estimator does not ask for.
    fn modelled(&self) -> f64 {
        f64::from(u8::from(self.estimator.model))
    }

    fn contribution(&self) -> Form {
        Form::of(&[(Part::Weighted, 1.0), (Part::Baseline, self.modelled()), (Part::Reward, -self.paired())])
    }

    /// Weighted parts over weights.
    fn ratio(&self) -> Option<f64> {
        let weights = self.moments.total(Part::Weight);
        (weights > 0.0).then(|| self.moments.total(Part::Weighted) / weights)
    }

    /// What rows contribute beyond the mean, to first order; it sums to nought.
    fn residual(&self) -> Option<Form> {
        let mean = |part| self.moments.total(part) / self.moments.total(Part::Rows);
        if !self.estimator.normalised {
            return Some(self.contribution().plus(-self.value()?, &Form::of(&[(Part::Rows, 1.0)])));
        }
        let (ratio, scale) = (self.ratio()?, 1.0 / mean(Part::Weight));
        let rest = self.modelled() * mean(Part::Baseline) - self.paired() * mean(Part::Reward);
        Some(Form::of(&[
            (Part::Weighted, scale),
            (Part::Weight, -ratio * scale),
            (Part::Baseline, self.modelled()),
            (Part::Reward, -self.paired()),
            (Part::Rows, -rest),
        ]))
    }

    /// Of a row with the largest weight; per unit of weight if that is infinite.
    fn unseen_values(&self, weight: f64) -> Range {
        if weight.is_finite() {
            return self.ranges.contribution(&self.estimator, weight, self.paired());
        }
        match self.estimator.weighting {
            Weighting::Full if self.estimator.model => Range {
                min: self.ranges.reward.min - self.ranges.logged.max,
                max: self.ranges.reward.max - self.ranges.logged.min,
            },
            Weighting::Full => self.ranges.reward,
            // Kept small, a weight loses to its own growth.
            _ => Range { min: 0.0, max: 0.0 },
        }
    }

    /// Where the value must lie: a policy earns no more than the largest reward.
    fn bounds(&self) -> Range {
        let reward = self.ranges.reward;
        match self.estimand {
            Estimand::Value => reward,
            Estimand::Gain => Range { min: reward.min - reward.max, max: reward.max - reward.min },
        }
    }
}
