//! What comes of slates: every estimator, what its weights look like, and the verdict.

use super::{Slate, Weights, cascade_dr, untold::Untold};
use crate::{
    engine::math::double_double::Dd,
    replay::{
        evaluation::Range,
        gate::{self, Verdict},
        intervals::{
            cressie_read::{self, Sums, Unseen},
            normal,
        },
        report::{EstimatorReport, FORCED, ends},
        support::tally::Tally,
    },
};
use serde::Serialize;
use std::collections::BTreeMap;

/// A report on slates. What is undefined, or cannot be computed from what was told, is null in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct SlateReport {
    /// What must be read before any number, where the gate refused and was overruled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
    /// By name; `None` where the gate refused.
    pub estimators: Option<BTreeMap<&'static str, EstimatorReport>>,
    /// Estimators that are null because slates do not tell what they need, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<&'static str, LeftOut>,
    /// By the plain estimator's name.
    pub diagnostics: BTreeMap<&'static str, WeightDiagnostics>,
    /// What the gate said: it refuses where no estimator's weights can carry a number.
    pub verdict: Verdict,
}

/// Why an estimator is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// How many slates do not tell what it needs: one is enough.
    pub slates: usize,
    /// Why the first of them does not.
    pub why: String,
    /// What would help.
    pub help: &'static str,
}

/// What an estimator's weights look like, each slate's averaged over its slots.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WeightDiagnostics {
    /// How many slates there are.
    pub n: u64,
    /// Must be 1 but for chance.
    pub mean_w: Option<f64>,
    /// How many equal slates know as much.
    pub ess_kish: f64,
    /// The largest one's share of all weight.
    pub share_of_max_w: Option<f64>,
}

/// How far weights must be from averaging to 1 to be spoken of.
const OFF: f64 = 0.05;
/// The mean of the pseudo-inverse's weights, which must be 1 but for chance.
const PI_MEAN_WEIGHT: &str = "pi_mean_weight";

/// Evaluates slates. `reward` is the range of one slot's reward; `log` is what was said of the log that they are from,
/// whatever is estimated from it.
#[must_use]
pub fn report(slates: &[Slate], reward: Option<Range>, alpha: f64, (log, forced): (&Verdict, bool)) -> SlateReport {
    let slots = slates.iter().map(|slate| slate.rewards.len()).max().unwrap_or(0) as f64;
    let mut seen = Range::NOTHING;
    slates.iter().flat_map(|slate| &slate.rewards).for_each(|&reward| seen.include(reward));
    let slot = Range::of_rewards(reward, seen);
    let whole = Range { min: slots * slot.min, max: slots * slot.max };
    let mut estimators = BTreeMap::new();
    let (mut diagnostics, mut left_out) = (BTreeMap::new(), BTreeMap::new());
    let (mut heavy, mut off) = (Vec::new(), Vec::new());
    for weights in Weights::ALL {
        let [plain, normalised] = weights.names();
        let terms = match all(slates, |slate| weights.of(slate)) {
            Ok(terms) => terms,
            Err(reason) => {
                let mean_weight = (weights == Weights::PseudoInverse).then_some(PI_MEAN_WEIGHT);
                for name in weights.names().into_iter().chain(mean_weight) {
                    estimators.insert(name, undefined());
                    left_out.insert(name, reason.clone());
                }
                continue;
            }
        };
        let weighted = Weighted { slates, terms: &terms };
        diagnostics.insert(plain, weighted.diagnostics());
        let contributions = weighted.contributions();
        // Nothing bounds the pseudo-inverse's weights from below, which these ask for.
        let sums = (weights != Weights::PseudoInverse).then(|| sums(slates, weighted.mean_weights(), &contributions));
        // Nothing bounds weights from above, so that only too large a mean speaks against the probabilities: too small a one
        // may lack a large weight that was not seen.
        if sums.as_ref().is_some_and(|sums| gate::off_by_more_than_chance(sums, f64::INFINITY, 1)) {
            heavy.push(plain);
        } else if weighted.is_off() {
            off.push(plain);
        }
        let interval = sums.and_then(|sums| cressie_read(&sums, whole, alpha));
        estimators.insert(plain, mean(slates, &contributions, interval, alpha));
        let ratio = weighted.self_normalised();
        let interval = interval.filter(|_| ratio.is_some());
        estimators.insert(normalised, EstimatorReport { value: ratio, interval, ..undefined() });
        if weights == Weights::PseudoInverse {
            let mean_weights: Vec<f64> = weighted.mean_weights().collect();
            estimators.insert(PI_MEAN_WEIGHT, mean(slates, &mean_weights, None, alpha));
        }
    }
    let cascade = match all(slates, cascade_dr) {
        Ok(terms) => {
            // It weighs as this one does.
            let [rips, _] = Weights::Interaction.names();
            let weights: Option<WeightDiagnostics> = diagnostics.get(rips).copied();
            diagnostics.extend(weights.map(|weights| ("cascade_dr", weights)));
            mean(slates, &terms, None, alpha)
        }
        Err(reason) => {
            left_out.insert("cascade_dr", reason);
            undefined()
        }
    };
    estimators.insert("cascade_dr", cascade);
    let mut verdict = judge(&diagnostics, log);
    let mean = |name: &&str| Some(gate::slate_mean(name, diagnostics[*name].mean_w?));
    verdict.refused |= !heavy.is_empty();
    verdict.reasons.extend(heavy.iter().filter_map(mean));
    let hint = |name: &&str| Some(gate::slate_off(name, diagnostics[*name].mean_w?));
    verdict.warnings.extend(off.iter().filter_map(hint));
    let declared = reward.is_some() || seen.is_in(Range::UNIT);
    verdict.warnings.extend((!declared).then(gate::undeclared));
    let shown = !verdict.refused || forced;
    let warning = (forced && verdict.refused).then_some(FORCED);
    SlateReport { warning, estimators: shown.then_some(estimators), left_out, diagnostics, verdict }
}

