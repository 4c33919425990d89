//! Policies by the logs of other systems: with the propensities that they tell, and where they tell none.

use crate::scene::{draw, rng};
use offer_ranker::{
    engine::context::AttributeValue,
    replay::{
        assessment::{Assessment, Plan},
        estimators::Grids,
        evaluation::Range,
        files::table::Source,
        foreign::{
            Choice, open_bandit,
            policy::Policy,
            rows::{Rows, rows},
        },
        models::Kind,
        report::Report,
        support::arms::Pmfs,
        target::fit,
    },
};
use rand::RngExt as _;
use std::{fs::File, path::Path, process::Command, sync::Arc};
use tempfile::TempDir;

const ACTIONS: [&str; 3] = ["annual", "monthly", "none"];

/// How often a segment pays what it is shown, and how likely the log's policy shows it.
fn rates(new: bool) -> [f64; 3] {
    if new { [0.2, 0.5, 0.1] } else { [0.6, 0.3, 0.1] }
}

fn logging(new: bool) -> [f64; 3] {
    if new { [0.6, 0.2, 0.2] } else { [0.2, 0.5, 0.3] }
}

/// What the even policy earns: half of the users are new.
const EVEN: f64 = (0.2 + 0.5 + 0.1 + 0.6 + 0.3 + 0.1) / 6.0;

fn log(n: usize, seed: u64, told: bool) -> Vec<Choice> {
    let mut rng = rng(seed);
    let actions: Arc<[Arc<str>]> = ACTIONS.map(Arc::from).into();
    let one = |_| {
        let new = rng.random_bool(0.5);
        let action = draw(&logging(new), &mut rng);
        Choice {
            context: vec![("segment".into(), AttributeValue::Category(if new { "new" } else { "old" }.into()))],
            actions: actions.clone(),
            action,
            propensity: told.then(|| logging(new)[action]),
            probabilities: None,
            reward: Some(f64::from(u8::from(rng.random::<f64>() < rates(new)[action]))),
            position: 0,
            at: None,
            user: None,
        }
    };
    (0..n).map(one).collect()
}

fn report(Rows { mut drawn, weight_max, estimated, .. }: Rows, kind: Option<Kind>) -> Report {
    kind.into_iter().for_each(|kind| fit(kind, &mut drawn).unwrap());
    let mut assessment = Assessment::new(Plan {
        grids: Grids::default(),
        families: Vec::new(),
        model: kind.is_some(),
        clustered: false,
        reward: Some(Range::UNIT),
        alpha: 0.05,
        replicates: 0,
        seed: 1,
        fitted_propensities: estimated,
    });
    for drawn in &drawn {
        let logged = (!drawn.logged.is_empty()).then_some(&drawn.logged[..]);
        assessment.observe(&drawn.row, &Pmfs { logged, target: Some(&drawn.target) });
    }
    assessment.report(weight_max, true)
}

fn distance(report: &Report, name: &str, truth: f64) -> f64 {
    let named = report.estimators.iter().flatten().find(|(own, _)| own == name);
    let estimate = &named.unwrap_or_else(|| panic!("there is no {name}")).1;
    (estimate.value.unwrap() - truth).abs() / estimate.standard_error.unwrap()
}

#[test]
fn a_log_that_tells_propensities_is_evaluated_by_all_estimators() {
    let report = report(rows(&log(5_000, 1, true), &Policy::Uniform, None).unwrap(), Some(Kind::Ridge(10.0)));
    assert!(!report.verdict.refused, "{:?}", report.verdict);
    // Four standard errors leave out one run in 16,000; the seed is fixed.
    for name in ["ips", "snips", "dr"] {
        assert!(distance(&report, name, EVEN) < 4.0, "{name}: {:?}", report.estimators);
    }
    assert!((report.settings.weight_max - (1.0 / 3.0) / 0.2).abs() < 1e-12);
}

