//! `replay foreign --dsjson` from end to end: on real lines, on lines whose result is known, and on lines that are wrong.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Lines of a decision service beside the checkout (`../shared/data/vw_logs`); `None` where they are not.
fn real(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/vw_logs").join(name);
    path.exists().then_some(path)
}

fn run(log: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
    command.args(["replay", "foreign", "--json", "--model", "none", "--dsjson"]).arg(log).args(arguments);
    command.output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn value(report: &Value, estimator: &str) -> f64 {
    report["estimators"][estimator]["value"].as_f64().unwrap_or_else(|| panic!("{estimator}: {report:#}"))
}

fn near(ours: f64, expected: f64, what: &str) {
    // Sums of at most 200 doubles, divided once.
    assert!((ours - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{what}: {ours}, {expected}");
}

/// A policy by name, and its probability of an action among so many.
type Target = (&'static [&'static str], fn(&str, usize) -> f64);

#[test]
fn real_lines_come_to_what_their_text_says() {
    let even: Target = (&["--uniform"], |_, actions| 1.0 / actions as f64);
    let latte: Target = (&["--always", "Latte"], |action, _| f64::from(u8::from(action == "Latte")));
    for (name, (arguments, probability)) in
        [("dsjson_cb.json", even), ("dsjson_cb.json", latte), ("decisionservice.json", even)]
    {
        let Some(path) = real(name) else { return };
        let (mut weights, mut weighted) = (Vec::new(), 0.0);
        for line in fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap())
        {
            let actions = line["c"]["_multi"].as_array().unwrap();
            let chosen = &actions[line["_label_Action"].as_u64().unwrap() as usize - 1]["i"]["id"];
            let weight = probability(chosen.as_str().unwrap(), actions.len()) / line["p"][0].as_f64().unwrap();
            weights.push(weight);
            weighted -= weight * line["_label_cost"].as_f64().unwrap();
        }
        let n = weights.len() as f64;
        let (sum, squares): (f64, f64) = (weights.iter().sum(), weights.iter().map(|weight| weight * weight).sum());

        // A few lines carry no number, and the gate says so.
        let refused = run(&path, arguments);
        assert_eq!(refused.status.code(), Some(2), "{name} {arguments:?}");
        let refused = report(&refused);
        assert!(refused["estimators"].is_null() && refused["verdict"]["refused"] == true, "{refused:#}");
        let checks: Vec<&Value> =
            refused["verdict"]["reasons"].as_array().unwrap().iter().map(|reason| &reason["check"]).collect();
        assert!(checks.contains(&&Value::from("effective_sample_size")), "{checks:?}");

        let forced = run(&path, &[arguments, &["--force"]].concat());
        assert_eq!(forced.status.code(), Some(0));
        let forced = report(&forced);
        assert_eq!((forced["choices"].as_f64(), forced["propensities"].as_str()), (Some(n), Some("logged")));
        assert!(forced["warning"].is_string(), "{forced:#}");
        near(value(&forced, "ips"), weighted / n, "ips");
        near(value(&forced, "snips"), weighted / sum, "snips");
        near(forced["diagnostics"]["mean_w"].as_f64().unwrap(), sum / n, "mean weight");
        near(forced["diagnostics"]["ess_kish"].as_f64().unwrap(), sum * sum / squares, "effective sample size");
    }
}

/// A line that chose `tea` (action 1, .8) or `coffee` (.2).
fn line(event: usize, tea: bool, cost: Option<f64>) -> String {
    let (a, p) = if tea { ("[1,2]", "[0.8,0.2]") } else { ("[2,1]", "[0.2,0.8]") };
    let cost = cost.map_or_else(String::new, |cost| format!("\"_label_cost\":{cost:?},"));
    format!(
        r#"{{{cost}"EventId":"e{event}","a":{a},"p":{p},"c":{{"day":"Mon","_multi":[{{"i":{{"id":"tea"}}}},{{"i":{{"id":"coffee"}}}}]}}}}"#
    )
}

/// 80 of tea, 20 of which earn 1, and 20 of coffee, of which 10 do.
fn lines() -> Vec<String> {
    let of = |event: usize, tea: bool, earns: bool| line(event, tea, Some(if earns { -1.0 } else { -0.0 }));
    (0..80)
        .map(|event| of(event, true, event < 20))
        .chain((80..100).map(|event| of(event, false, event < 90)))
        .collect()
}

fn file(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn lines_whose_result_is_known_come_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = lines();
    // No choices: a reward that came late, and an action that was never activated.
    lines.insert(3, r#"{"EventId":"e0","RewardValue":1}"#.to_owned());
    lines.insert(9, line(200, false, Some(-1.0)).replacen('{', r#"{"_skipLearn":true,"#, 1));
    // One that was, said in words.
    lines[10] = lines[10].replacen('{', r#"{"_skipLearn":null,"#, 1);
    let log = file(folder.path(), "log.json", &lines);
    let policy = folder.path().join("policy.csv");
    fs::write(&policy, "action,probability\ntea,0.5\ncoffee,0.5\n").unwrap();

    for arguments in [&["--uniform"][..], &["--policy", policy.to_str().unwrap()]] {
        let answered = run(&log, arguments);
        assert_eq!(answered.status.code(), Some(0), "{}", String::from_utf8_lossy(&answered.stderr));
        let report = report(&answered);
        assert_eq!(report["choices"], 100);
        // Weights .5/.8 and .5/.2: 20 of the one and 10 of the other earn, and all together average to 1.
        near(value(&report, "ips"), (20.0 * 0.625 + 10.0 * 2.5) / 100.0, "ips");
        near(value(&report, "snips"), 0.375, "snips");
        near(report["diagnostics"]["mean_w"].as_f64().unwrap(), 1.0, "mean weight");
        near(report["diagnostics"]["ess_kish"].as_f64().unwrap(), 1e4 / (80.0 * 0.390_625 + 20.0 * 6.25), "equal rows");
        near(report["settings"]["weight_max"].as_f64().unwrap(), 2.5, "largest weight by design");
    }
    // What is always shown earns what its rows earn, by the counts: weights are 1/.8.
    let always = report(&run(&log, &["--always", "tea"]));
    near(value(&always, "ips"), 20.0 * 1.25 / 100.0, "always tea");
    near(value(&always, "replay"), 20.0 / 80.0, "always tea, by replay");
}

#[test]
fn costs_that_are_missing_are_counted_and_refused_where_they_are_many() {
    let folder = tempfile::tempdir().unwrap();
    for (missing, code) in [(5, 0), (6, 2)] {
        let mut lines = lines();
        (0..missing).for_each(|index| lines[30 + index] = line(30 + index, true, None));
        let answered = run(&file(folder.path(), "log.json", &lines), &["--uniform"]);
        let report = report(&answered);
        assert_eq!(answered.status.code(), Some(code), "{report:#}");
        assert_eq!(report["diagnostics"]["missing_outcomes"], missing);
        let refused = report["verdict"]["reasons"].to_string().contains("missing_outcomes");
        assert_eq!(refused, code == 2);
    }
}

#[test]
fn lines_that_are_wrong_are_told_by_number_with_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let good = line(1, true, Some(-1.0));
    let multi = r#""_multi":[{"i":{"id":"tea"}},{"i":{"id":"coffee"}}]"#;
    let lines = [
        good.clone(),
        good[..good.len() / 2].to_owned(),
        line(2, true, Some(-1.0)).replace("[0.8,0.2]", "[0.8,0.3]"),
        line(3, true, Some(-1.0)).replace("[0.8,0.2]", "[1.8,-0.8]"),
        line(4, true, Some(-1.0)).replace("[0.8,0.2]", "[0,1]"),
        good.clone(),
        format!(
            r#"{{"EventId":"e5","c":{{{multi},"_slots":[{{"_id":"s1"}}]}},"_outcomes":[{{"_label_cost":-1,"_id":"s1","_a":[0],"_p":[0.8]}}]}}"#
        ),
        format!(
            r#"{{"EventId":"e6","_label_cost":-1,"a":[1,2],"p":[0.8,0.2],"c":{{{multi},"_slots":[{{"a":1}},{{"a":2}}]}}}}"#
        ),
        line(7, true, None).replacen('{', r#"{"_label_cost":"low","#, 1),
        line(8, false, Some(0.0)).replacen('{', r#"{"pdrop":0.5,"#, 1),
    ];
    let log = file(folder.path(), "log.json", &lines);
    let wrong = run(&log, &["--uniform"]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(1), 0));
    let told = String::from_utf8(wrong.stderr).unwrap();
    for (number, words) in [
        (2, "is no JSON object of a choice"),
        (3, "sum to 1.1, must sum to 1"),
        (4, "must be from 0 to 1"),
        (5, "must be above 0"),
        (6, r#"has the EventId "e1" of line 1, must have its own"#),
        (7, "only choices of one are read"),
        (8, "only choices of one are read"),
        (9, "expected f64"),
        (10, "pdrop"),
    ] {
        let line = told.lines().find(|line| line.contains(&format!("log.json:{number}:")));
        assert!(line.is_some_and(|line| line.contains(words)), "line {number}, {words}: {told}");
    }
    assert!(told.contains("9 mistakes, nothing was estimated"), "{told}");
}
