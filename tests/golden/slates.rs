//! Estimators of whole slates.

use super::{
    cases::{Case, is_remark},
    checks::Checks,
};
use offer_ranker::replay::{
    gate::Verdict,
    slates::{file, report::report},
};
use std::fs;

pub(crate) fn check(case: &Case, checks: &mut Checks) {
    let name = case.file().display().to_string();
    let text = fs::read_to_string(case.file()).expect("the file can be read");
    let slates = file::read(&name, &text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let ours =
        serde_json::to_value(report(&slates, None, 0.05, (&Verdict::default(), true))).expect("a report is JSON");
    let largest = |numbers: Vec<f64>| numbers.into_iter().map(f64::abs).fold(0.0, f64::max);
    let scale = slates.iter().map(|slate| slate.joint.max(1.0) * largest(slate.rewards.clone())).fold(0.0, f64::max);
    for (key, value) in &case.keys {
        match key.as_str() {
            "estimators" => {
                for (name, sources) in value.as_object().expect("estimators") {
                    let own = &ours["estimators"][name]["value"];
                    // A pseudo-inverse is computed by other factorisations elsewhere.
                    let share = if name.contains("pi") { 1e-9 } else { 1e-11 };
                    for (source, value) in sources.as_object().expect("values by source") {
                        match source.as_str() {
                            // The reference has no pseudo-inverse.
                            "obp" if value.is_null() && !sources["independent"].is_null() => {}
                            "obp" | "independent" | "vw_estimators_closed_form" => {
                                checks.nullable(&format!("{name} by {source}"), own.as_f64(), value, share, scale);
                            }
                            "abs_diff" => {}
                            _ => checks.unknown(&format!("estimators.{name}.{source}")),
                        }
                    }
                }
            }
            // What the truth is; no estimator knows it.
            "true_policy_value" => {}
            "rounds" | "n_slates" | "n_items" | "slate_len" | "unique_items" | "behaviour" | "evaluation" | "notes" => {
            }
            _ if is_remark(key) => {}
            _ => checks.unknown(key),
        }
    }
}
