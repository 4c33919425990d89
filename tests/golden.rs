//! Golden cases of other implementations: posteriors to 1e-10 relative, Thompson probabilities to 1e-8 absolute,
//! estimators of replay to 1e-12 relative, those of slates to 1e-11, intervals to 1e-9, measures of fairness to 1e-12.
//!
//! Cases are read from `tests/golden`, from `../shared/golden` where that is beside the checkout, and from every folder
//! named in `OFFER_RANKER_GOLDEN` (separated by colons): `.json` files there, and `case.json` in their subfolders.
//! Without the folder beside the checkout there are no cases of replay, which is said. Families are told apart by the leading letter
//! of a case's id and by its keys. Each case gets a verdict on stdout; families that other tests answer for, or none
//! yet, are named; a key that nobody knows inside a family claimed here is a failure, and so is what cannot be read.

#[path = "golden/anytime.rs"]
mod anytime;
#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/checks.rs"]
mod checks;
#[path = "golden/fairness.rs"]
mod fairness;
#[path = "golden/harness.rs"]
mod harness;
#[path = "golden/intervals.rs"]
mod intervals;
#[path = "golden/linear.rs"]
mod linear;
#[path = "golden/posteriors.rs"]
mod posteriors;
#[path = "golden/probabilities.rs"]
mod probabilities;
#[path = "common/reference.rs"]
mod reference;
#[path = "golden/reranking.rs"]
mod reranking;
#[path = "golden/rounds.rs"]
mod rounds;
#[path = "golden/slates.rs"]
mod slates;
#[path = "golden/verdicts.rs"]
mod verdicts;

use cases::Library;

#[test]
fn golden_posteriors_agree() {
    assert!(report("P"), "no case of family P was found");
}

#[test]
fn golden_thompson_probabilities_agree() {
    assert!(report("T"), "no case of family T was found");
}

#[test]
fn golden_estimators_of_replay_agree() {
    report("G");
}

#[test]
fn golden_estimators_of_slates_agree() {
    report("S");
}

#[test]
fn golden_intervals_agree() {
    report("C");
}

#[test]
fn golden_confidence_sequences_agree() {
    report("A");
}

#[test]
fn golden_shares_of_positions_agree() {
    assert!(report("F"), "no case of family F was found");
}

#[test]
fn golden_cases_of_other_families_are_named() {
    let library = Library::read();
    for case in library.cases.iter().filter(|case| !verdicts::FAMILIES.contains(case.family)) {
        say(&format!("{} not yet", case.id));
    }
    assert!(library.unreadable.is_empty(), "unreadable:\n{}", library.unreadable.join("\n"));
}

/// Says what became of each case of a family, and fails with all that failed; whether there were any.
fn report(family: &str) -> bool {
    let verdicts = verdicts::judge(&Library::read(), family);
    if verdicts.is_empty() {
        say(&format!("no case of family {family} is here: nothing was compared"));
    }
    let lines = verdicts.iter().map(|verdict| match verdict.failed {
        true => format!("FAIL {}: {}", verdict.id, verdict.words.trim_start_matches("FAIL ")),
        false => format!("{} {}", verdict.id, verdict.words),
    });
    let lines: Vec<String> = lines.collect();
    lines.iter().for_each(|line| say(line));
    let failed: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.starts_with("FAIL ")).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    !verdicts.is_empty()
}

#[expect(clippy::print_stdout, reason = "verdicts are this test's output")]
fn say(line: &str) {
    println!("{line}");
}