#[test]
fn a_log_without_propensities_is_flagged_and_evaluated_by_estimators_with_a_model_alone() {
    let choices = log(5_000, 2, false);
    let fitted = rows(&choices, &Policy::Uniform, None).unwrap();
    assert!(fitted.estimated);
    // Counts by segment know a probability up to sqrt(.25 / 2,000) = .011; five of those.
    for (choice, drawn) in choices.iter().zip(&fitted.drawn) {
        let new = choice.context[0].1 == AttributeValue::Category("new".into());
        let error = drawn.logged.iter().zip(logging(new)).map(|(p, truth)| (p - truth).abs()).fold(0.0, f64::max);
        assert!(error < 0.056, "{:?}", drawn.logged);
    }
    let report = report(fitted, Some(Kind::Ridge(10.0)));
    assert!(report.settings.fitted_propensities && !report.verdict.refused, "{:?}", report.verdict);
    assert!(report.verdict.warnings.iter().any(|finding| finding.check == "fitted_propensities"));
    let names: Vec<&str> = report.estimators.iter().flatten().map(|(name, _)| name.as_str()).collect();
    assert!(names.iter().all(|name| !name.contains("ips") && *name != "replay"), "{names:?}");
    assert!(distance(&report, "dr", EVEN) < 4.0, "{:?}", report.estimators);
}

#[test]
fn an_action_that_could_not_be_chosen_is_refused() {
    let never = Policy::Always("trial".into());
    let report = report(rows(&log(2_000, 3, true), &never, None).unwrap(), None);
    assert!(report.verdict.reasons.iter().any(|finding| finding.check == "overlap"), "{:?}", report.verdict);
    let possible = Policy::Always("annual".into());
    let report = self::report(rows(&log(2_000, 3, true), &possible, None).unwrap(), None);
    assert!(!report.verdict.refused, "{:?}", report.verdict);
}

#[test]
fn rows_of_one_user_are_one_cluster() {
    let mut choices = log(4, 4, true);
    for (choice, user) in choices.iter_mut().zip([Some("a"), None, Some("a"), Some("b")]) {
        choice.user = user.map(str::to_owned);
    }
    let clusters: Vec<u64> =
        rows(&choices, &Policy::Uniform, None).unwrap().drawn.iter().map(|drawn| drawn.row.cluster).collect();
    assert_eq!(clusters, [0, 1, 0, 3]);
}

#[test]
fn a_policy_holds_where_it_says_and_no_position_lends_another_its_own() {
    let mut choices = log(4, 4, true);
    choices.iter_mut().zip(0..).for_each(|(choice, position)| choice.position = position);
    let read =
        |text: &'static str| Policy::read(Source { name: "policy.csv".to_owned(), content: Box::new(text.as_bytes()) });
    let anywhere = rows(&choices, &read("action,probability\nannual,1\n").unwrap(), None).unwrap();
    assert_eq!((anywhere.drawn.len(), anywhere.left_out), (4, 0));
    let told = read("action,position,probability\nannual,1,1\nmonthly,3,1\n").unwrap();
    let by_position = rows(&choices, &told, None).unwrap();
    assert_eq!((by_position.drawn.len(), by_position.left_out), (2, 2));
    let empty = read("action,probability\n").unwrap_err().to_string();
    assert!(empty.contains("policy.csv: has no rows"), "{empty}");
}

/// The Open Bandit Dataset's sample, where it is beside the checkout (`../shared/data/obd`); nothing is tested without.
#[test]
fn thompson_sampling_s_log_is_refused_for_the_even_policy_and_the_even_policy_s_own_is_not() {
    let uniform_from = |policy: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/obd").join(policy).join("women");
        let open = |name: &str| {
            let content = Box::new(File::open(folder.join(name)).ok()?);
            Some(Source { name: name.to_owned(), content })
        };
        let mut choices = Vec::new();
        open_bandit::read(open("item_context.csv")?, open("women.csv.gz")?, |choice| choices.push(choice)).unwrap();
        Some(report(rows(&choices, &Policy::Uniform, None).unwrap(), None))
    };
    let (Some(thompson), Some(even)) = (uniform_from("bts"), uniform_from("random")) else { return };
    assert!(thompson.verdict.refused && !even.verdict.refused, "{:?} {:?}", thompson.verdict, even.verdict);
    assert_eq!(thompson.diagnostics.share_of_max_w.map(|share| (100.0 * share).round()), Some(69.0));
}

