//! The gate refuses each kind of log that cannot answer, and passes its healthy twin.

use crate::scene::{LOGGING, Log, TARGET, assessed, plan, rng, row};
use offer_ranker::{
    engine::{
        catalog::Selection,
        group::{Group, Groups},
    },
    replay::{
        assessment::{Assessment, Plan},
        report::Report,
        row::Outcome,
        support::{
            arms::Pmfs,
            groups::{Divided, Division},
        },
    },
};
use rand::{RngExt as _, seq::SliceRandom as _};

fn reasons(report: &Report) -> Vec<&'static str> {
    report.verdict.reasons.iter().map(|finding| finding.check).collect()
}

fn refuses(log: &Log, check: &str) {
    let report = log.report();
    assert!(report.verdict.refused && reasons(&report).contains(&check), "{:?}", report.verdict);
}

fn passes(log: &Log) {
    let report = log.report();
    assert!(!report.verdict.refused, "{:?}", report.verdict);
}

#[test]
fn a_target_that_the_log_never_follows_is_refused() {
    refuses(&Log::new(&[0.6, 0.3, 0.1, 0.0], &TARGET, 2_000, 1), "overlap");
    passes(&Log::new(&[0.6, 0.3, 0.05, 0.05], &TARGET, 2_000, 1));
}

#[test]
fn arms_that_were_never_drawn_are_found_in_rounds_without_pmfs() {
    let mut log = Log::new(&[0.6, 0.3, 0.1, 0.0], &TARGET, 2_000, 1);
    log.rows.iter_mut().for_each(|row| row.unsupported = 0.0);
    refuses(&log, "overlap");
}

#[test]
fn one_row_that_carries_all_is_refused() {
    let healthy = Log::healthy(2);
    passes(&healthy);
    let mut log = healthy;
    log.rows.push(row(9_999, 3, 1e-4, 0.3, 1.0));
    refuses(&log, "largest_weight");
}

#[test]
fn many_rows_of_few_users_are_refused() {
    let mut log = Log::healthy(30);
    let by_user = |log: &Log| assessed(&log.rows, Some(&log.target), true);
    assert!(!by_user(&log).verdict.refused);
    // 100 users of 20 rows know enough; 40 do not; and nor do 2,000 rows most of which are of one.
    let dealt = |log: &mut Log, user: fn(u64) -> u64| {
        (0..).zip(&mut log.rows).for_each(|(number, row)| row.cluster = user(number));
    };
    dealt(&mut log, |number| number % 100);
    assert!(!by_user(&log).verdict.refused, "{:?}", by_user(&log).verdict);
    dealt(&mut log, |number| number % 40);
    assert_eq!(reasons(&by_user(&log)), ["effective_sample_size"]);
    dealt(&mut log, |number| if number % 5 == 0 { 0 } else { number });
    assert_eq!(reasons(&by_user(&log)), ["effective_sample_size", "largest_weight"]);
    dealt(&mut log, |_| 0);
    assert!(reasons(&by_user(&log)).starts_with(&["effective_sample_size", "largest_weight"]));
}

#[test]
fn propensities_of_one_where_something_else_could_be_drawn_are_refused() {
    let even = Log::new(&[0.7, 0.3], &[0.5, 0.5], 2_000, 31);
    passes(&even);
    for wrong in [1.0, 0.99] {
        let mut log = even.clone();
        log.rows.iter_mut().for_each(|row| (row.propensity, row.weight_max) = (wrong, 0.5 / wrong));
        refuses(&log, "mean_weight");
    }
    // Weights that are all 1 are right, and so is what lacks to 1 where the target goes and the log does not.
    passes(&Log::new(&[0.7, 0.3], &[0.7, 0.3], 2_000, 31));
    passes(&Log::new(&[0.5, 0.5, 0.0], &[0.4975, 0.4975, 0.005], 2_000, 31));
    // 600 arms as likely, whose propensities are written with six digits.
    let mut log = Log { rows: Vec::new(), target: vec![1.0 / 600.0; 600] };
    log.rows.extend(
        (0..6_000).map(|n| row(n, n as usize % 600, 0.001_667, 1.0 / 600.0, f64::from(u8::from(n.is_multiple_of(3))))),
    );
    log.rows.iter_mut().for_each(|row| row.weight_max = row.weight());
    passes(&log);
}

