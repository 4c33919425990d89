//! Bayesian linear regression, with known noise precision and with the normal-inverse-gamma prior.
//!
//! A case holds inputs, and blocks of what a posterior of them must be: the case itself may be such a block.

use super::{
    cases::{Case, Library, is_remark, matrix, number, vector},
    checks::Checks,
    posteriors::student,
};
use offer_ranker::engine::{
    math::{cholesky::row_start, double_double::Dd, gamma::ln_gamma},
    pmf::distribution::ScoreDistribution,
    posterior::{
        linear::{LinearFit, LinearPrior},
        moments::Moments,
    },
};
use serde_json::Value;

/// What blocks are computed from.
struct Inputs {
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
    weights: Option<Vec<f64>>,
    query: Option<Vec<f64>>,
    prior: Prior,
}

/// What one output is computed from.
#[derive(Clone, Copy)]
struct Regression<'a> {
    inputs: &'a Inputs,
    prior: Prior,
    /// How many of the rows, from the first, are observed.
    rows: usize,
    weighted: bool,
}

#[derive(Clone, Copy)]
enum Prior {
    /// Weights N(0, I / alpha), noise precision beta.
    KnownNoise { alpha: f64, beta: f64 },
    /// Normal-inverse-gamma with mean 0.
    NormalInverseGamma(LinearPrior),
}

const INPUTS: [&str; 12] = [
    "X",
    "y",
    "weights",
    "xq",
    "X_y",
    "X_y_xq",
    "X_y_weights",
    "prior",
    "prior_precision_alpha",
    "noise_precision_beta",
    "forgetting_gamma",
    "lambda",
];

/// Checks every block of a case.
pub(crate) fn check(library: &Library, case: &Case, checks: &mut Checks) {
    let Some(inputs) = Inputs::of(library, case, checks) else { return };
    let rows = inputs.x.len();
    for (key, value) in &case.keys {
        if INPUTS.contains(&key.as_str()) || is_remark(key) || is_other_algorithm(key) || as_reference(value).is_some()
        {
            continue;
        }
        if key.contains("forgetting") {
            checks.remark(format!("{} reference only", key.split('_').next().unwrap_or(key)));
        } else if key == "agrawal_goyal" {
            // B = I + sum x x': prior and noise precision 1.
            let plain = Prior::KnownNoise { alpha: 1.0, beta: 1.0 };
            check_block(key, value, Regression { inputs: &inputs, prior: plain, rows, weighted: false }, checks);
        } else if value.is_object() && !is_output(key) {
            let counted = key.strip_prefix("first_").and_then(|rest| rest.split('_').next()?.parse().ok());
            let weighted = key.contains("weight")
                || inputs.weights.is_some() && !case.keys.contains_key("batch") && counted.is_none();
            check_block(key, value, inputs.regression(counted.unwrap_or(rows), weighted), checks);
        } else {
            check_output(key, key, value, inputs.regression(rows, inputs.weights.is_some()), checks);
        }
    }
}

/// How far another algorithm strays on the same input, which is not for this one to reproduce.
fn is_other_algorithm(key: &str) -> bool {
    key.starts_with("sherman_morrison")
}

/// `as P05` stands for what case P05 has there.
fn as_reference(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("as ")
}

impl Inputs {
    fn of(library: &Library, case: &Case, checks: &mut Checks) -> Option<Self> {
        let mut referred = Vec::new();
        for (key, value) in &case.keys {
            if let Some(name) = as_reference(value) {
                let Some(other) = library.named(name.trim(), case) else {
                    checks.fail(format!("{key} refers to {name}, which was not found"));
                    return None;
                };
                referred.push((key.as_str(), other));
            }
        }
        // "X_y" as another case stands for its X and its y; its query point comes along where none is given.
        let find = |name: &str| {
            let own = case.keys.get(name).filter(|value| as_reference(value).is_none());
            let of_others = || {
                let shares = |key: &str| key == name || key.split('_').any(|part| part == name) || name == "xq";
                referred.iter().find_map(|(key, other)| shares(key).then(|| other.keys.get(name)).flatten())
            };
            own.or_else(of_others)
        };
        let prior = match (find("prior"), find("prior_precision_alpha"), find("noise_precision_beta")) {
            (Some(prior), _, _) if prior.get("a").is_some() => normal_inverse_gamma(prior, checks)?,
            (_, Some(alpha), Some(beta)) => Prior::KnownNoise { alpha: number(alpha), beta: number(beta) },
            _ => {
                checks.fail("no prior of a known form".to_owned());
                return None;
            }
        };
        let (Some(x), Some(y)) = (find("X"), find("y")) else {
            checks.fail("no X or y".to_owned());
            return None;
        };
        Some(Self {
            x: matrix(x),
            y: vector(y),
            weights: find("weights").map(vector),
            query: find("xq").map(vector),
            prior,
        })
    }

    fn regression(&self, rows: usize, weighted: bool) -> Regression<'_> {
        Regression { inputs: self, prior: self.prior, rows, weighted }
    }

    fn moments(&self, rows: usize, weighted: bool) -> Moments {
        let mut moments = Moments::new(self.x[0].len());
        for (row, (x, y)) in self.x.iter().zip(&self.y).take(rows).enumerate() {
            let weight = self.weights.as_ref().filter(|_| weighted).map_or(1.0, |weights| weights[row]);
            moments.observe(x, *y, weight);
        }
        moments
    }
}