/// What every slate tells; where one does not, why.
fn all<T>(slates: &[Slate], of: impl Fn(&Slate) -> Result<T, Untold>) -> Result<Vec<T>, LeftOut> {
    let (mut told, mut untold) = (Vec::with_capacity(slates.len()), Vec::new());
    for slate in slates {
        match of(slate) {
            Ok(what) => told.push(what),
            Err(why) => untold.push(why),
        }
    }
    match untold.first() {
        None => Ok(told),
        Some(why) => Err(LeftOut { slates: untold.len(), why: why.to_string(), help: why.help() }),
    }
}

struct Weighted<'a> {
    slates: &'a [Slate],
    /// Of each slate, each slot's.
    terms: &'a [Vec<f64>],
}

impl Weighted<'_> {
    fn contributions(&self) -> Vec<f64> {
        let sum = |(weights, slate): (&Vec<f64>, &Slate)| {
            weights
                .iter()
                .zip(&slate.rewards)
                .fold(Dd::ZERO, |sum, (&weight, &reward)| sum + Dd::product(weight, reward))
        };
        self.terms.iter().zip(self.slates).map(|pair| sum(pair).to_f64()).collect()
    }

    fn mean_weights(&self) -> impl Iterator<Item = f64> {
        self.terms.iter().map(|weights| weights.iter().sum::<f64>() / weights.len() as f64)
    }

    /// The sum over slots of weighted rewards over weights; `None` where a slot's weights sum to nought.
    fn self_normalised(&self) -> Option<f64> {
        let slots = self.terms.iter().map(Vec::len).max()?;
        let mut value = Dd::ZERO;
        for slot in 0..slots {
            let (mut rewards, mut weights) = (Dd::ZERO, Dd::ZERO);
            for (terms, slate) in self.terms.iter().zip(self.slates) {
                // Below its last slot a slate shows nothing, which is as likely as all of it.
                let (weight, reward) = match terms.get(slot) {
                    Some(&weight) => (weight, slate.rewards[slot]),
                    None => (1.0, 0.0),
                };
                rewards = rewards + Dd::product(weight, reward);
                weights = weights + Dd::from(weight);
            }
            if weights.to_f64() == 0.0 {
                return None;
            }
            value = value + rewards / weights;
        }
        Some(value.to_f64())
    }

    /// Whether the mean weight is far from 1 for what is seen of the weights.
    fn is_off(&self) -> bool {
        let mean_weights: Vec<f64> = self.mean_weights().collect();
        let interval = mean(self.slates, &mean_weights, None, gate::ALARM).interval;
        interval.is_some_and(|[lower, upper]| lower > 1.0 + OFF || upper < 1.0 - OFF)
    }

    fn diagnostics(&self) -> WeightDiagnostics {
        let mut tally = Tally::default();
        self.mean_weights().for_each(|weight| tally.add(weight));
        WeightDiagnostics {
            n: tally.count,
            mean_w: tally.mean(),
            ess_kish: tally.effective(),
            share_of_max_w: tally.largest_share(),
        }
    }
}

