//! Probabilities of being highest, of ranks, of ordered slates, under masks, and with shared weights.

use super::{
    cases::{Case, is_remark, matrix, number, vector},
    checks::Checks,
    fairness,
    reference::{JointScores, ordered_slates, p_rank},
};
use offer_ranker::engine::pmf::{
    distribution::ScoreDistribution, reference::thompson_pmf_reference, serving::thompson_pmf,
};
use serde_json::Value;

/// Checks a case of any family of distributions.
pub(crate) fn check(case: &Case, checks: &mut Checks) {
    let has = |key: &str| case.keys.contains_key(key);
    // Mixtures, floors and other play of given probabilities.
    let is_play = |key: &str| ["epsilon", "floor", "top_two", "mixture"].iter().any(|start| key.starts_with(start));
    match case.keys.get("family").and_then(Value::as_str) {
        Some("beta" | "normal" | "student_t") => independent(case, checks),
        Some("linear_gaussian") => correlated(case, checks),
        Some("gamma") => checks.verdict = "reference only",
        Some(other) => checks.fail(format!("unknown family \"{other}\"")),
        None if case.keys.keys().any(|key| is_play(key)) => fairness::check_play(case, checks),
        None if has("params") => independent(case, checks),
        None if has("theta_mean") || has("score_mean") => correlated(case, checks),
        None => checks.fail(format!("no family, and unknown keys: {}", case.key_names())),
    }
}

/// What an arm's distribution may be given by, and what it may be called.
const PARAMETERS: [&str; 17] = [
    "alpha", "a", "beta", "b", "scale", "value", "loc", "location", "mean", "mu", "sd", "std", "sigma", "df", "arm",
    "name", "label",
];

fn arm(params: &Value) -> ScoreDistribution {
    let get = |names: &[&str]| names.iter().find_map(|name| params.get(name)).map(number);
    if let (Some(alpha), Some(beta)) = (get(&["alpha", "a"]), get(&["beta", "b"])) {
        return ScoreDistribution::Beta { alpha, beta, scale: get(&["scale", "value"]).unwrap_or(1.0) };
    }
    let location = get(&["loc", "location", "mean", "mu"]).unwrap_or_else(|| panic!("{params} has no location"));
    let scale = get(&["scale", "sd", "std", "sigma"]).unwrap_or_else(|| panic!("{params} has no scale"));
    match get(&["df"]) {
        Some(degrees_of_freedom) => ScoreDistribution::StudentT { degrees_of_freedom, location, scale },
        None => ScoreDistribution::Normal { mean: location, standard_deviation: scale },
    }
}