fn normal_inverse_gamma(prior: &Value, checks: &mut Checks) -> Option<Prior> {
    let mut found = LinearPrior { precision: 0.0, a: 0.0, b: 0.0 };
    for (key, value) in prior.as_object()? {
        match key.as_str() {
            "lambda" | "precision" => found.precision = number(value),
            "a" => found.a = number(value),
            "b" => found.b = number(value),
            "mean"
                if value
                    .as_array()
                    .map_or_else(|| number(value) == 0.0, |all| all.iter().all(|m| number(m) == 0.0)) => {}
            _ if is_remark(key) => {}
            _ => {
                checks.unknown(&format!("prior.{key}"));
                return None;
            }
        }
    }
    Some(Prior::NormalInverseGamma(found))
}

fn check_block(block: &str, value: &Value, regression: Regression<'_>, checks: &mut Checks) {
    for (key, value) in value.as_object().expect("a block of outputs") {
        if !is_remark(key) {
            check_output(&format!("{block}.{key}"), key, value, regression, checks);
        }
    }
}

fn is_output(key: &str) -> bool {
    const OUTPUTS: [&str; 13] = [
        "precision",
        "Lambda",
        "B",
        "mean",
        "mu_hat",
        "covariance",
        "log_det_precision",
        "predict_at_xq",
        "a",
        "b",
        "score_at_xq_student_t",
        "log_marginal_likelihood",
        "predictive_student_t",
    ];
    OUTPUTS.contains(&key) || key.ends_with("student_t")
}

fn check_output(what: &str, key: &str, value: &Value, regression: Regression<'_>, checks: &mut Checks) {
    let Regression { inputs, prior, rows, weighted } = regression;
    let moments = inputs.moments(rows, weighted);
    // With known noise precision beta everything is the same regression in units of the noise: Lambda times beta.
    let (linear, unit) = match prior {
        Prior::KnownNoise { alpha, beta } => (LinearPrior { precision: alpha / beta, a: 1.0, b: 1.0 }, beta),
        Prior::NormalInverseGamma(prior) => (prior, 1.0),
    };
    let fit = match LinearFit::<Dd>::solve(linear, &moments) {
        Ok(fit) => fit,
        Err(error) => return checks.fail(format!("{what}: {error}")),
    };
    let features = moments.features();
    let query = || inputs.query.as_ref().expect("a query point xq");
    match key {
        "precision" | "Lambda" | "B" => {
            let mut packed: Vec<f64> = moments.xx().iter().map(|sum| sum.to_f64() * unit).collect();
            (0..features).for_each(|row| {
                packed[row_start(row) + row] =
                    ((moments.xx()[row_start(row) + row] + Dd::from(linear.precision)) * unit).to_f64();
            });
            checks.relative_all(what, &unpacked(features, &packed), &matrix(value).concat());
        }
        "mean" | "mu_hat" => {
            let mean: Vec<f64> = fit.mean.iter().map(|element| element.to_f64()).collect();
            checks.relative_all(what, &mean, &vector(value));
        }
        "covariance" => {
            let packed: Vec<f64> = fit.to_posterior().shape().iter().map(|element| element / unit).collect();
            checks.relative_all(what, &unpacked(features, &packed), &matrix(value).concat());
        }
        "log_det_precision" => {
            checks.relative(what, fit.factor.ln_determinant() + features as f64 * libm::log(unit), value);
        }
        "a" => checks.relative(what, fit.a, value),
        "b" => checks.relative(what, fit.b, value),
        "log_marginal_likelihood" if matches!(prior, Prior::NormalInverseGamma(_)) => {
            checks.relative(what, log_marginal_likelihood(linear, &fit, moments.weight().to_f64()), value);
        }
        "predict_at_xq" => {
            let (_, location, scale) = parts(fit.score(query()));
            // scale^2 = b / a x' Lambda^-1 x.
            let epistemic = scale * scale * fit.a / fit.b / unit;
            for (name, expected) in value.as_object().expect("a prediction") {
                let actual = match name.as_str() {
                    "mean" => location,
                    "epistemic_var" => epistemic,
                    "total_var" => epistemic + 1.0 / unit,
                    _ => {
                        checks.unknown(&format!("{what}.{name}"));
                        continue;
                    }
                };
                checks.relative(&format!("{what}.{name}"), actual, expected);
            }
        }
        _ if key.ends_with("student_t") && key.starts_with("score") => {
            student(what, parts(fit.score(query())), value, checks)
        }
        _ if key.ends_with("student_t") && key.starts_with("predictive") => {
            let (df, location, scale) = parts(fit.score(query()));
            student(what, (df, location, libm::sqrt(scale * scale + fit.b / fit.a)), value, checks);
        }
        _ => checks.unknown(what),
    }
}

fn log_marginal_likelihood(prior: LinearPrior, fit: &LinearFit<Dd>, rows: f64) -> f64 {
    let features = fit.mean.len() as f64;
    0.5 * (features * libm::log(prior.precision) - fit.factor.ln_determinant()) + prior.a * libm::log(prior.b)
        - fit.a * libm::log(fit.b)
        + ln_gamma(fit.a)
        - ln_gamma(prior.a)
        - 0.5 * rows * libm::log(core::f64::consts::TAU)
}

fn parts(score: ScoreDistribution) -> (f64, f64, f64) {
    let ScoreDistribution::StudentT { degrees_of_freedom, location, scale } = score else {
        panic!("{score:?} is no t")
    };
    (degrees_of_freedom, location, scale)
}

fn unpacked(dimension: usize, packed: &[f64]) -> Vec<f64> {
    let elements = (0..dimension).flat_map(|row| (0..dimension).map(move |column| (row, column)));
    elements.map(|(row, column)| packed[row_start(row.max(column)) + row.min(column)]).collect()
}