/// What the slates of a cluster come to.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    slates: f64,
    weight: f64,
    value: f64,
}

fn clusters(slates: &[Slate], weights: impl Iterator<Item = f64>, values: &[f64]) -> Vec<Totals> {
    let mut clusters: BTreeMap<u64, Totals> = BTreeMap::new();
    for ((slate, weight), value) in slates.iter().zip(weights).zip(values) {
        let totals = clusters.entry(slate.cluster).or_default();
        totals.slates += 1.0;
        totals.weight += weight;
        totals.value += value;
    }
    clusters.into_values().collect()
}

/// Every cluster as one observation, as heavy and valuable as it is for its size.
fn sums(slates: &[Slate], weights: impl Iterator<Item = f64>, values: &[f64]) -> Sums {
    let clusters = clusters(slates, weights, values);
    let size = slates.len() as f64 / clusters.len() as f64;
    let centre = total(values) / slates.len() as f64;
    let mut sums = Sums::default();
    for Totals { slates, weight, value } in clusters {
        sums.add(1.0 + (weight - slates) / size, centre + (value - centre * slates) / size);
    }
    sums
}

/// Nothing bounds the weights; a slate of mean weight w earns up to w times what a whole one can.
fn cressie_read(sums: &Sums, whole: Range, alpha: f64) -> Option<[f64; 2]> {
    let least = Unseen { weight: 0.0, values: Range { min: 0.0, max: 0.0 } };
    let most = Unseen { weight: f64::INFINITY, values: whole };
    cressie_read::interval(sums, least, most, whole, alpha).map(ends)
}

fn total(values: &[f64]) -> f64 {
    values.iter().fold(Dd::ZERO, |sum, &value| sum + Dd::from(value)).to_f64()
}

/// The mean of values, one for each slate, with the normal interval where there is no other.
fn mean(slates: &[Slate], values: &[f64], interval: Option<[f64; 2]>, alpha: f64) -> EstimatorReport {
    let n = values.len() as f64;
    let value = (n > 0.0).then(|| total(values) / n);
    let clusters = clusters(slates, std::iter::repeat(0.0), values);
    let count = clusters.len() as f64;
    let residual = |totals: &Totals| totals.value - value.unwrap_or(0.0) * totals.slates;
    let squares = clusters.iter().fold(Dd::ZERO, |sum, totals| sum + Dd::product(residual(totals), residual(totals)));
    let standard_error = (count > 1.0).then(|| libm::sqrt(squares.to_f64() * count / (count - 1.0)) / n);
    let normal = value.zip(standard_error).map(|(value, error)| ends(normal::interval(value, error, alpha)));
    EstimatorReport {
        value,
        interval: interval.or(normal),
        standard_error,
        intervals: normal.map(|normal| ("normal", normal)).into_iter().collect(),
        gain: None,
    }
}

const fn undefined() -> EstimatorReport {
    EstimatorReport { value: None, interval: None, standard_error: None, intervals: BTreeMap::new(), gain: None }
}

fn judge(diagnostics: &BTreeMap<&'static str, WeightDiagnostics>, log: &Verdict) -> Verdict {
    let mut findings = Vec::new();
    for (name, weights) in diagnostics {
        let short = weights.ess_kish < gate::EFFECTIVE_MIN;
        let heavy = weights.share_of_max_w.is_none_or(|share| share > gate::SHARE_MAX);
        if short || heavy {
            findings.push(gate::slate_weights(name, weights.ess_kish, weights.share_of_max_w.unwrap_or(1.0)));
        }
    }
    let mut verdict = log.clone();
    let none_left = findings.len() == diagnostics.len();
    verdict.refused |= none_left;
    if none_left { &mut verdict.reasons } else { &mut verdict.warnings }.extend(findings);
    verdict
}
