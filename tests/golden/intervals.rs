//! Intervals and points of other estimators on weighted rewards.

use super::{
    cases::{Case, Library, is_remark, matrix, number},
    checks::Checks,
};
use offer_ranker::replay::{
    anytime::robust::Sequence,
    evaluation::Range,
    intervals::{
        Interval, clopper_pearson,
        cressie_read::{self, Sums, Unseen},
        empirical_likelihood, normal,
    },
    support::tally::Tally,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Tolerances of INDEX.md: what is computed outright, and what is found as a root.
const OUTRIGHT: f64 = 1e-9;
const ROOT: f64 = 1e-7;

/// Weights and rewards of a case, and what it declares.
struct Weighed {
    rows: Vec<(f64, f64)>,
    reward: Range,
    weight_min: f64,
}

pub(crate) fn check(library: &Library, case: &Case, checks: &mut Checks) {
    let weighed = weighed(library, case);
    for (key, value) in &case.keys {
        match key.as_str() {
            "points" => named(value, |name, value| point(&weighed, name, value, checks)),
            "intervals" => named(value, |name, value| interval(&weighed, name, value, checks)),
            "rounds" | "rows" | "columns" | "params" => {}
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

fn named(values: &Value, mut each: impl FnMut(&str, &Value)) {
    values.as_object().expect("values by name").iter().for_each(|(name, value)| each(name, value));
}

fn weighed(library: &Library, case: &Case) -> Weighed {
    let params = &case.keys["params"];
    assert_eq!(params.get("p_drop").map_or(0.0, number), 0.0, "rows that were dropped at random are not supported");
    let column = |names: &[String], name: &str| {
        names.iter().position(|own| own == name).unwrap_or_else(|| panic!("there is no column {name}"))
    };
    let (names, rows) = match case.keys.get("rounds").and_then(Value::as_str) {
        Some(name) => {
            let file = library.file(name, case).unwrap_or_else(|| panic!("there is no file {name}"));
            read_csv(&file)
        }
        None => {
            let names = case.keys["columns"].as_array().expect("columns").iter();
            (names.map(|name| name.as_str().expect("a name").to_owned()).collect(), matrix(&case.keys["rows"]))
        }
    };
    let [pscore, reward, target] = ["pscore", "reward", "pi_e_logged"].map(|name| column(&names, name));
    Weighed {
        rows: rows.iter().map(|row| (row[target] / row[pscore], row[reward])).collect(),
        reward: Range { min: number(&params["rmin"]), max: number(&params["rmax"]) },
        weight_min: params.get("wmin").map_or(0.0, number),
    }
}

fn read_csv(file: &std::path::Path) -> (Vec<String>, Vec<Vec<f64>>) {
    let zipped = file.extension().is_some_and(|extension| extension == "gz");
    let content = std::fs::File::open(file).expect("the file can be read");
    let content: Box<dyn std::io::Read> =
        if zipped { Box::new(flate2::read::MultiGzDecoder::new(content)) } else { Box::new(content) };
    let mut reader = csv::Reader::from_reader(content);
    let names = reader.headers().expect("a header").iter().map(str::to_owned).collect();
    let numbers = |record: csv::StringRecord| record.iter().map(|text| text.parse().expect("a number")).collect();
    (names, reader.records().map(|record| numbers(record.expect("a row"))).collect())
}

/// `name[a=1,b=inf]` as the name and its settings.
pub(crate) fn settings(name: &str) -> (&str, BTreeMap<&str, f64>) {
    let Some((stem, rest)) = name.split_once('[') else { return (name, BTreeMap::new()) };
    let setting = |setting| {
        let (key, value): (&str, &str) = str::split_once(setting, '=').unwrap_or_else(|| panic!("{name}: no setting"));
        (key, value.parse().unwrap_or_else(|_| panic!("{name}: {value} is no number")))
    };
    (stem, rest.trim_end_matches(']').split(',').map(setting).collect())
}

fn sums(rows: &[(f64, f64)]) -> Sums {
    let mut sums = Sums::default();
    rows.iter().for_each(|&(weight, reward)| sums.add(weight, weight * reward));
    sums
}

fn point(case: &Weighed, name: &str, expected: &Value, checks: &mut Checks) {
    let (stem, set) = settings(name);
    let total = |part: fn(&(f64, f64)) -> f64| case.rows.iter().map(part).sum::<f64>();
    let n = case.rows.len() as f64;
    let weights = || (set["wmin"], set["wmax"]);
    let (actual, share) = match stem {
        "ips" => (Some(total(|(w, r)| w * r) / n), OUTRIGHT),
        "snips" => (Some(total(|(w, r)| w * r) / total(|(w, _)| *w)), OUTRIGHT),
        "cressie_read" => {
            let (least, most) = weights();
            (cressie_read::point(&sums(&case.rows), least, most, total(|(_, r)| *r) / n), OUTRIGHT)
        }
        "mle_empirical_likelihood" => {
            let (least, most) = weights();
            (empirical_likelihood::point(&case.rows, least, most), ROOT)
        }
        _ => return checks.unknown(&format!("points.{name}")),
    };
    checks.nullable(name, actual.filter(|value| value.is_finite()), expected, share, 0.0);
}

fn interval(case: &Weighed, name: &str, expected: &Value, checks: &mut Checks) {
    let (stem, set) = settings(name);
    let alpha = set["alpha"];
    let (actual, share) = match stem {
        "cressie_read" => (cressie_read(case, set["wmax"], alpha), OUTRIGHT),
        "gaussian" => (gaussian(case, alpha), OUTRIGHT),
        "clopper_pearson" => (clopper_pearson(case, alpha), ROOT),
        "cs_robust" => {
            let mut sequence = Sequence::new(case.reward);
            case.rows.iter().for_each(|&(weight, reward)| sequence.observe(weight, reward));
            (sequence.interval(alpha), ROOT)
        }
        _ => return checks.unknown(&format!("intervals.{name}")),
    };
    let ends = [actual.map(|interval| interval.lower), actual.map(|interval| interval.upper)];
    for (end, (actual, side)) in ends.into_iter().zip(["lower", "upper"]).enumerate() {
        checks.nullable(&format!("{name} {side}"), actual, &expected[end], share, 0.0);
    }
}

fn cressie_read(case: &Weighed, weight_max: f64, alpha: f64) -> Option<Interval> {
    let largest = case.rows.iter().map(|(weight, _)| *weight).fold(weight_max, f64::max);
    let unseen = |weight: f64| {
        let factor = if weight.is_infinite() { 1.0 } else { weight };
        Unseen { weight, values: Range { min: factor * case.reward.min, max: factor * case.reward.max } }
    };
    cressie_read::interval(&sums(&case.rows), unseen(case.weight_min), unseen(largest), case.reward, alpha)
}

fn gaussian(case: &Weighed, alpha: f64) -> Option<Interval> {
    let mut tally = Tally::default();
    case.rows.iter().for_each(|(weight, reward)| tally.add(weight * reward));
    Some(normal::interval(tally.mean()?, tally.standard_error()?, alpha))
}

fn clopper_pearson(case: &Weighed, alpha: f64) -> Option<Interval> {
    let Range { min, max } = case.reward;
    let largest = case.rows.iter().map(|(weight, _)| *weight).fold(0.0, f64::max);
    if largest <= 0.0 {
        return None;
    }
    let won: f64 = case.rows.iter().map(|(weight, reward)| weight * (reward - min) / (max - min)).sum();
    let share = clopper_pearson::interval(won / largest, case.rows.len() as f64 / largest, alpha);
    Some(Interval { lower: min + share.lower * (max - min), upper: min + share.upper * (max - min) })
}
