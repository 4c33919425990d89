//! Estimators and intervals on logs whose truth is known.

use crate::scene::{LOGGING, Log, TARGET, assessed, estimator, plan, row, truth};
use offer_ranker::replay::{
    assessment::Assessment,
    estimators::Grids,
    row::{Prediction, Row},
};
use std::sync::LazyLock;

/// Values of 400 logs of 500 rows, with a model that is wrong of every arm.
static VALUES: LazyLock<Vec<Vec<(String, f64)>>> = LazyLock::new(|| {
    let log = |seed| {
        let mut log = Log::new(&LOGGING, &TARGET, 500, seed);
        with_model(&mut log.rows);
        let report = log.report();
        let values = report.estimators.into_iter().flatten();
        values.filter_map(|(name, report)| Some((name, report.value?))).collect()
    };
    (0..400).map(log).collect()
});

/// A reward model that says .3 of arms 0 and 1, and .5 of the others.
fn with_model(rows: &mut [Row]) {
    let said = |arm: usize| if arm < 2 { 0.3 } else { 0.5 };
    let target = (0..4).map(|arm| TARGET[arm] * said(arm)).sum();
    rows.iter_mut().for_each(|row| row.model = Some(Prediction { logged: said(row.arm), target }));
}

/// The mean of an estimator over all logs, less the truth, in standard errors of that mean.
fn bias(name: &str) -> f64 {
    let values: Vec<f64> = VALUES.iter().flatten().filter(|(own, _)| own == name).map(|(_, value)| *value).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
    (mean - truth(&TARGET)) / (variance / n).sqrt()
}

#[test]
fn ips_and_doubly_robust_are_unbiased_whatever_the_model_says() {
    // Four standard errors: one seed in 15,000 would fail.
    for name in ["ips", "dr", "sg_ips[0.0]", "ips_clip[50.0]", "switch_dr[10.0]"] {
        assert!(bias(name).abs() < 4.0, "{name}: {}", bias(name));
    }
}

#[test]
fn a_wrong_model_and_clipped_weights_are_biased() {
    for name in ["dm", "ips_clip[1.0]", "switch_dr[0.5]", "dros[1.0]", "sg_ips[0.5]"] {
        assert!(bias(name).abs() > 10.0, "{name}: {}", bias(name));
    }
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let log = Log::healthy(1);
    let mut reversed = log.clone();
    reversed.rows.reverse();
    let [there, back] = [&log, &reversed].map(|log| estimator(&log.report(), "snips").clone());
    // Sums in pairs of doubles differ by their last bits, of 106.
    assert!((there.value.unwrap() - back.value.unwrap()).abs() < 1e-15);
    assert!((there.interval.unwrap()[0] - back.interval.unwrap()[0]).abs() < 1e-14);
}

#[test]
fn rewards_around_a_million_lose_nothing() {
    // All weights are 1, and rewards differ from a million by their own small parts: what is left of those in
    // variances is what they have without the million.
    let rows = |offset: f64| -> Vec<Row> {
        let one = |index: u32| row(u64::from(index), 0, 0.5, 0.5, offset + f64::from(index % 7) / 8.0);
        (0..1_000).map(one).collect()
    };
    let report = |offset: f64| {
        let mut assessment = Assessment::new(offer_ranker::replay::assessment::Plan { reward: None, ..plan() });
        rows(offset).iter().for_each(|row| assessment.observe(row, &Default::default()));
        assessment.report(0.0, true)
    };
    let [small, large] = [0.0, 1e6].map(report);
    for name in ["ips", "snips", "ips_clip[5.0]"] {
        let [small, large] = [&small, &large].map(|report| estimator(report, name));
        // A million's last place is 1.2e-10.
        assert!((large.value.unwrap() - 1e6 - small.value.unwrap()).abs() <= 1.2e-10);
        let [small, large] = [small, large].map(|report| report.standard_error.unwrap());
        assert!((large / small - 1.0).abs() < 1e-12, "{name}: {small} {large}");
    }
}

#[test]
fn undefined_is_told_and_not_guessed() {
    let rows: Vec<Row> = (0..100).map(|cluster| row(cluster, 0, 0.5, 0.0, 1.0)).collect();
    let report = assessed(&rows, Some(&[0.0, 1.0]), false);
    assert_eq!(estimator(&report, "ips").value, Some(0.0));
    let snips = estimator(&report, "snips");
    assert_eq!((snips.value, snips.interval, snips.standard_error), (None, None, None));
    let report = assessed(&[], None, false);
    assert_eq!(estimator(&report, "ips").value, None);
}

#[test]
fn on_its_own_log_a_policy_gains_nothing() {
    let mut rows = Log::healthy(3).rows;
    rows.iter_mut().for_each(|row| (row.target, row.weight_max) = (row.propensity, 1.0));
    let report = assessed(&rows, None, false);
    let ips = estimator(&report, "ips");
    let mean = rows.iter().filter_map(Row::reward).sum::<f64>() / rows.len() as f64;
    assert!((ips.value.unwrap() - mean).abs() < 1e-12);
    let gain = ips.gain.unwrap();
    assert_eq!(gain.value, 0.0);
    let [lower, upper] = gain.interval.unwrap();
    // What one unseen row could have done.
    assert!(lower <= 0.0 && upper >= 0.0 && upper - lower < 0.01, "{lower} {upper}");
}

#[test]
fn a_hyper_parameter_is_chosen_for_every_family() {
    let mut log = Log::healthy(4);
    with_model(&mut log.rows);
    let slope = log.report().slope.unwrap();
    let families: Vec<_> = slope.keys().copied().collect();
    assert_eq!(families, ["dr_clip", "dros", "ips_clip", "sg_dr", "sg_ips", "switch_dr"]);
    // 2 is more than any weight of the target's likely arms; .5 would halve the estimate.
    assert!(slope["ips_clip"] >= 2.0, "{slope:?}");
}

#[test]
fn given_values_take_the_place_of_the_grids() {
    let grids = Grids::of(&[0.5, 3.0]);
    let names: Vec<String> = grids.estimators(false).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["replay", "ips", "snips", "ips_clip[0.5]", "ips_clip[3.0]", "sg_ips[0.5]"]);
}
