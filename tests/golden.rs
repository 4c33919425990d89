//! Golden cases of other implementations: posteriors to 1e-10 relative, Thompson probabilities to 1e-8 absolute.
//!
//! Cases are read from `tests/golden` and from every folder named in `OFFER_RANKER_GOLDEN` (separated by colons):
//! `.json` files there, and `case.json` in their subfolders. Families are told apart by the leading letter and number
//! of a case's id and by its keys. Each case gets a verdict on stdout; families that other tests answer for, or none
//! yet, are named, and a key that nobody knows inside a family claimed here is a failure.

#[path = "golden/cases.rs"]
mod cases;
#[path = "golden/checks.rs"]
mod checks;
#[path = "golden/linear.rs"]
mod linear;
#[path = "golden/posteriors.rs"]
mod posteriors;
#[path = "golden/probabilities.rs"]
mod probabilities;
#[path = "common/reference.rs"]
mod reference;

use cases::{Case, Library};
use checks::Checks;

#[test]
fn golden_posteriors_agree() {
    report('P', |library, case, checks| match case.number {
        1 => posteriors::beta(case, checks),
        4 => posteriors::normal(case, checks),
        5..=7 => linear::check(library, case, checks),
        3 => checks.verdict = "reference only",
        _ => checks.verdict = "not yet",
    });
}

#[test]
fn golden_thompson_probabilities_agree() {
    report('T', |_, case, checks| probabilities::check(case, checks));
}

#[test]
fn golden_cases_of_other_families_are_named() {
    let library = Library::read();
    for case in library.cases.iter().filter(|case| !"PT".contains(case.family)) {
        say(&format!("{} not yet", case.id));
    }
    for unreadable in &library.unreadable {
        say(&format!("{unreadable} unreadable"));
    }
    let claimed = library.unreadable.iter().any(|name| name.starts_with(['P', 'T']));
    assert!(!claimed, "unreadable golden files of claimed families: {:?}", library.unreadable);
}

fn report(family: char, check: impl Fn(&Library, &Case, &mut Checks)) {
    let library = Library::read();
    let mut failed = Vec::new();
    for case in library.cases.iter().filter(|case| case.family == family) {
        let mut checks = Checks::default();
        check(&library, case, &mut checks);
        say(&format!("{} {}", case.id, checks.summary()));
        failed.extend(checks.failures.iter().map(|failure| format!("{}: {failure}", case.id)));
    }
    assert!(library.cases.iter().any(|case| case.family == family), "no case of family {family} was found");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[expect(clippy::print_stdout, reason = "verdicts are this test's output")]
fn say(line: &str) {
    println!("{line}");
}
