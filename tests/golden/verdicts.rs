//! Which checks a case gets, and what becomes of it.

use super::{
    anytime,
    cases::{Case, Library},
    checks::Checks,
    fairness, intervals, linear, posteriors, probabilities, rounds, slates,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Families that are compared here.
pub(crate) const FAMILIES: &str = "PTGSCAF";

/// What became of one case.
pub(crate) struct Verdict {
    pub(crate) id: String,
    pub(crate) words: String,
    pub(crate) failed: bool,
}

/// Judges all cases of these families.
pub(crate) fn judge(library: &Library, families: &str) -> Vec<Verdict> {
    let cases = library.cases.iter().filter(|case| families.contains(case.family));
    cases.map(|case| judge_case(library, case)).collect()
}

fn judge_case(library: &Library, case: &Case) -> Verdict {
    let mut checks = Checks::default();
    // A case that lacks something panics where it is missed: that must not keep the others from being judged.
    let judged = catch_unwind(AssertUnwindSafe(|| check(library, case, &mut checks)));
    if let Err(panic) = judged {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
        checks.fail(format!("malformed: {words}"));
    }
    checks.finish();
    Verdict { id: case.id.clone(), words: checks.summary(), failed: !checks.failures.is_empty() }
}

fn check(library: &Library, case: &Case, checks: &mut Checks) {
    match case.family {
        'P' => posterior(library, case, checks),
        'T' => probabilities::check(case, checks),
        'G' => rounds::check(library, case, checks),
        'S' => slates::check(case, checks),
        'C' => intervals::check(library, case, checks),
        'A' => anytime::check(case, checks),
        'F' => fairness::check(case, checks),
        _ => checks.verdict = "not yet",
    }
}

/// Posteriors are told apart by their keys; numbers only name the families of later work, whose keys may be anything.
fn posterior(library: &Library, case: &Case, checks: &mut Checks) {
    let has = |key: &str| case.keys.contains_key(key);
    let any = |test: &dyn Fn(&str) -> bool| case.keys.keys().any(|key| test(key));
    let decays = any(&|key| key.contains("half_life") || key.contains("time_decay"));
    let logistic = has("y01") || any(&|key| key.starts_with("laplace"));
    let merges = any(&|key| key.starts_with("order") || key.starts_with("merge"));
    if decays || logistic || merges || matches!(case.number, 2 | 8 | 9) {
        checks.verdict = "not yet";
    } else if ["poisson", "exponential_spend", "hurdle_offer_value"].into_iter().any(has) {
        checks.verdict = "reference only";
    } else if has("events_arm_reward") {
        posteriors::beta(case, checks);
    } else if has("known_variance") || has("nig") {
        posteriors::normal(case, checks);
    } else if has("prior_precision_alpha") || any(&|key| key == "X" || key.starts_with("X_y")) {
        linear::check(library, case, checks);
    } else {
        checks.fail(format!("unknown keys: {}", case.key_names()));
    }
}
