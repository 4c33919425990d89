//! From rows to a report: folds every row into the estimators and into what the gate judges.

use super::{
    anytime::robust::Sequence,
    estimate::{Estimand, Estimate},
    estimators::{Estimator, Grids, Weighting},
    evaluation::{Evaluation, Range, Ranges},
    gate::{self, Carried, Verdict},
    intervals::bootstrap::Bootstrap,
    moments::{Form, Moments, Part},
    report::{self, Diagnostics, EstimatorReport, FORCED, Report, Settings, ends},
    row::Row,
    slope::{self, Candidate},
    support::{Support, arms::Pmfs, groups::Division},
};

use std::collections::BTreeMap;

/// What is asked of the rows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Hyper-parameters that are tried.
    pub grids: Grids,
    /// The families of estimators that are wanted, of [`Estimator::FAMILIES`]; none: all.
    pub families: Vec<String>,
    /// Whether rows have a reward model's word.
    pub model: bool,
    /// Whether several rows may be of one cluster.
    pub clustered: bool,
    /// What rewards can be; `None`: what was seen.
    pub reward: Option<Range>,
    /// What intervals leave outside, in (0, 1).
    pub alpha: f64,
    /// How often rows are drawn again for bootstrap intervals; 0: not at all.
    pub replicates: usize,
    /// Decides what is drawn again.
    pub seed: u64,
    /// Whether propensities were fitted: then estimators that start from no reward model are left out.
    pub fitted_propensities: bool,
}

impl Plan {
    /// Whether anything may be told of an estimator: where propensities were fitted it must start from a reward model.
    const fn allows(&self, estimator: &Estimator) -> bool {
        estimator.model || !self.fitted_propensities
    }

    /// Whether an estimator is reported.
    fn offers(&self, estimator: &Estimator) -> bool {
        let wanted = self.families.is_empty() || self.families.iter().any(|family| family == estimator.family());
        wanted && self.allows(estimator)
    }
}

/// Rows on the way to a report.
#[derive(Clone, Debug)]
pub struct Assessment {
    plan: Plan,
    evaluation: Evaluation,
    /// Rows whose arm the target is sure of, each of weight 1.
    matched: Evaluation,
    support: Support,
    bootstrap: Option<Bootstrap>,
    /// In the order of the rows; `None` once a reward is out of range.
    sequence: Option<Sequence>,
    divisions: Vec<Division>,
}

