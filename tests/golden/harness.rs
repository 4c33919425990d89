//! The harness itself: what must not pass does not.

use super::{
    cases::Library,
    verdicts::{Verdict, judge},
};
use std::fs;

/// The verdicts on a folder with this file.
fn judged(name: &str, text: &str) -> (Vec<Verdict>, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(name), text).expect("a file");
    let library = Library::of(&[folder.path().to_owned()]);
    (judge(&library, "PT"), library.unreadable)
}

fn fails(text: &str, why: &str) {
    let (verdicts, _) = judged("bad.json", text);
    let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.failed).collect();
    assert_eq!(failed.len(), 1, "one case of {text} must fail");
    assert!(failed[0].words.starts_with("FAIL") && failed[0].words.contains(why), "{}", failed[0].words);
}

/// A Beta case with one more key, or none.
fn beta(id: &str, mean: &str, more: &str) -> String {
    format!(
        r#"{{"id": "{id}", "prior": {{"alpha": 1, "beta": 1}}, "events_arm_reward": [[0, 1], [0, 1]],
        "posterior_plain": {{"0": {{"alpha": 3, "beta": 1, "mean": {mean}}}}}{more}}}"#
    )
}

#[test]
fn golden_cases_are_checked_by_their_keys_whatever_their_number() {
    let thompson = r#"{"id": "T80", "family": "normal", "params": [{"mean": 0, "sd": 1}, {"mean": 0, "sd": 2}],
        "p_best": [0.5, 0.5]}"#;
    for case in [beta("P10_more", "0.75", ""), thompson.to_owned()] {
        let (verdicts, unreadable) = judged("more.json", &case);
        assert_eq!((verdicts.len(), unreadable.len()), (1, 0));
        assert!(verdicts[0].words.starts_with("ok"), "{}", verdicts[0].words);
    }
    fails(&beta("P10_more", "0.76", ""), "posterior_plain.0.mean");
    fails(&thompson.replace("[0.5, 0.5]", "[0.4, 0.6]"), "p_best[0]");
}

#[test]
fn golden_keys_that_nobody_knows_fail_by_name() {
    fails(&beta("P01", "0.75", r#", "sum_of_something": 1"#), "sum_of_something");
    fails(&beta("P01", "0.75", r#", "notes": "some words""#), "notes");
    fails(r#"{"id": "P11", "mystery": 1, "puzzle": 2}"#, "mystery, puzzle");
    fails(r#"{"id": "T81", "mystery": 1}"#, "mystery");
    fails(r#"{"id": "T82", "params": [{"alpha": 1, "beta": 1, "odd": 1}], "p_best": [1]}"#, "params.odd");
}

#[test]
fn golden_cases_without_anything_to_compare_fail() {
    fails(r#"{"id": "T83", "family": "beta", "params": [{"alpha": 1, "beta": 1}]}"#, "nothing to compare");
}

#[test]
fn golden_cases_that_lack_something_fail_alone() {
    let broken = r#"{"id": "P12", "events_arm_reward": [[0, 1]], "posterior": {"0": {"mean": 1}}}"#;
    let (verdicts, _) = judged("two.json", &format!(r#"{{"cases": [{broken}, {}]}}"#, beta("P13", "0.75", "")));
    let failed: Vec<(&str, bool)> = verdicts.iter().map(|verdict| (verdict.id.as_str(), verdict.failed)).collect();
    assert_eq!(failed, [("P12", true), ("P13", false)]);
}

#[test]
fn golden_files_and_folders_that_hold_no_case_are_named() {
    for (name, text) in [("P.json", "{"), ("P.json", "[]"), ("P.json", r#"{"cases": 1}"#), ("P.txt", "")] {
        assert_eq!(judged(name, text).1.len(), 1, "{name} with {text}");
    }
    let missing = tempfile::tempdir().expect("a folder").path().join("missing");
    assert_eq!(Library::of(&[missing]).unreadable.len(), 1);
}

#[test]
fn golden_cases_refer_to_those_of_their_own_folder() {
    let folders = [1.0, 2.0].map(|y| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: String| {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            fs::write(folder.path().join(name).join("case.json"), text).expect("a file");
        };
        let posterior = |mean: f64| format!(r#"{{"mean": [{mean}]}}"#);
        let prior = r#""prior": {"lambda": 1, "a": 1, "b": 1}"#;
        write("P20_a", format!(r#"{{"X": [[1]], "y": [{y}], {prior}, "posterior": {}}}"#, posterior(y / 2.0)));
        write("P21_b", format!(r#"{{"X_y": "as P20", {prior}, "posterior": {}}}"#, posterior(y / 2.0)));
        folder
    });
    let library = Library::of(&folders.each_ref().map(|folder| folder.path().to_owned()));
    let verdicts = judge(&library, "P");
    assert_eq!(verdicts.len(), 4);
    verdicts.iter().for_each(|verdict| assert!(!verdict.failed, "{} {}", verdict.id, verdict.words));
}

#[test]
fn golden_rounds_are_found_beside_their_case_and_by_name_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    };
    write("G80_a/rounds.csv", "t,action,position,reward,pscore\n0,0,0,1,0.5\n1,1,0,1,0.5\n");
    write("G80_a/pi_e.csv", "action,position,pi_e\n0,0,0.75\n1,0,0.25\n");
    let case = |ips: &str, path: &str| {
        format!(
            r#"{{"files": {{"rounds": "{path}rounds.csv", "pi_e": "{path}pi_e.csv"}}, "layout": {{}},
            "estimators": {{"ips": {{"obp": {ips}, "independent": 1.0}}}}, "diagnostics": {{"n": 2, "max_w": 1.5}}}}"#
        )
    };
    write("G80_a/case.json", &case("1.0", ""));
    write("G81_b/case.json", &case("1.0", "G80_a/"));
    write("G82_c/case.json", &case("1.1", "G80_a/"));
    write("G83_d/case.json", r#"{"files": {}, "estimators": {}}"#);
    let verdicts = judge(&Library::of(&[folder.path().to_owned()]), "G");
    let failed: Vec<bool> = verdicts.iter().map(|verdict| verdict.failed).collect();
    assert_eq!(failed, [false, false, true, true]);
    assert!(verdicts[2].words.contains("ips by obp: is 1, must be 1.1"), "{}", verdicts[2].words);
}
