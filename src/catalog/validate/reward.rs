//! Rewards: what is summed, and in which range it can lie.

use super::findings::{Findings, RESOURCE, Seen};
use crate::{
    catalog::path::Path,
    engine::catalog::{MetricKind, Reward, RewardTerm},
    proto,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most metrics of one catalog.
const METRICS_MAX: usize = 1_000;
/// Longest description of a metric, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Largest weight, up or down, and largest bound of a reward.
const MAGNITUDE_MAX: f64 = 1e12;
/// Smallest unit of a reward.
const UNIT_MIN: f64 = 1e-6;

/// Metrics by id; without kind where that is refused.
pub(super) type Metrics<'a> = BTreeMap<&'a str, Option<MetricKind>>;

/// Checks what can be reported.
pub(super) fn metrics<'a>(catalog: &'a proto::Catalog, findings: &mut Findings) -> Metrics<'a> {
    let path = Path::default().field("metrics");
    findings.check_count(&path, catalog.metrics.len(), METRICS_MAX);
    let mut seen = Seen::new();
    let mut metrics = Metrics::new();
    for (index, proto::Metric { id, kind, description }) in catalog.metrics.iter().enumerate() {
        let path = path.index(index);
        findings.check_id(&path.field("id"), id, &RESOURCE, &mut seen);
        if description.len() > DESCRIPTION_BYTES_MAX {
            let description = format!("has {} bytes, must have at most {DESCRIPTION_BYTES_MAX}", description.len());
            findings.refuse(&path.field("description"), description);
        }
        let kind = metric_kind(&path.field("kind"), *kind, findings);
        metrics.entry(id).or_insert(kind);
    }
    metrics
}

fn metric_kind(path: &Path, number: i32, findings: &mut Findings) -> Option<MetricKind> {
    match proto::MetricKind::try_from(number) {
        Ok(proto::MetricKind::Count) => return Some(MetricKind::Count),
        Ok(proto::MetricKind::Money) => return Some(MetricKind::Money),
        Ok(proto::MetricKind::Number) => return Some(MetricKind::Number),
        Ok(proto::MetricKind::Unspecified) => {
            findings.refuse(path, "is missing, must be one of: COUNT, MONEY, NUMBER");
        }
        Err(_) => findings.refuse_number(path, number),
    }
    None
}

/// A reward, and what its terms can add up to.
pub(super) struct Draft {
    /// As the engine has it.
    pub(super) reward: Reward,
    /// Smallest and largest value after clipping; `None` where terms or clipping are refused.
    pub(super) range: Option<(f64, f64)>,
}

