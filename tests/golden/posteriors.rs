//! Beta and normal posteriors.

use super::{
    cases::{Case, is_remark, number, vector},
    checks::Checks,
    reference::{NormalInverseGamma, known_variance},
};
use offer_ranker::engine::{
    math::student_t,
    posterior::{
        beta::{BetaPosterior, BetaPrior},
        moments::Moments,
    },
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Beta-Bernoulli: prior, events as [arm, reward] or [arm, reward, weight], posterior by arm.
pub(crate) fn beta(case: &Case, checks: &mut Checks) {
    for (key, value) in &case.keys {
        match key.as_str() {
            "prior" | "events_arm_reward" | "gamma" => {}
            "posterior_plain" | "posterior" => plain_beta(case, key, value, checks),
            _ if key.contains("forgetting") => checks.remark(format!("{key} reference only")),
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

fn plain_beta(case: &Case, key: &str, expected: &Value, checks: &mut Checks) {
    let [alpha, beta] = ["alpha", "beta"].map(|shape| number(&case.keys["prior"][shape]));
    let prior = BetaPrior { alpha, beta };
    let mut moments: BTreeMap<String, Moments> = BTreeMap::new();
    for event in case.keys["events_arm_reward"].as_array().expect("a list of events") {
        let arm = event[0].as_str().map_or_else(|| event[0].to_string(), str::to_owned);
        let weight = event.get(2).map_or(1.0, number);
        moments.entry(arm).or_insert_with(|| Moments::new(1)).observe(&[1.0], number(&event[1]), weight);
    }
    for (arm, expected) in expected.as_object().expect("posteriors by arm") {
        let nothing = Moments::new(1);
        let posterior = BetaPosterior::derive(prior, moments.get(arm).unwrap_or(&nothing));
        for (name, value) in expected.as_object().expect("a posterior") {
            let actual = match name.as_str() {
                "alpha" => posterior.alpha,
                "beta" => posterior.beta,
                "mean" => posterior.mean(),
                "var" | "variance" => posterior.variance(),
                _ => match quantile_level(name) {
                    Some(level) => posterior.quantile(level),
                    None => {
                        checks.unknown(&format!("{key}.{arm}.{name}"));
                        continue;
                    }
                },
            };
            checks.relative(&format!("{key}.{arm}.{name}"), actual, value);
        }
    }
}

/// `q025` is the quantile at 0.025.
fn quantile_level(name: &str) -> Option<f64> {
    let digits = name.strip_prefix('q').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    format!("0.{digits}").parse().ok()
}

/// Normal rewards with known variance, and with the normal-inverse-gamma prior.
pub(crate) fn normal(case: &Case, checks: &mut Checks) {
    let data = || vector(&case.keys["data"]);
    for (key, value) in &case.keys {
        match (key.as_str(), value) {
            ("data", _) => {}
            ("known_variance", Value::Object(model)) => check_known_variance(model, &data(), checks),
            ("nig", Value::Object(model)) => check_normal_inverse_gamma(model, &data(), checks),
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

fn check_known_variance(model: &Map<String, Value>, data: &[f64], checks: &mut Checks) {
    let input = |key: &str| number(&model[key]);
    let (mean, precision) =
        known_variance(data, input("prior_mean"), input("prior_precision"), input("noise_variance"));
    for (key, value) in model {
        match key.as_str() {
            "prior_mean" | "prior_precision" | "noise_variance" => {}
            "posterior" => {
                for (name, value) in value.as_object().expect("a posterior") {
                    let what = format!("known_variance.posterior.{name}");
                    match name.as_str() {
                        "mean" => checks.relative(&what, mean, value),
                        "precision" => checks.relative(&what, precision, value),
                        "var" | "variance" => checks.relative(&what, 1.0 / precision, value),
                        "sd" => checks.relative(&what, libm::sqrt(1.0 / precision), value),
                        _ => checks.unknown(&what),
                    }
                }
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(&format!("known_variance.{key}")),
        }
    }
}

fn check_normal_inverse_gamma(model: &Map<String, Value>, data: &[f64], checks: &mut Checks) {
    let [mu, kappa, alpha, beta] = ["mu", "kappa", "alpha", "beta"].map(|key| number(&model["prior"][key]));
    let prior = NormalInverseGamma { mu, kappa, alpha, beta };
    let posterior = prior.after(data);
    for (key, value) in model {
        match key.as_str() {
            "prior" => {}
            "posterior" => {
                let NormalInverseGamma { mu, kappa, alpha, beta } = posterior;
                let known = [("mu", mu), ("kappa", kappa), ("alpha", alpha), ("beta", beta)];
                for (name, value) in value.as_object().expect("a posterior") {
                    let what = format!("nig.posterior.{name}");
                    match known.iter().find(|(known, _)| known == name) {
                        Some(&(_, actual)) => checks.relative(&what, actual, value),
                        None => checks.unknown(&what),
                    }
                }
            }
            "marginal_mean_student_t" => student(key, posterior.mean_student_t(), value, checks),
            "predictive_student_t" => student(key, posterior.predictive_student_t(), value, checks),
            "log_marginal_likelihood" => checks.relative(key, prior.log_marginal_likelihood(data), value),
            _ if is_remark(key) => {}
            _ => checks.unknown(&format!("nig.{key}")),
        }
    }
}

/// Degrees of freedom, location, scale and quantiles of a t distribution.
pub(crate) fn student(what: &str, (df, location, scale): (f64, f64, f64), expected: &Value, checks: &mut Checks) {
    for (key, value) in expected.as_object().expect("a t distribution") {
        let actual = match key.as_str() {
            "df" => df,
            "loc" | "location" | "mean" => location,
            "scale" => scale,
            _ => match quantile_level(key) {
                Some(level) => location + scale * student_t::quantile(df, level),
                None => {
                    checks.unknown(&format!("{what}.{key}"));
                    continue;
                }
            },
        };
        checks.relative(&format!("{what}.{key}"), actual, value);
    }
}