impl Assessment {
    /// No row yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut estimators = plan.grids.estimators(plan.model);
        estimators.retain(|estimator| estimator.weighting != Weighting::Match);
        estimators.retain(|estimator| plan.offers(estimator) || report::DIAGNOSED.contains(estimator));
        let bootstrap = || Bootstrap::new(estimators.clone(), plan.replicates, plan.seed);
        Self {
            bootstrap: (plan.replicates > 0).then(bootstrap),
            // Rows of one cluster are no sequence of independent ones.
            sequence: (!plan.clustered).then(|| Sequence::new(plan.reward.unwrap_or(Range::UNIT))),
            evaluation: Evaluation::new(estimators, plan.clustered),
            matched: Evaluation::new(vec![Estimator::IPS], plan.clustered),
            support: Support::default(),
            divisions: Vec::new(),
            plan,
        }
    }

    /// Takes in a row, and what is known of the distributions it was drawn from.
    pub fn observe(&mut self, row: &Row, pmfs: &Pmfs<'_>) {
        self.support.observe(row, pmfs);
        if self.evaluation.observe(row) {
            self.follow(row);
        }
        if row.target >= 1.0 {
            // What replay averages: the propensity does not matter.
            self.matched.observe(&Row { target: row.propensity, weight_max: 0.0, ..*row });
        }
    }

    /// Takes in how units fell into measurement groups.
    pub fn divide(&mut self, divisions: Vec<Division>) {
        self.divisions.extend(divisions);
    }

    /// Takes in how many decisions made no row because their windows are open.
    pub const fn leave_open(&mut self, decisions: u64) {
        self.support.left_open += decisions;
    }

    fn follow(&mut self, row: &Row) {
        if let Some(bootstrap) = &mut self.bootstrap {
            bootstrap.observe(row);
        }
        let Range { min, max } = self.plan.reward.unwrap_or(Range::UNIT);
        self.sequence = self.sequence.take().zip(row.reward()).and_then(|(mut sequence, reward)| {
            sequence.observe(row.weight(), reward);
            (min..=max).contains(&reward).then_some(sequence)
        });
    }

    /// The report. `weight_max` is the largest weight by design, where rows did not say; the gate's word is law unless
    /// it is `forced`.
    #[must_use]
    pub fn report(&self, weight_max: f64, forced: bool) -> Report {
        let mut ranges = Ranges {
            reward: Range::of_rewards(self.plan.reward, self.evaluation.ranges().reward),
            ..*self.evaluation.ranges()
        };
        ranges.weight_max = ranges.weight_max.max(weight_max);
        let moments = self.evaluation.moments();
        let estimates: Vec<Estimate<'_>> =
            moments.iter().map(|(estimator, moments)| estimate(*estimator, moments, &ranges)).collect();
        let allowed = estimates.iter().filter(|estimate| self.plan.allows(&estimate.estimator));
        let diagnostics = Diagnostics::new(&self.support, &allowed.copied().collect::<Vec<_>>());
        let verdict = self.verdict(&estimates, ranges.weight_max, diagnostics.pareto_k);
        let shown = !verdict.refused || forced;
        Report {
            warning: (forced && verdict.refused).then_some(FORCED),
            settings: Settings {
                alpha: self.plan.alpha,
                weight_max: ranges.weight_max,
                reward_min: ranges.reward.min,
                reward_max: ranges.reward.max,
                reward_declared: self.plan.reward.is_some(),
                fitted_propensities: self.plan.fitted_propensities,
            },
            estimators: shown.then(|| self.estimators(&estimates, &ranges)),
            slope: shown.then(|| self.slope(&estimates)),
            diagnostics,
            verdict,
        }
    }

    fn estimators(&self, estimates: &[Estimate<'_>], ranges: &Ranges) -> Vec<(String, EstimatorReport)> {
        let matched = self.matched.moments();
        let unweighted = Ranges { weight_max: 1.0, ..*ranges };
        let mut replay = EstimatorReport::new(&estimate(Estimator::IPS, &matched[0].1, &unweighted), self.plan.alpha);
        // The value of nothing is 0 by convention; nothing is known of it, or of what the rest would have earned.
        replay.value = replay.value.or(Some(0.0));
        replay.gain = None;
        let others = estimates.iter().filter(|estimate| self.plan.offers(&estimate.estimator));
        let others = others.map(|estimate| (estimate.estimator.to_string(), self.estimator(estimate)));
        let replay = self.plan.offers(&Estimator::REPLAY).then(|| (Estimator::REPLAY.to_string(), replay));
        replay.into_iter().chain(others).collect()
    }

    fn estimator(&self, estimate: &Estimate<'_>) -> EstimatorReport {
        let (estimator, alpha) = (estimate.estimator, self.plan.alpha);
        let bootstrap = self.bootstrap.as_ref().and_then(|bootstrap| bootstrap.interval(&estimator, alpha));
        let sequence = self.sequence.as_ref().filter(|_| matches!(estimator, Estimator::IPS | Estimator::SNIPS));
        let anytime = sequence.and_then(|sequence| sequence.interval(alpha));
        let mut report = EstimatorReport::new(estimate, alpha);
        for (name, interval) in [("bootstrap", bootstrap), ("anytime", anytime)] {
            report.intervals.extend(interval.map(|interval| (name, ends(interval))));
        }
        report
    }

    /// Of every family with a hyper-parameter, the one that SLOPE takes.
    fn slope(&self, estimates: &[Estimate<'_>]) -> BTreeMap<&'static str, f64> {
        let mut families: BTreeMap<&'static str, Vec<Candidate>> = BTreeMap::new();
        for estimate in estimates.iter().filter(|estimate| estimate.estimator.lambda().is_some()) {
            let Some((value, interval)) = estimate.value().zip(estimate.normal(self.plan.alpha)) else { continue };
            let candidate = Candidate { estimator: estimate.estimator, value, interval };
            families.entry(estimate.estimator.family()).or_default().push(candidate);
        }
        let chosen = |candidates: &Vec<Candidate>| slope::choose(candidates)?.estimator.lambda();
        families.iter().filter_map(|(family, candidates)| Some((*family, chosen(candidates)?))).collect()
    }

    fn verdict(&self, estimates: &[Estimate<'_>], weight_max: f64, tail_shape: Option<f64>) -> Verdict {
        // The weights are the same for all, and there is always one that diagnostics tell of.
        let any = estimates.first().expect("invariant: inverse propensity scores are always folded");
        gate::judge(&gate::Case {
            support: &self.support,
            weights: &any.sums(),
            clusters: self.evaluation.largest_cluster().map(|largest| carried(any.moments, largest)),
            weight_max,
            tail_shape,
            divisions: &self.divisions,
            fitted_propensities: self.plan.fitted_propensities,
            reward_declared: self.plan.reward.is_some() || self.evaluation.ranges().reward.is_in(Range::UNIT),
        })
    }
}

/// How much clusters carry, of whose weights the largest is this.
fn carried(moments: &Moments, largest: f64) -> Carried {
    let weight = Form::of(&[(Part::Weight, 1.0)]);
    let (total, squares) = (moments.sum(&weight).to_f64(), moments.product(&weight, &weight).to_f64());
    let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
    Carried { effective: share(total * total, squares), largest_share: share(largest, total) }
}

const fn estimate<'a>(estimator: Estimator, moments: &'a Moments, ranges: &'a Ranges) -> Estimate<'a> {
    Estimate { estimator, estimand: Estimand::Value, moments, ranges }
}