/// The path of a file that has this text now.
fn written(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn logs_that_say_too_little_are_refused_by_the_gate_and_wrong_flags_by_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| written(&folder, name, text);
    let mapping = "action: shown\nactions: [a, b]\nreward: paid\n";
    let told = file("told.yaml", &format!("{mapping}propensity: p\n"));
    let untold = file("untold.yaml", mapping);
    let rows = |row: &str, n: usize| format!("shown,paid,p\n{}", row.repeat(n));
    let one = file("one.csv", &rows("a,1,0.5\n", 1));
    let missing = file("missing.csv", &rows("a,,0.5\nb,,0.5\n", 200));
    let healthy = file("healthy.csv", &rows("a,1,0.5\nb,0,0.5\na,0,0.5\nb,1,0.5\n", 100));
    let run = |table: &str, mapping: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["replay", "foreign", "--always", "a", "--table", table, "--mapping", mapping]).args(more);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code().unwrap(), text)
    };
    for (table, mapping, more, code, says) in [
        (&healthy, &told, &[][..], 0, "400 choices"),
        (&one, &told, &[], 2, "effective_sample_size"),
        (&missing, &told, &[], 2, "missing_outcomes"),
        (&healthy, &untold, &["--model", "none"], 1, "starts from a reward model; choose one with --model"),
        (&healthy, &told, &["--logging-floor", "0.6"], 1, "400 of 400 propensities are below 0.6"),
        (&healthy, &told, &["--reward-min=0", "--reward-max=0.5"], 1, "200 of 400 rewards are outside of 0 to 0.5"),
        (&healthy, &told, &["--reward-min=5", "--reward-max=1"], 1, "the first below the second"),
        (&healthy, &told, &["--reward-min=0", "--reward-max=inf"], 1, "both must be finite"),
        (&healthy, &told, &["--reward-min=nan", "--reward-max=1"], 1, "both must be finite"),
    ] {
        let (exited, text) = run(table, mapping, more);
        assert!(exited == code && text.contains(says), "{more:?}: {exited} {text}");
    }
}

#[test]
fn the_command_reads_a_table_and_evaluates_tables_and_catalogs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| written(&folder, name, text);
    let mut table = String::from("shown,paid,p,segment\n");
    for choice in log(3_000, 5, true) {
        let AttributeValue::Category(segment) = &choice.context[0].1 else { panic!("a category") };
        let (action, paid, p) = (ACTIONS[choice.action], choice.reward.unwrap(), choice.propensity.unwrap());
        table += &format!("{action},{paid},{p},{segment}\n");
    }
    let table = file("log.csv", &table);
    let told = "action: shown\nactions: [annual, monthly, none]\nreward: paid\ncontext: { segment: category }\n";
    let mapping = file("mapping.yaml", &format!("{told}propensity: p\n"));
    let untold = file("untold.yaml", told);
    let policy = file("policy.csv", "action,probability\nannual,0.5\nmonthly,0.5\n");
    let catalog = file(
        "catalog.yaml",
        "
reward_currency: SEK
markets: [{ id: SE, currency_code: SEK }]
default_market: SE
metrics: [{ id: paid, kind: COUNT }]
offers:
  - { id: none, kind: NONE }
  - { id: annual, kind: STANDARD, plan: a, prices: { SE: { price: { currency_code: SEK, amount_minor: 9 } } } }
  - { id: monthly, kind: STANDARD, plan: m, prices: { SE: { price: { currency_code: SEK, amount_minor: 9 } } } }
placements:
  - id: paywall
    slots: 1
    offers: [none, annual, monthly]
    context: { attributes: [{ name: segment, category: { values: [new, old] } }] }
    policy: { fixed: { order: [monthly, annual, none] } }
    reward: { terms: [{ metric: paid, indicator: true }], min: 0, max: 1 }
    bounds: { floor: 0.1 }
    attribution_window_s: 60
",
    );
    let run = |mapping: &str, target: [&str; 2]| -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offer-ranker"));
        command.args(["replay", "foreign", "--json", "--table", &table, "--mapping", mapping]).args(target);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let near = |report: &serde_json::Value, estimator: &str, truth: f64| {
        let estimate = &report["estimators"][estimator];
        let (value, error) = (estimate["value"].as_f64().unwrap(), estimate["standard_error"].as_f64().unwrap());
        assert!((value - truth).abs() < 4.0 * error, "{estimator}: {value} +- {error}, and the truth is {truth}");
    };
    // By segment, half of the users each.
    let of = |weights: [f64; 3]| {
        [true, false].map(|new| rates(new).iter().zip(weights).map(|(rate, weight)| rate * weight).sum::<f64>() / 2.0)
    };
    let by_table = run(&mapping, ["--policy", &policy]);
    near(&by_table, "ips", of([0.5, 0.5, 0.0]).iter().sum());
    assert_eq!(by_table["propensities"], "logged");
    // Above floors of a tenth.
    near(&run(&mapping, ["--catalog", &catalog]), "dr", of([0.1, 0.8, 0.1]).iter().sum());
    let fitted = run(&untold, ["--policy", &policy]);
    assert_eq!(fitted["propensities"], "estimated");
    near(&fitted, "dr", of([0.5, 0.5, 0.0]).iter().sum());
}
