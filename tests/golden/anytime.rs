//! Boundaries and confidence sequences that hold at all times.

use super::{
    cases::{Case, is_remark, number, vector},
    checks::Checks,
    intervals::settings,
};
use offer_ranker::replay::{
    anytime::{
        betting,
        boundaries::{self, Tuning},
        predictable,
    },
    intervals::Interval,
};
use serde_json::{Map, Value};

/// Tolerances of the file's own note: what is computed, and what is looked up in a grid.
const COMPUTED: f64 = 1e-9;
const GRID: f64 = 1e-3;
/// What the file's sequences leave outside.
const ALPHA: f64 = 0.05;

pub(crate) fn check(case: &Case, checks: &mut Checks) {
    for (key, value) in &case.keys {
        match key.as_str() {
            "uniform_boundaries" => each(value, |entry| boundary(entry, checks)),
            "normal_log_mixture" => each(value, |entry| mixture(entry, checks)),
            "bernoulli_ci" => each(value, |entry| bernoulli(entry, checks)),
            "cs" => {
                for (stream, expected) in value.as_object().expect("sequences by stream") {
                    let numbers = vector(&case.keys["streams"][stream]);
                    sequences(&numbers, &vector(&case.keys["report_at_t"]), expected, checks);
                }
            }
            "streams" | "report_at_t" => {}
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

fn each(values: &Value, mut check: impl FnMut(&Map<String, Value>)) {
    values.as_array().expect("a list").iter().for_each(|entry| check(entry.as_object().expect("an object")));
}

fn tuning(entry: &Map<String, Value>) -> Tuning {
    Tuning { variance: number(&entry["v_opt"]), alpha: number(&entry["alpha_opt"]) }
}

fn boundary(entry: &Map<String, Value>, checks: &mut Checks) {
    let (v, alpha, tuning) = (number(&entry["v"]), number(&entry["alpha"]), tuning(entry));
    for (name, expected) in entry {
        let scale = |start: &str| name.strip_prefix(start)?.parse::<f64>().ok();
        let stitched = |name: &str| {
            let (c, v_min) = name.strip_prefix("poly_stitching_c")?.split_once("_vmin")?;
            Some((c.parse::<f64>().ok()?, v_min.parse::<f64>().ok()?))
        };
        let actual = match name.as_str() {
            "v" | "alpha" | "v_opt" | "alpha_opt" => continue,
            "normal_mixture_two_sided" => boundaries::two_sided_normal(v, alpha, tuning),
            "normal_mixture_one_sided" => boundaries::one_sided_normal(v, alpha, tuning),
            _ => {
                if let Some(c) = scale("gamma_exponential_c") {
                    boundaries::gamma_exponential(v, alpha, c, tuning)
                } else if let Some(c) = scale("gamma_poisson_c") {
                    boundaries::gamma_poisson(v, alpha, c, tuning)
                } else if let Some((c, v_min)) = stitched(name) {
                    boundaries::poly_stitching(v, alpha, v_min, c)
                } else {
                    checks.unknown(name);
                    continue;
                }
            }
        };
        checks.nullable(&format!("{name} at {v}"), Some(actual), expected, COMPUTED, 0.0);
    }
}

fn mixture(entry: &Map<String, Value>, checks: &mut Checks) {
    let (s, v) = (number(&entry["s"]), number(&entry["v"]));
    for (name, expected) in entry {
        match name.as_str() {
            "s" | "v" | "v_opt" | "alpha_opt" => {}
            "two_sided" => {
                let actual = boundaries::two_sided_normal_log_mixture(s, v, tuning(entry));
                checks.nullable(&format!("normal_log_mixture at {v}"), Some(actual), expected, COMPUTED, 0.0);
            }
            _ => checks.unknown(name),
        }
    }
}

fn bernoulli(entry: &Map<String, Value>, checks: &mut Checks) {
    let get = |key: &str| number(&entry[key]);
    let alpha_best = entry.get("alpha_opt").map_or(ALPHA, number);
    let ours = boundaries::bernoulli(get("successes"), get("trials"), get("alpha"), get("t_opt"), alpha_best);
    for (name, expected) in entry {
        match name.as_str() {
            "successes" | "trials" | "alpha" | "t_opt" | "alpha_opt" => {}
            "ci" => {
                checks.nullable("bernoulli_ci lower", Some(ours.lower), &expected[0], COMPUTED, 0.0);
                checks.nullable("bernoulli_ci upper", Some(ours.upper), &expected[1], COMPUTED, 0.0);
            }
            _ => checks.unknown(name),
        }
    }
}

fn sequences(numbers: &[f64], times: &[f64], expected: &Value, checks: &mut Checks) {
    for (name, expected) in expected.as_object().expect("sequences by name") {
        if let Some(mean) = name.strip_prefix("hedged_capital_at_m=") {
            let capital = betting::hedged_capital(numbers, mean.parse().expect("a mean"), ALPHA);
            for (&time, expected) in times.iter().zip(expected.as_array().expect("a list")) {
                checks.nullable(
                    &format!("{name} at {time}"),
                    Some(capital[time as usize - 1]),
                    expected,
                    COMPUTED,
                    0.0,
                );
            }
            continue;
        }
        let (stem, set) = settings(name);
        let betting = || betting::sequence(numbers, ALPHA, set["breaks"] as u32);
        let (intervals, tolerance) = match stem {
            "predmix_hoeffding_cs" => (predictable::hoeffding(numbers, ALPHA), COMPUTED),
            "predmix_empbern_twosided_cs" | "predmix_empbern_cs" => {
                (predictable::empirical_bernstein(numbers, ALPHA), COMPUTED)
            }
            "conjmix_hoeffding_twosided_cs" => {
                (predictable::conjugate_hoeffding(numbers, ALPHA, set["t_opt"]), COMPUTED)
            }
            "conjmix_empbern_twosided_cs" | "conjmix_empbern_cs" => {
                (predictable::conjugate_empirical_bernstein(numbers, ALPHA, set["v_opt"]), COMPUTED)
            }
            "hedged_cs(betting)" | "hedged_cs" => (betting::intersections(&betting()), GRID),
            "betting_cs" => (betting(), GRID),
            _ => {
                checks.unknown(name);
                continue;
            }
        };
        compare(name, &intervals, times, expected, tolerance, checks);
    }
}

fn compare(name: &str, ours: &[Interval], times: &[f64], expected: &Value, tolerance: f64, checks: &mut Checks) {
    for (index, &time) in times.iter().enumerate() {
        let Interval { lower, upper } = ours[time as usize - 1];
        for (side, actual) in [("lower", lower), ("upper", upper)] {
            let expected = number(&expected[side][index]);
            // Of grids, a step may fall on either side of an end.
            let tolerance = if tolerance < GRID { tolerance * expected.abs() } else { tolerance * (1.0 + 1e-9) };
            checks.within(&format!("{name} {side} at {time}"), actual, expected, tolerance);
        }
    }
}
