//! What comes of an evaluation: every estimator, the diagnostics and the verdict, as JSON has them.

use super::{
    estimate::{Estimand, Estimate},
    estimators::Estimator,
    gate::Verdict,
    intervals::{Interval, empirical_bernstein},
    support::{LEVELS, Support, pareto, quantile},
};
use crate::engine::math::student_t;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::collections::BTreeMap;

/// The outside of intervals among the diagnostics, on both sides together or on the one there is.
const ALPHA: f64 = 0.05;

/// The estimators that diagnostics tell of, whichever are wanted.
pub(super) const DIAGNOSED: [Estimator; 3] = [Estimator::IPS, Estimator::SNIPS, Estimator::DR];

/// What stands on top of numbers that the gate refused.
pub const FORCED: &str = "the log cannot answer; what follows was forced";

/// A report. What is undefined is null in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What must be read before any number, where the gate refused and was overruled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
    /// By name, in the order in which people read them; `None` where the gate refused.
    #[serde(serialize_with = "as_map")]
    pub estimators: Option<Vec<(String, EstimatorReport)>>,
    /// The hyper-parameter of each family that SLOPE takes; `None` where the gate refused.
    pub slope: Option<BTreeMap<&'static str, f64>>,
    /// What the gate looked at.
    pub diagnostics: Diagnostics,
    /// What was assumed.
    pub settings: Settings,
    /// What it said.
    pub verdict: Verdict,
}

/// What was assumed.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// What intervals leave outside.
    pub alpha: f64,
    /// The largest weight by design.
    pub weight_max: f64,
    /// The smallest reward there can be.
    pub reward_min: f64,
    /// The largest.
    pub reward_max: f64,
    /// Whether somebody said so.
    pub reward_declared: bool,
    /// Whether the propensities were fitted, because the log does not tell them.
    pub fitted_propensities: bool,
}

/// One estimator.
#[derive(Clone, Debug, Serialize)]
pub struct EstimatorReport {
    /// The estimated value; `None`: undefined.
    pub value: Option<f64>,
    /// The default interval, of Cressie and Read.
    pub interval: Option<[f64; 2]>,
    /// Of the value; self-normalised estimators have the delta method's.
    pub standard_error: Option<f64>,
    /// Other intervals, by name.
    pub intervals: BTreeMap<&'static str, [f64; 2]>,
    /// By how much the target's value exceeds the logging policy's, with a paired interval.
    pub gain: Option<Gain>,
}

/// A difference to the logging policy.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gain {
    /// The estimated difference.
    pub value: f64,
    /// Its interval, of Cressie and Read.
    pub interval: Option<[f64; 2]>,
}

/// What the weights look like; names and definitions are those of the Open Bandit Pipeline where it has them.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "docs/replay.md defines them by these names")]
pub struct Diagnostics {
    pub n: u64,
    pub sum_w: f64,
    pub mean_w: Option<f64>,
    pub sum_w2: f64,
    pub max_w: Option<f64>,
    pub share_of_max_w: Option<f64>,
    pub ess_kish: f64,
    pub ess_ratio: Option<f64>,
    pub n_zero_w: u64,
    pub min_pscore: Option<f64>,
    pub mean_inv_pscore: Option<f64>,
    #[serde(rename = "w_q0.5")]
    pub median_w: Option<f64>,
    #[serde(rename = "w_q0.9")]
    pub w_q90: Option<f64>,
    #[serde(rename = "w_q0.99")]
    pub w_q99: Option<f64>,
    #[serde(rename = "w_q0.999")]
    pub w_q999: Option<f64>,
    pub se_mean_w: Option<f64>,
    pub z_mean_w_eq_1: Option<f64>,
    pub se_ips: Option<f64>,
    pub se_dr: Option<f64>,
    pub se_snips_delta: Option<f64>,
    pub ci95_normal_ips: Option<[f64; 2]>,
    pub ci95_normal_dr: Option<[f64; 2]>,
    pub ci95_normal_snips: Option<[f64; 2]>,
    #[serde(rename = "obp_lower_bounds_ips_delta0.05")]
    pub lower_bounds: LowerBounds,
    #[serde(rename = "maurer_pontil_lower_delta0.05_b=max")]
    pub maurer_pontil_lower: Option<f64>,
    pub pareto_k: Option<f64>,
    pub target_unlogged: f64,
    pub rewarded_ess: f64,
    pub missing_outcomes: u64,
    pub immature_windows: u64,
}