/// Checks the reward of a placement; `None` where there is none to speak of.
pub(super) fn reward(
    path: &Path,
    declared: Option<&proto::Reward>,
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> Option<Draft> {
    let Some(declared) = declared.filter(|declared| !declared.terms.is_empty()) else {
        let path = if declared.is_some() { path.field("terms") } else { path.clone() };
        findings.refuse(&path, "is missing: say which metrics the placement learns from, at least one");
        return None;
    };
    let count_before = findings.count();
    let terms = terms(&path.field("terms"), &declared.terms, metrics, findings);
    let (min, max) = clip(path, declared, findings);
    let sound = findings.count() == count_before && terms.len() == declared.terms.len();
    let unit = declared.unit.unwrap_or(1.0);
    findings.check_range(&path.field("unit"), unit, UNIT_MIN, MAGNITUDE_MAX);
    // Addition rounds, so the order of the terms would show in the last bits: theirs is by metric.
    let (mut terms, ranges): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
    terms.sort_by(|a: &RewardTerm, b: &RewardTerm| a.metric.cmp(&b.metric));
    let range = sound.then(|| clipped_sum(&ranges, min, max));
    if let Some((lower, upper)) = range
        && lower >= upper
    {
        findings.refuse(path, format!("is always {lower}, so that nothing can be learned: check weights, min and max"));
    }
    Some(Draft { reward: Reward { terms, min, max, unit }, range })
}

/// The terms with the range of each.
fn terms(
    path: &Path,
    declared: &[proto::RewardTerm],
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> Vec<(RewardTerm, (f64, f64))> {
    let mut seen = Seen::new();
    let mut terms = Vec::new();
    for (index, declared) in declared.iter().enumerate() {
        let path = path.index(index);
        let metric_path = path.field("metric");
        findings.check_distinct(&metric_path, &declared.metric, &mut seen);
        let weight = declared.weight.unwrap_or(1.0);
        let weight_path = path.field("weight");
        if findings.check_range(&weight_path, weight, -MAGNITUDE_MAX, MAGNITUDE_MAX) && weight.abs() <= 0.0 {
            findings.refuse(&weight_path, "is 0, which takes the metric out of the reward: remove the term instead");
        }
        match metrics.get(declared.metric.as_str()) {
            Some(&Some(kind)) => {
                let indicator = declared.indicator;
                // Whether there was any money is not itself an amount of money.
                let money = kind == MetricKind::Money && !indicator;
                let metric = Arc::from(declared.metric.as_str());
                terms.push((RewardTerm { metric, weight, indicator, money }, term_range(kind, indicator, weight)));
            }
            _ => check_metric(&metric_path, &declared.metric, metrics, findings),
        }
    }
    if terms.iter().any(|(term, _)| term.money) && terms.iter().any(|(term, _)| !term.money) {
        let description = "mixes money with what is not money, so that the sum has no unit: \
            take only metrics of kind MONEY, or only others and indicators";
        findings.refuse(path, description);
    }
    terms
}

/// Checks that a metric is one of the catalog's.
pub(super) fn check_metric(path: &Path, id: &str, metrics: &Metrics<'_>, findings: &mut Findings) {
    if id.is_empty() {
        findings.refuse(path, "is missing: name a metric");
    } else if !metrics.contains_key(id) {
        findings.refuse_unknown(path, id, "metric", metrics.keys().copied());
    }
}

/// Checks a list of metrics; returns them sorted.
pub(super) fn check_metrics(
    path: &Path,
    ids: &[String],
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> BTreeSet<Arc<str>> {
    let mut seen = Seen::new();
    for (index, id) in ids.iter().enumerate() {
        findings.check_distinct(&path.index(index), id, &mut seen);
        check_metric(&path.index(index), id, metrics, findings);
    }
    ids.iter().map(|id| Arc::from(id.as_str())).collect()
}

fn clip(path: &Path, declared: &proto::Reward, findings: &mut Findings) -> (f64, f64) {
    for (name, bound) in [("min", declared.min), ("max", declared.max)] {
        if let Some(bound) = bound {
            findings.check_range(&path.field(name), bound, -MAGNITUDE_MAX, MAGNITUDE_MAX);
        }
    }
    if let (Some(min), Some(max)) = (declared.min, declared.max)
        && min >= max
    {
        findings.refuse(&path.field("max"), format!("is {max}, must be above min, {min}"));
    }
    (declared.min.unwrap_or(f64::NEG_INFINITY), declared.max.unwrap_or(f64::INFINITY))
}

fn term_range(kind: MetricKind, indicator: bool, weight: f64) -> (f64, f64) {
    let (lower, upper) = match (kind, indicator) {
        (_, true) => (0.0, 1.0),
        (MetricKind::Count, false) => (0.0, f64::INFINITY),
        (MetricKind::Money | MetricKind::Number, false) => (f64::NEG_INFINITY, f64::INFINITY),
    };
    // A weight of 0 makes NaN of infinities; it is refused, and then nobody looks at the range.
    let ends = (lower * weight, upper * weight);
    (f64::min(ends.0, ends.1), f64::max(ends.0, ends.1))
}

fn clipped_sum(ranges: &[(f64, f64)], min: f64, max: f64) -> (f64, f64) {
    let lower: f64 = ranges.iter().map(|range| range.0).sum();
    let upper: f64 = ranges.iter().map(|range| range.1).sum();
    // `clamp` panics where min is above max, which is refused but comes here all the same.
    (lower.max(min).min(max), upper.max(min).min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_ranges_over_what_its_terms_can_add_up_to() {
        const INF: f64 = f64::INFINITY;
        let indicator = |weight| term_range(MetricKind::Count, true, weight);
        let count = |weight| term_range(MetricKind::Count, false, weight);
        let number = |weight| term_range(MetricKind::Number, false, weight);
        for (ranges, min, max, expected) in [
            (vec![indicator(1.0)], -INF, INF, (0.0, 1.0)),
            (vec![indicator(0.5), indicator(0.25)], -INF, INF, (0.0, 0.75)),
            (vec![indicator(1.0), indicator(-0.5)], -INF, INF, (-0.5, 1.0)),
            (vec![count(1.0)], -INF, INF, (0.0, INF)),
            (vec![count(-2.0)], -INF, INF, (-INF, 0.0)),
            (vec![count(1.0)], -INF, 1.0, (0.0, 1.0)),
            (vec![number(1.0)], 0.0, 1.0, (0.0, 1.0)),
            (vec![indicator(1.0)], -INF, 0.0, (0.0, 0.0)),
        ] {
            assert_eq!(clipped_sum(&ranges, min, max), expected, "{ranges:?} in [{min}, {max}]");
        }
    }
}