#[test]
fn weights_whose_rarer_value_was_hardly_seen_are_no_alarm() {
    // The target never draws the second arm, which the log draws five times in a thousand: five rows or so weigh nothing, and
    // all others a little more than 1. With as few as none at all the mean weight is no further from 1 than that.
    for drawn in 0..20 {
        let one = |n: u64| match n < drawn {
            true => row(n, 1, 0.005, 0.0, 0.0),
            false => row(n, 0, 0.995, 1.0, f64::from(u8::from(n.is_multiple_of(3)))),
        };
        let mut log = Log { rows: (0..1_000).map(one).collect(), target: vec![1.0, 0.0] };
        log.rows.iter_mut().for_each(|row| row.weight_max = 1.0 / 0.995);
        let report = log.report();
        assert!(!reasons(&report).contains(&"mean_weight"), "{drawn} drawn: {:?}", report.verdict);
    }
}

#[test]
fn a_log_whose_windows_are_all_open_is_told_to_wait() {
    let mut assessment = Assessment::new(plan());
    assessment.leave_open(3_000);
    let report = assessment.report(0.0, false);
    assert!(report.verdict.refused && reasons(&report).contains(&"immature_window"), "{:?}", report.verdict);
    // Those of the last days are open in every log that goes on.
    let log = Log::healthy(32);
    let mut assessment = Assessment::new(plan());
    log.rows.iter().for_each(|row| assessment.observe(row, &Pmfs { logged: None, target: Some(&log.target) }));
    assessment.leave_open(500);
    let verdict = assessment.report(0.0, false).verdict;
    assert!(!verdict.refused && verdict.warnings[0].check == "open_windows", "{verdict:?}");
    assert!(verdict.warnings[0].found.starts_with("the windows of 500 decisions"), "{verdict:?}");
}

#[test]
fn rows_without_outcomes_are_refused() {
    let mut log = Log::healthy(3);
    passes(&log);
    // One in a hundred is borne.
    log.rows.iter_mut().step_by(100).for_each(|row| row.outcome = Outcome::Missing);
    passes(&log);
    log.rows.iter_mut().for_each(|row| row.outcome = Outcome::Missing);
    refuses(&log, "missing_outcomes");
    assert_eq!(log.report().estimators.unwrap()[1].1.value, None);
}

#[test]
fn rows_whose_windows_are_open_are_refused() {
    let mut log = Log::healthy(4);
    passes(&log);
    log.rows.iter_mut().step_by(5).for_each(|row| row.outcome = Outcome::Immature(0.0));
    refuses(&log, "immature_window");
}

/// Two arms, the first drawn with a probability that differs from row to row; the target always draws the first.
fn first_arm(propensity: impl Fn(f64) -> f64, n: u64, seed: u64) -> Log {
    let mut rng = rng(seed);
    let one = |cluster| {
        let p = propensity(rng.random());
        match rng.random::<f64>() < p {
            true => row(cluster, 0, p, 1.0, f64::from(u8::from(rng.random::<f64>() < 0.3))),
            false => row(cluster, 1, 1.0 - p, 0.0, 0.0),
        }
    };
    Log { rows: (0..n).map(one).collect(), target: vec![1.0, 0.0] }
}

#[test]
fn a_heavy_tail_of_weights_is_refused() {
    // P(p < x) = x^(1/8), so that P(weight > t) falls like t^-(9/8): no variance, and barely a mean.
    refuses(&first_arm(|u| u.powi(8), 100_000, 5), "heavy_tail");
    passes(&first_arm(|u| 0.2 + 0.8 * u, 100_000, 5));
}

#[test]
fn shuffled_propensities_are_refused() {
    let mut log = Log::healthy(6);
    passes(&log);
    let mut propensities: Vec<f64> = log.rows.iter().map(|row| row.propensity).collect();
    propensities.shuffle(&mut rng(7));
    log.rows.iter_mut().zip(propensities).for_each(|(row, propensity)| row.propensity = propensity);
    refuses(&log, "propensities");
    // On all but one row in ten they are right: it still shows.
    let mut log = Log::new(&LOGGING, &TARGET, 50_000, 6);
    passes(&log);
    let mut propensities: Vec<f64> = log.rows.iter().step_by(10).map(|row| row.propensity).collect();
    propensities.shuffle(&mut rng(7));
    log.rows.iter_mut().step_by(10).zip(propensities).for_each(|(row, propensity)| row.propensity = propensity);
    assert!(log.report().verdict.refused, "{:?}", log.report().verdict);
}

