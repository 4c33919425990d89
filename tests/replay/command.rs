//! `offer-ranker replay estimate` as people and scripts meet it.

use assert_cmd::Command;
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Files of 200 rounds with two arms, of which the target always draws the first.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let round = |t: usize| format!("{t},{},0,{},0.5\n", t % 2, usize::from(t.is_multiple_of(4)));
    let rounds: String = (0..200).map(round).collect();
    fs::write(folder.path().join("rounds.csv"), format!("t,action,position,reward,pscore\n{rounds}")).unwrap();
    fs::write(folder.path().join("pi_e.csv"), "action,position,pi_e\n0,0,1\n1,0,0\n").unwrap();
    fs::write(folder.path().join("q_hat.csv"), "action,position,q_hat\n0,0,0.4\n1,0,0.1\n").unwrap();
    let shared = r#""pscore_joint": 0.5, "eval_pscore_joint": 0.25"#;
    let slate = format!(r#"{{"slate": [0, 1], "reward": [1, 0], {shared}}}"#);
    fs::write(folder.path().join("case.json"), format!(r#"{{"rounds": [{slate}, {slate}]}}"#)).unwrap();
    folder
}

/// The exit code, what was printed, and what went to standard error.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("offer-ranker").unwrap();
    let output = command.current_dir(folder).args(["replay", "estimate"]).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const ROUNDS: [&str; 4] = ["--rounds", "rounds.csv", "--target", "pi_e.csv"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ROUNDS.iter().chain(more).copied().collect()
}

#[test]
fn numbers_come_as_json_on_standard_output_or_in_a_file() {
    let folder = files();
    let (code, out, _) = run(folder.path(), &with(&["--rewards", "q_hat.csv", "--json"]));
    assert_eq!(code, 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    let value = |name: &str| report["estimators"][name]["value"].as_f64().unwrap();
    // Half of the first arm's rounds earned 1; each weighs 2.
    assert_eq!(["ips", "snips", "replay", "dm", "dr"].map(value), [0.5, 0.5, 0.5, 0.4, 0.5]);
    assert_eq!(report["verdict"]["refused"], Value::Bool(false));
    assert_eq!(report["diagnostics"]["ess_kish"].as_f64(), Some(100.0));
    assert!(report["estimators"]["switch_dr[2.0]"]["interval"][0].as_f64().unwrap() < 0.5);
    let (code, out, _) = run(folder.path(), &with(&["--rewards", "q_hat.csv", "--json", "report.json"]));
    assert_eq!((code, out.as_str()), (0, ""));
    let written: Value = serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
}

#[test]
fn chosen_estimators_are_the_same_as_among_all() {
    let folder = files();
    let report = |more: &[&str]| -> Value {
        let (code, out, _) = run(folder.path(), &with(&[&["--rewards", "q_hat.csv", "--json"], more].concat()));
        assert_eq!(code, 0);
        serde_json::from_str(&out).unwrap()
    };
    let all = report(&[]);
    for (names, found) in [
        ("ips,snips,dr", vec!["dr", "ips", "snips"]),
        ("replay", vec!["replay"]),
        ("sg_dr", vec!["sg_dr[0.0]", "sg_dr[0.01]", "sg_dr[0.1]", "sg_dr[0.5]", "sg_dr[1.0]"]),
    ] {
        let chosen = report(&["--estimators", names]);
        let estimators = chosen["estimators"].as_object().unwrap();
        assert_eq!(
            estimators.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            found.into_iter().collect()
        );
        for (name, estimator) in estimators {
            assert_eq!(estimator, &all["estimators"][name], "{name}");
        }
        for part in ["diagnostics", "verdict", "settings"] {
            assert_eq!(chosen[part], all[part], "{part}");
        }
    }
}

#[test]
fn estimators_that_are_none_or_lack_their_model_or_lambda_are_refused() {
    let folder = files();
    let (code, _, told) = run(folder.path(), &with(&["--estimators", "ips,dr"]));
    assert!(code == 1 && told.contains("--estimators dr: corrects a reward model; name its estimates"), "{told}");
    let (code, _, told) = run(folder.path(), &with(&["--estimators", "sg_ips", "--lambda", "5"]));
    assert!(code == 1 && told.contains("--estimators sg_ips: takes a lambda from 0 to 1"), "{told}");
    let (code, _, told) = run(folder.path(), &with(&["--estimators", "ipw"]));
    assert!(code == 2 && told.contains("'ipw'") && told.contains("possible values: replay, ips, snips"), "{told}");
}

#[test]
fn people_get_tables() {
    let (code, out, _) = run(files().path(), &with(&["--lambda", "2,0.5"]));
    assert_eq!(code, 0);
    assert!(out.contains("200 rows that know as much as 100") && out.contains("| ips_clip[2.0]"), "{out}");
    assert!(out.contains("SLOPE takes") && !out.contains("switch_dr") && !out.contains("ips_clip[5.0]"), "{out}");
}

#[test]
fn a_refusal_exits_with_two_and_force_prints_under_a_warning() {
    let folder = files();
    fs::write(folder.path().join("pi_e.csv"), "action,position,pi_e\n0,0,0\n1,0,0\n2,0,1\n").unwrap();
    let (code, out, _) = run(folder.path(), &ROUNDS);
    assert_eq!(code, 2);
    assert!(out.starts_with("refused:") && out.contains("[overlap]") && !out.contains("snips"), "{out}");
    let (code, out, _) = run(folder.path(), &with(&["--json"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["verdict"]["refused"], &report["estimators"]), (2, &Value::Bool(true), &Value::Null));
    let (code, out, _) = run(folder.path(), &with(&["--force", "--json"]));
    assert_eq!(code, 0);
    assert!(out.starts_with("{\n  \"warning\": "), "{out}");
    let (code, out, _) = run(folder.path(), &with(&["--force"]));
    assert_eq!(code, 0);
    assert!(out.starts_with("WARNING:") && out.contains("snips"), "{out}");
}

#[test]
fn wrong_files_exit_with_one_and_all_mistakes() {
    let folder = files();
    fs::write(folder.path().join("rounds.csv"), "t,action,position,reward,pscore\n0,0,0,1,2\n1,7,0,1,0.5\n").unwrap();
    let (code, out, errors) = run(folder.path(), &ROUNDS);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(errors.contains("rounds.csv:2:9: pscore") && errors.contains("rounds.csv:3:3: action"), "{errors}");
    let (code, _, errors) = run(folder.path(), &["--rounds", "missing.csv", "--target", "pi_e.csv"]);
    assert!(code == 1 && errors.contains("missing.csv: cannot be read"), "{errors}");
}

#[test]
fn slates_are_estimated_from_one_file() {
    let folder = files();
    let (code, out, _) = run(folder.path(), &["--slates", "case.json", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["verdict"]["refused"]), (2, &Value::Bool(true)));
    let (code, out, _) = run(folder.path(), &["--slates", "case.json", "--json", "--force"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["estimators"]["sips"]["value"].as_f64()), (0, Some(0.5)));
    assert_eq!(report["estimators"]["snsips"]["value"].as_f64(), Some(1.0));
    assert_eq!(report["estimators"]["rips"]["value"], Value::Null);
    let (code, out, _) = run(folder.path(), &["--slates", "case.json", "--force"]);
    assert!(code == 0 && out.starts_with("WARNING:") && out.contains("| snsips"), "{out}");
}

#[test]
fn slates_whose_probabilities_did_not_act_are_refused() {
    let folder = files();
    // Each slate is as likely under both policies; a third of what was logged is not what acted.
    let case = |pscore: f64| {
        let round = |reward: usize| {
            format!(
                r#"{{"slate": [0, 1], "reward": [{reward}, 0], "pscore_joint": {pscore}, "eval_pscore_joint": 0.3}}"#
            )
        };
        let rounds: Vec<String> = (0..400).map(|number| round(number % 2)).collect();
        fs::write(folder.path().join("many.json"), format!(r#"{{"rounds": [{}]}}"#, rounds.join(", "))).unwrap();
        let (code, out, errors) = run(folder.path(), &["--slates", "many.json", "--json"]);
        (code, serde_json::from_str::<Value>(&out).unwrap_or_default(), errors)
    };
    assert_eq!(case(0.3).0, 0);
    let (code, report, _) = case(0.1);
    assert_eq!((code, &report["verdict"]["reasons"][0]["check"]), (2, &Value::from("mean_weight")), "{report}");
    // One that is too small may lack a large weight that was not seen.
    let (code, report, _) = case(0.9);
    assert_eq!((code, &report["verdict"]["warnings"][0]["check"]), (0, &Value::from("slate_mean_weight")), "{report}");
    let (code, _, errors) = run(folder.path(), &["--slates", "many.json", "--reward-min=0", "--reward-max=0.5"]);
    assert!(code == 1 && errors.contains("200 of 800 rewards are outside of 0 to 0.5"), "{errors}");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let folder = files();
    for arguments in [
        &["--rounds", "rounds.csv"][..],
        &with(&["--slates", "case.json"]),
        &with(&["--alpha", "1"]),
        &with(&["--bootstrap", "100001"]),
        &with(&["--lambda", "inf"]),
        &["--slates", "case.json", "--cluster", "user"],
        &["--slates", "case.json", "--logging-floor", "0.1"],
        &["--slates", "case.json", "--lambda", "1"],
        &[],
    ] {
        let (code, _, errors) = run(folder.path(), arguments);
        assert!(code == 2 && errors.contains("error:"), "{errors}");
    }
}
