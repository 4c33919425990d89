//! Estimators of one slot and what is said of their weights, from rounds in files.

use super::{
    cases::{Case, Library, is_remark, number},
    checks::Checks,
};
use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    estimators::Grids,
    files::{self, Sources, table::Source},
    report::Report,
    support::arms::Pmfs,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs::File};

/// Tolerances of INDEX.md.
const SHARE: f64 = 1e-12;

pub(crate) fn check(library: &Library, case: &Case, checks: &mut Checks) {
    let (report, scale) = report(library, case);
    let report = serde_json::to_value(&report).expect("a report is JSON");
    for (key, value) in &case.keys {
        match key.as_str() {
            "estimators" => estimators(&report["estimators"], value, scale, checks),
            "diagnostics" => same(key, &report["diagnostics"], value, scale, checks),
            "files" | "layout" | "n_rounds" | "n_actions" | "len_list" => {}
            // Of the reference itself, and what it would have chosen: this program chooses by SLOPE.
            "max_rel_diff_obp_vs_independent" | "obp_tuning_mse_scores" | "true_policy_value" | "expect" => {}
            // Random numbers of another generator; tests/replay compares bootstrap intervals with others instead.
            "obp_bootstrap_ci95_n1000_seed12345" | "obp_bootstrap_note" => {}
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}

/// The forced report, and the size of what is added up.
fn report(library: &Library, case: &Case) -> (Report, f64) {
    let open = |key: &str| {
        let name = case.keys["files"].get(key)?.as_str().expect("a file's name");
        let file = library.file(name, case).unwrap_or_else(|| panic!("there is no file {name}"));
        let content = Box::new(File::open(&file).expect("the file can be read"));
        Some(Source { name: file.display().to_string(), content })
    };
    let sources = Sources {
        rounds: open("rounds").expect("rounds"),
        target: open("pi_e").expect("a target"),
        rewards: open("q_hat"),
        cluster: None,
        day: None,
        floor: None,
        reward: None,
    };
    let model = sources.rewards.is_some();
    let plan = Plan {
        grids: grids(case),
        families: Vec::new(),
        model,
        clustered: false,
        reward: None,
        alpha: 0.05,
        replicates: 0,
        seed: 1,
        fitted_propensities: false,
    };
    let mut assessment = Assessment::new(plan);
    let mut scale = 0.0_f64;
    let read = files::read(sources, |row, target| {
        assessment.observe(row, &Pmfs { logged: None, target: Some(target) });
        scale = scale.max(row.weight().max(1.0) * row.reward().map_or(0.0, f64::abs));
    });
    let weight_max = read.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    (assessment.report(weight_max, true), scale)
}

/// The hyper-parameters that a case has numbers for, on top of the usual ones.
fn grids(case: &Case) -> Grids {
    let mut grids = Grids::default();
    let names: BTreeSet<&String> = case.keys["estimators"].as_object().expect("estimators").keys().collect();
    for name in names {
        let Some((family, rest)) = name.split_once('[') else { continue };
        let lambda = rest.trim_end_matches(']').parse().unwrap_or_else(|_| panic!("{name} has no number"));
        let grid = match family {
            "dros" => &mut grids.optimistic,
            "sg_ips" | "sg_dr" => &mut grids.sub_gaussian,
            _ => &mut grids.caps,
        };
        if !grid.contains(&lambda) {
            grid.push(lambda);
        }
    }
    grids
}

fn estimators(ours: &Value, expected: &Value, scale: f64, checks: &mut Checks) {
    for (name, sources) in expected.as_object().expect("estimators") {
        let Some(own) = ours.get(name) else {
            checks.unknown(&format!("estimators.{name}"));
            continue;
        };
        for (source, value) in sources.as_object().expect("values by source") {
            match source.as_str() {
                // The reference divides 0 by 0 where w = 0 and lambda is at an end of its range; INDEX.md says 0.
                "obp" if value.is_null() && !sources["independent"].is_null() => {}
                "obp" | "independent" => {
                    checks.nullable(&format!("{name} by {source}"), own["value"].as_f64(), value, SHARE, scale);
                }
                "abs_diff" => {}
                _ => checks.unknown(&format!("estimators.{name}.{source}")),
            }
        }
    }
}

/// Compares whatever is expected, in depth.
fn same(what: &str, ours: &Value, expected: &Value, scale: f64, checks: &mut Checks) {
    match expected {
        Value::Object(keys) => keys.iter().for_each(|(key, value)| {
            let own = ours.get(key).unwrap_or(&Value::Null);
            same(&format!("{what}.{key}"), own, value, scale, checks);
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| {
            let own = ours.get(index).unwrap_or(&Value::Null);
            same(&format!("{what}[{index}]"), own, value, scale, checks);
        }),
        Value::Null | Value::Number(_) => checks.nullable(what, ours.as_f64(), expected, SHARE, scale),
        _ => {
            checks.require(&format!("{what}: is {ours}, must be {expected}"), ours == expected || number(ours).is_nan())
        }
    }
}