/// One-sided lower bounds for the value by IPS, as the Open Bandit Pipeline has them: with the largest contribution of
/// the sample for the largest there can be.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LowerBounds {
    /// Hoeffding's; `None` where nothing was contributed.
    #[serde(rename = "hoeffding_xmax=max")]
    pub hoeffding: Option<f64>,
    /// The empirical Bernstein bound.
    #[serde(rename = "bernstein_xmax=max")]
    pub bernstein: Option<f64>,
    /// Student's.
    pub student_t: Option<f64>,
}

/// An interval as JSON has it.
pub(super) const fn ends(interval: Interval) -> [f64; 2] {
    [interval.lower, interval.upper]
}

impl EstimatorReport {
    pub(super) fn new(estimate: &Estimate<'_>, alpha: f64) -> Self {
        let gain = Estimate { estimand: Estimand::Gain, ..*estimate };
        let others = [
            ("normal", estimate.normal(alpha)),
            ("empirical_bernstein", estimate.empirical_bernstein(alpha)),
            ("clopper_pearson", estimate.clopper_pearson(alpha)),
        ];
        Self {
            value: estimate.value(),
            interval: estimate.cressie_read(alpha).map(ends),
            standard_error: estimate.standard_error(),
            intervals: others.into_iter().filter_map(|(name, interval)| Some((name, ends(interval?)))).collect(),
            gain: gain.value().map(|value| Gain { value, interval: gain.cressie_read(alpha).map(ends) }),
        }
    }
}

impl Diagnostics {
    pub(super) fn new(support: &Support, estimates: &[Estimate<'_>]) -> Self {
        let weight = &support.weight;
        let ranked = support.ranked_weights();
        let [median_w, w_q90, w_q99, w_q999] = LEVELS.map(|level| quantile(&ranked, level));
        let rows = support.rows();
        let of = |estimator: Estimator| estimates.iter().find(|estimate| estimate.estimator == estimator);
        let error = |estimator| of(estimator).and_then(Estimate::standard_error);
        let normal = |estimator| of(estimator).and_then(|estimate| estimate.normal(ALPHA)).map(ends);
        let lower_bounds = of(Estimator::IPS).map_or_else(LowerBounds::default, |ips| LowerBounds::new(ips, support));
        Self {
            n: rows,
            sum_w: weight.sum(),
            mean_w: weight.mean(),
            sum_w2: weight.squares(),
            max_w: (rows > 0).then_some(weight.max),
            share_of_max_w: weight.largest_share(),
            ess_kish: weight.effective(),
            ess_ratio: (rows > 0).then(|| weight.effective() / rows as f64),
            n_zero_w: weight.zeros,
            min_pscore: (rows > 0).then(|| 1.0 / support.inverse_propensity.max),
            mean_inv_pscore: support.inverse_propensity.mean(),
            median_w,
            w_q90,
            w_q99,
            w_q999,
            se_mean_w: weight.standard_error(),
            z_mean_w_eq_1: weight.distance(1.0),
            se_ips: error(Estimator::IPS),
            se_dr: error(Estimator::DR),
            se_snips_delta: error(Estimator::SNIPS),
            ci95_normal_ips: normal(Estimator::IPS),
            ci95_normal_dr: normal(Estimator::DR),
            ci95_normal_snips: normal(Estimator::SNIPS),
            maurer_pontil_lower: lower_bounds.bernstein,
            lower_bounds,
            pareto_k: pareto::shape(&ranked),
            target_unlogged: support.target_unlogged(),
            rewarded_ess: support.rewarded.effective(),
            missing_outcomes: support.missing,
            immature_windows: support.immature,
        }
    }
}

impl LowerBounds {
    fn new(ips: &Estimate<'_>, support: &Support) -> Self {
        let (Some(value), Some(error)) = (ips.value(), ips.standard_error()) else { return Self::default() };
        let n = support.rows() as f64;
        let largest = support.largest_contribution;
        let hoeffding = largest * libm::sqrt(libm::log(1.0 / ALPHA) / (2.0 * n));
        let bernstein = empirical_bernstein::one_sided(error * error * n, n, largest, ALPHA);
        Self {
            hoeffding: (largest != 0.0).then_some(value - hoeffding),
            bernstein: bernstein.map(|half| value - half),
            student_t: Some(value - error * student_t::quantile(n - 1.0, 1.0 - ALPHA)),
        }
    }
}

fn as_map<S: Serializer>(estimators: &Option<Vec<(String, EstimatorReport)>>, out: S) -> Result<S::Ok, S::Error> {
    let Some(estimators) = estimators else { return out.serialize_none() };
    let mut map = out.serialize_map(Some(estimators.len()))?;
    for (name, report) in estimators {
        map.serialize_entry(name, report)?;
    }
    map.end()
}
