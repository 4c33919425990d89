//! Shares of positions: orders of groups and what is measured of them, and probabilities moved by rules.

use super::{
    cases::{Case, is_remark, number, vector},
    checks::Checks,
    probabilities,
    reranking::{Due, det_const_sort, det_greedy, floor_redistribute, infeasible, mixture, ndcg, top_two},
};
use offer_ranker::engine::fairness::{Slates, shares, skew};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Of everything but orders, which are exact.
const TOLERANCE: f64 = 1e-12;

/// What is ordered: groups and scores by rank, and the share of positions that each group wants.
struct Items {
    groups: Vec<String>,
    scores: Vec<f64>,
    desired: Vec<(String, f64)>,
    k: usize,
}

/// Checks a case of orders.
pub(crate) fn check(case: &Case, checks: &mut Checks) {
    let items = Items::of(case);
    for (key, value) in &case.keys {
        match key.as_str() {
            "items" | "desired" | "k" => {}
            "algorithms" => {
                for (name, expected) in object(value) {
                    items.check(name, object(expected), checks);
                }
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

impl Items {
    fn of(case: &Case) -> Self {
        let mut items: Vec<&Value> = case.keys["items"].as_array().expect("a list of items").iter().collect();
        items.sort_by_key(|item| item["rank"].as_u64().expect("a rank"));
        Self {
            groups: items.iter().map(|item| name(&item["group"])).collect(),
            scores: items.iter().map(|item| number(&item["score"])).collect(),
            desired: object(&case.keys["desired"])
                .iter()
                .map(|(group, share)| (group.clone(), number(share)))
                .collect(),
            k: number(&case.keys["k"]) as usize,
        }
    }

    /// One algorithm's order, and what is measured of the order that is expected: one mistake is then told once.
    fn check(&self, algorithm: &str, expected: &Map<String, Value>, checks: &mut Checks) {
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let desired: BTreeMap<&str, f64> = self.desired.iter().map(|(group, share)| (group.as_str(), *share)).collect();
        let order = match algorithm {
            "score_order" => (0..self.k.min(groups.len())).collect(),
            "det_greedy" | "det_greedy_own" => det_greedy(&groups, &desired, self.k, Due::Best),
            "det_cons" => det_greedy(&groups, &desired, self.k, Due::Conservative),
            "det_relaxed" => det_greedy(&groups, &desired, self.k, Due::Relaxed),
            "det_const_sort" => det_const_sort(&groups, &desired, self.k),
            _ => return checks.unknown(algorithm),
        };
        let expected_order: Vec<usize> = vector(&expected["order"]).into_iter().map(|rank| rank as usize).collect();
        // What is placed beyond the k wanted need not have been kept.
        let kept = order.len().min(expected_order.len().max(self.k));
        checks.require(&format!("{algorithm}: {order:?}, must be {expected_order:?}"), order[..kept] == expected_order);
        for (key, value) in expected.iter().filter(|(key, _)| *key != "order") {
            let what = format!("{algorithm} {key}");
            let (measure, length) = key.split_once('@').unwrap_or((key, ""));
            let length = length.parse().unwrap_or(expected_order.len()).min(expected_order.len());
            let shown: Vec<&str> = expected_order[..length].iter().map(|&rank| groups[rank]).collect();
            let mut slate = Slates::default();
            slate.add(&shown);
            let skews = || desired.keys().map(|group| skew(&shares(shown.clone()), group, &desired));
            match measure {
                "groups" => checks.require(&what, value.as_array().expect("groups").iter().map(name).eq(shown)),
                "skew" => object(value).iter().for_each(|(group, value)| {
                    close(&what, skew(&shares(shown.clone()), &group.as_str(), &desired), value, checks);
                }),
                "min_skew" => close(&what, skews().flatten().reduce(f64::min), value, checks),
                "max_skew" => close(&what, skews().flatten().reduce(f64::max), value, checks),
                "ndkl" => close(&what, slate.ndkl(&desired), value, checks),
                "infeasible_index" => close(&what, Some(infeasible(&shown, &desired).0 as f64), value, checks),
                "infeasible_count" => close(&what, Some(infeasible(&shown, &desired).1 as f64), value, checks),
                "ndcg" => close(&what, Some(ndcg(&expected_order[..length], &self.scores)), value, checks),
                "exposure_dcg" => object(value).iter().for_each(|(group, value)| {
                    let exposure = slate.exposure().get(group.as_str()).copied().unwrap_or(0.0);
                    close(&what, Some(exposure), value, checks);
                }),
                _ => checks.unknown(&what),
            }
        }
    }
}

/// Compares to 1e-12, or of numbers above 1 to that share of them. Nothing, or an infinity, must be just that.
fn close(what: &str, actual: Option<f64>, expected: &Value, checks: &mut Checks) {
    match actual {
        Some(actual) if actual.is_finite() && !expected.is_null() => {
            let expected = number(expected);
            checks.within(what, actual, expected, TOLERANCE * expected.abs().max(1.0));
        }
        _ => {
            let is_undefined = || actual.is_none_or(|actual| !actual.is_finite());
            let same = if expected.is_null() { is_undefined() } else { actual == Some(number(expected)) };
            checks.require(&format!("{what}: is {actual:?}, must be {expected}"), same);
        }
    }
}

/// Checks a case of probabilities that are moved by rules.
pub(crate) fn check_play(case: &Case, checks: &mut Checks) {
    let p = || vector(&case.keys["p"]);
    for (key, value) in &case.keys {
        let rule = ["epsilon", "mixture", "floor", "top_two"].into_iter().find(|start| key.starts_with(start));
        match (key.as_str(), rule) {
            ("p", _) => {}
            (_, Some("epsilon" | "mixture")) => {
                checks.probabilities(key, &mixture(&p(), number(&value["eps"])), &vector(&value["p"]));
            }
            (_, Some("floor")) => {
                let floored = floor_redistribute(&p(), number(&value["floor"]));
                checks.probabilities(key, &floored, &vector(&value["p"]));
            }
            (_, Some(_)) => {
                let beta = key.rsplit_once("beta_").map_or(0.5, |(_, beta)| beta.parse().expect("a probability"));
                let p_best = probabilities::p_best_of(&value["params"]);
                checks.probabilities(&format!("{key} p_best"), &p_best, &vector(&value["p_best"]));
                checks.probabilities(&format!("{key} p_play"), &top_two(&p_best, beta), &vector(&value["p_play"]));
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object"))
}

/// A group's name; numbers name groups as well.
fn name(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
