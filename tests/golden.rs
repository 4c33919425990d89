//! Golden cases of other implementations: posteriors to 1e-10 relative, Thompson probabilities to 1e-8 absolute.
//!
//! Cases are read from `tests/golden` and from every folder named in `OFFER_RANKER_GOLDEN` (separated by colons):
//! `.json` files there, and `case.json` in their subfolders. Families are told apart by the leading letter
//! of a case's id and by its keys. Each case gets a verdict on stdout; families that other tests answer for, or none
//! yet, are named; a key that nobody knows inside a family claimed here is a failure, and so is what cannot be read.

#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/checks.rs"]
mod checks;
#[path = "golden/harness.rs"]
mod harness;
#[path = "golden/linear.rs"]
mod linear;
#[path = "golden/posteriors.rs"]
mod posteriors;
#[path = "golden/probabilities.rs"]
mod probabilities;
#[path = "common/reference.rs"]
mod reference;
#[path = "golden/verdicts.rs"]
mod verdicts;

use cases::Library;

#[test]
fn golden_posteriors_agree() {
    report("P");
}

#[test]
fn golden_thompson_probabilities_agree() {
    report("T");
}

#[test]
fn golden_cases_of_other_families_are_named() {
    let library = Library::read();
    for case in library.cases.iter().filter(|case| !"PT".contains(case.family)) {
        say(&format!("{} not yet", case.id));
    }
    assert!(library.unreadable.is_empty(), "unreadable:\n{}", library.unreadable.join("\n"));
}

/// Says what became of each case of a family, and fails with all that failed.
fn report(family: &str) {
    let verdicts = verdicts::judge(&Library::read(), family);
    assert!(!verdicts.is_empty(), "no case of family {family} was found");
    let lines = verdicts.iter().map(|verdict| match verdict.failed {
        true => format!("FAIL {}: {}", verdict.id, verdict.words.trim_start_matches("FAIL ")),
        false => format!("{} {}", verdict.id, verdict.words),
    });
    let lines: Vec<String> = lines.collect();
    lines.iter().for_each(|line| say(line));
    let failed: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.starts_with("FAIL ")).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[expect(clippy::print_stdout, reason = "verdicts are this test's output")]
fn say(line: &str) {
    println!("{line}");
}