fn independent(case: &Case, checks: &mut Checks) {
    let Some(Value::Array(params)) = case.keys.get("params") else {
        return checks.fail("no list of params".to_owned());
    };
    for name in params.iter().filter_map(Value::as_object).flat_map(|arm| arm.keys()) {
        if !PARAMETERS.contains(&name.as_str()) {
            checks.unknown(&format!("params.{name}"));
        }
    }
    let arms: Vec<ScoreDistribution> = params.iter().map(arm).collect();
    for (key, value) in &case.keys {
        match key.as_str() {
            "params" => {}
            "p_best" | "p_best_all" => p_best(key, &arms, &vector(value), checks),
            "p_rank" | "marginal_p_rank" => {
                let expected = matrix(value);
                let ranks = expected.first().map_or(0, Vec::len);
                checks.probabilities(key, &p_rank(&arms, ranks).concat(), &expected.concat());
            }
            "masks" => value.as_array().expect("a list of masks").iter().for_each(|mask| masked(&arms, mask, checks)),
            "p_ordered_slate" => slates(&arms, value, checks),
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

/// By the reference, for a list of parameters.
pub(crate) fn p_best_of(params: &Value) -> Vec<f64> {
    let arms: Vec<ScoreDistribution> = params.as_array().expect("a list of params").iter().map(arm).collect();
    thompson_pmf_reference(&arms)
}

/// The reference to 1e-8, and serving to a total variation of 1e-3.
fn p_best(what: &str, arms: &[ScoreDistribution], expected: &[f64], checks: &mut Checks) {
    checks.probabilities(what, &thompson_pmf_reference(arms), expected);
    let serving = thompson_pmf(arms);
    let variation = 0.5 * serving.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum::<f64>();
    checks.require(&format!("serving {what} is {variation:e} away"), variation < 1e-3);
    checks.remark(format!("serving {what} {variation:.1e} away"));
}

fn masked(arms: &[ScoreDistribution], mask: &Value, checks: &mut Checks) {
    let keeps = |value: &Value| value.as_bool().unwrap_or_else(|| number(value) != 0.0);
    let eligible: Vec<bool> = mask["mask"].as_array().expect("a mask").iter().map(keeps).collect();
    let kept = |values: &[f64]| -> Vec<f64> {
        values.iter().zip(&eligible).filter_map(|(value, &keep)| keep.then_some(*value)).collect()
    };
    let rest: Vec<ScoreDistribution> =
        arms.iter().zip(&eligible).filter_map(|(arm, &keep)| keep.then_some(*arm)).collect();
    for (key, value) in mask.as_object().expect("a mask with probabilities") {
        match key.as_str() {
            "mask" => {}
            "p_best_given_eligible" => {
                let expected = vector(value);
                p_best(&format!("of {} eligible", rest.len()), &rest, &kept(&expected), checks);
                let outside = expected.iter().zip(&eligible).filter(|&(_, &keep)| !keep).all(|(p, _)| *p == 0.0);
                checks.require("an ineligible arm is expected", outside);
            }
            "wrong_renormalised" => {
                let everyone = kept(&thompson_pmf_reference(arms));
                let sum: f64 = everyone.iter().sum();
                let renormalised: Vec<f64> = everyone.iter().map(|p| p / sum).collect();
                checks.probabilities(key, &renormalised, &kept(&vector(value)));
                let right = thompson_pmf_reference(&rest);
                let apart = right.iter().zip(&renormalised).any(|(right, wrong)| (right - wrong).abs() > 1e-6);
                checks.require("renormalising must differ", apart);
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(&format!("masks.{key}")),
        }
    }
}

fn slates(arms: &[ScoreDistribution], expected: &Value, checks: &mut Checks) {
    let expected = expected.as_object().expect("probabilities by slate");
    let slots = expected.keys().next().map_or(0, |slate| slate.split('-').count());
    let actual = ordered_slates(arms, slots);
    for (slate, probability) in expected {
        let order: Vec<usize> = slate.split('-').map(|arm| arm.parse().expect("an arm's index")).collect();
        let actual = actual.get(&order).copied().unwrap_or(f64::NAN);
        checks.probabilities(&format!("slate {slate}"), &[actual], &[number(probability)]);
    }
}

/// One draw of weights shared by all arms.
fn correlated(case: &Case, checks: &mut Checks) {
    let get = |key: &str| case.keys.get(key);
    let of_weights = match (get("theta_mean"), get("theta_cov"), get("X_arms")) {
        (Some(mean), Some(covariance), Some(arms)) => {
            Some(JointScores::of_weights(&vector(mean), &matrix(covariance), &matrix(arms)))
        }
        _ => None,
    };
    let given = || Some(JointScores::of_covariance(vector(get("score_mean")?), &matrix(get("score_cov")?)));
    let Some(scores) = of_weights.or_else(given) else {
        return checks.fail("neither weights nor scores".to_owned());
    };
    let covariance = scores.covariance();
    for (key, value) in &case.keys {
        match key.as_str() {
            "theta_mean" | "theta_cov" | "X_arms" => {}
            "score_mean" => checks.relative_all(key, &scores.means, &vector(value)),
            "score_cov" => checks.relative_all(key, &covariance.concat(), &matrix(value).concat()),
            "p_best_joint" | "p_best" => {
                checks.probabilities(key, &scores.p_best(), &vector(value));
            }
            "p_best_if_scores_wrongly_drawn_independently" => {
                let spread = |arm: usize| libm::sqrt(covariance[arm][arm]);
                let arms: Vec<ScoreDistribution> = scores
                    .means
                    .iter()
                    .enumerate()
                    .map(|(arm, &mean)| ScoreDistribution::Normal { mean, standard_deviation: spread(arm) })
                    .collect();
                p_best(key, &arms, &vector(value), checks);
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}