#[test]
fn propensities_that_leave_room_for_more_arms_than_there_are_are_refused() {
    // Fifty arms, drawn evenly, and told a tenth too small: of each arm alone 40 draws say too little of that, and a
    // target that is sure of one arm has weights that are too few to tell.
    let arms = 50_u16;
    let log = |told: f64| {
        let mut rng = rng(12);
        let one = |cluster| {
            let arm = usize::from(rng.random_range(0..arms));
            row(cluster, arm, told / f64::from(arms), if arm == 0 { 1.0 } else { 0.0 }, 1.0)
        };
        let mut target = vec![0.0; usize::from(arms)];
        target[0] = 1.0;
        Log { rows: (0..4_000).map(one).collect(), target }
    };
    passes(&log(1.0));
    let report = log(0.9).report();
    assert_eq!(reasons(&report), ["inverse_propensities"]);
}

#[test]
fn a_day_with_wrong_propensities_is_refused() {
    let mut log = Log::new(&LOGGING, &TARGET, 20_000, 8);
    log.rows.iter_mut().enumerate().for_each(|(index, row)| row.day = Some(index as u32 / 2_000));
    passes(&log);
    log.rows[4_000..6_000].iter_mut().for_each(|row| row.propensity = 0.25);
    refuses(&log, "mean_weight_by_day");
}

#[test]
fn few_rows_are_refused() {
    refuses(&Log::new(&LOGGING, &TARGET, 30, 9), "effective_sample_size");
}

#[test]
fn honest_logs_pass() {
    // Every family of tests trips with probability 1e-4 at most, and there are four: of 300, one in ten times one.
    let refused: Vec<_> =
        (0..300).map(|seed| Log::healthy(1_000 + seed).report().verdict).filter(|verdict| verdict.refused).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn what_the_gate_refuses_has_no_number_unless_forced() {
    let rows = Log::new(&LOGGING, &TARGET, 30, 9).rows;
    let mut assessment = Assessment::new(plan());
    rows.iter().for_each(|row| assessment.observe(row, &Pmfs::default()));
    let refused = assessment.report(0.0, false);
    assert!(refused.verdict.refused && refused.estimators.is_none() && refused.slope.is_none());
    let forced = assessed(&rows, None, false);
    assert!(forced.verdict.refused && forced.warning.is_some() && forced.estimators.is_some());
}

/// The report on a healthy log whose units fell into groups like this.
fn divided(divisions: &[(&str, [u64; 2])]) -> Report {
    let mut assessment = Assessment::new(plan());
    Log::healthy(10).rows.iter().for_each(|row| assessment.observe(row, &Pmfs::default()));
    let division = |&(of, [first, second]): &(&str, [u64; 2])| Division {
        of: of.to_owned(),
        units: vec![(first, 0.9), (second, 0.1)],
    };
    assessment.divide(divisions.iter().map(division).collect());
    assessment.report(0.0, true)
}

#[test]
fn groups_out_of_their_shares_are_refused() {
    let judge = |second: u64| reasons(&divided(&[("of the log", [2_000 - second, second])]));
    // 200 of 2,000 are expected, with a standard deviation of 13.
    assert_eq!([200, 230].map(|second| judge(second).len()), [0, 0]);
    assert_eq!([130, 270].map(judge), [["sample_ratio"], ["sample_ratio"]]);
    // Of a few units one may be in a small group; chance does that once in ten times.
    assert_eq!(reasons(&divided(&[("of the log", [0, 1])])), [""; 0]);
}

#[test]
fn groups_out_of_their_shares_under_one_policy_are_refused_by_its_name() {
    // Half of a small group is lost under one revision, which the log as a whole does not show: 1,000 less 50, with a
    // standard deviation of 30.
    let healthy = divided(&[
        ("of the log", [9_000, 1_000]),
        ("under revision 1", [8_100, 900]),
        ("under revision 2", [900, 100]),
    ]);
    assert_eq!(reasons(&healthy), [""; 0]);
    let lost =
        divided(&[("of the log", [9_000, 950]), ("under revision 1", [8_100, 900]), ("under revision 2", [900, 50])]);
    assert_eq!(reasons(&lost), ["sample_ratio"]);
    assert!(lost.verdict.reasons[0].found.contains("under revision 2"), "{:?}", lost.verdict);
}

fn warnings(log: &Log) -> Vec<&'static str> {
    log.report().verdict.warnings.iter().map(|finding| finding.check).collect()
}

#[test]
fn rewards_that_drift_from_the_first_days_to_the_last_are_warned_of() {
    let mut log = Log::new(&LOGGING, &TARGET, 20_000, 13);
    log.rows.iter_mut().enumerate().for_each(|(index, row)| row.day = Some(index as u32 / 2_000));
    assert_eq!(warnings(&log), [""; 0]);
    // A fifth of the rewards of the second half is gone: .044 of .22 a row, and the difference's standard error is .006.
    let rewarded = log.rows[10_000..].iter_mut().filter(|row| row.outcome == Outcome::Reward(1.0));
    rewarded.step_by(5).for_each(|row| row.outcome = Outcome::Reward(0.0));
    assert_eq!(warnings(&log), ["drift"]);
    passes(&log);
    // Without days nothing can be said of them.
    log.rows.iter_mut().for_each(|row| row.day = None);
    assert_eq!(warnings(&log), [""; 0]);
}

#[test]
fn few_rewarded_rows_are_warned_of() {
    let mut log = Log::healthy(14);
    assert_eq!(warnings(&log), [""; 0]);
    let rewarded = log.rows.iter_mut().filter(|row| row.outcome == Outcome::Reward(1.0));
    rewarded.skip(5).for_each(|row| row.outcome = Outcome::Reward(0.0));
    assert_eq!(warnings(&log), ["few_rewards"]);
}

#[test]
fn a_range_of_rewards_that_is_not_declared_is_warned_of() {
    let warnings = |factor: f64| -> Vec<&str> {
        let mut assessment = Assessment::new(Plan { reward: None, ..plan() });
        for row in &mut Log::healthy(15).rows {
            row.outcome = Outcome::Reward(factor * row.reward().unwrap());
            assessment.observe(row, &Pmfs::default());
        }
        assessment.report(0.0, true).verdict.warnings.iter().map(|finding| finding.check).collect()
    };
    // From 0 to 1 is a matter of course.
    assert_eq!(warnings(1.0), [""; 0]);
    assert_eq!(warnings(9.0), ["reward_range"]);
}

#[test]
fn a_unit_counts_once_in_its_group_however_often_it_came() {
    let groups = Groups { uniform: 0.5, holdout: 0.0, holdout_selection: Selection::Uniform, salt: 0 };
    let mut divided = Divided::default();
    // Half of the units came ten times.
    for unit in 0..2_000_u64 {
        let mut unit_key = [0; 16];
        unit_key[..8].copy_from_slice(&unit.to_le_bytes());
        let group = if unit < 1_000 { Group::Uniform } else { Group::Decisioning };
        (0..if unit < 1_000 { 10 } else { 1 }).for_each(|_| divided.count(&groups, &unit_key, group));
    }
    let division = Division { of: "of the log".to_owned(), units: vec![(1_000, 0.5), (1_000, 0.5)] };
    assert_eq!(divided.divisions("of the log").collect::<Vec<_>>(), [division]);
    // Nobody is divided where there is one group.
    let mut divided = Divided::default();
    divided.count(&Groups { uniform: 0.0, ..groups }, &[0; 16], Group::Decisioning);
    assert_eq!(divided.divisions("of the log").count(), 0);
}

#[test]
fn full_pmfs_speak_against_arms_that_were_drawn_too_rarely() {
    let judge = |logging: &[f64]| {
        let log = Log::healthy(11);
        let mut assessment = Assessment::new(plan());
        let pmfs = Pmfs { logged: Some(logging), target: Some(&log.target) };
        log.rows.iter().for_each(|row| assessment.observe(row, &pmfs));
        reasons(&assessment.report(0.0, true))
    };
    assert_eq!(judge(&LOGGING), [""; 0]);
    // Drawn with a tenth each, and told otherwise.
    assert_eq!(judge(&[0.5, 0.3, 0.05, 0.15]), ["propensities"]);
}
