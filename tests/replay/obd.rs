//! The Open Bandit Dataset's sample, where it is beside the checkout (`../shared/data/obd`); nothing is tested without.

use crate::scene::{plan, row};
use flate2::read::GzDecoder;
use offer_ranker::replay::{
    assessment::{Assessment, Plan},
    report::Report,
    row::Row,
    support::arms::Pmfs,
};
use serde::Deserialize;
use std::{fs::File, path::Path};

#[derive(Deserialize)]
struct Line {
    item_id: usize,
    position: usize,
    click: f64,
    propensity_score: f64,
}

/// What the uniform policy would have earned by a campaign's log; `None` where the data are not here.
fn uniform_from(policy: &str, campaign: &str, items: usize) -> Option<Report> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/obd").join(policy).join(campaign);
    let content = GzDecoder::new(File::open(folder.join(format!("{campaign}.csv.gz"))).ok()?);
    let target = vec![1.0 / items as f64; items];
    let mut assessment = Assessment::new(Plan { ..plan() });
    for (number, line) in csv::Reader::from_reader(content).deserialize::<Line>().enumerate() {
        let Line { item_id, position, click, propensity_score } = line.expect("a row");
        let drawn = row(number as u64, item_id, propensity_score, target[item_id], click);
        assessment.observe(&Row { position: position - 1, ..drawn }, &Pmfs { logged: None, target: Some(&target) });
    }
    Some(assessment.report(0.0, false))
}

#[test]
fn the_uniform_policy_is_refused_where_thompson_sampling_hardly_explored() {
    let Some(report) = uniform_from("bts", "women", 46) else { return };
    assert!(report.verdict.refused);
    // Published of this sample: one row has 69 % of the weight, which is worth two equal rows.
    let diagnostics = &report.diagnostics;
    assert_eq!(diagnostics.share_of_max_w.map(|share| (100.0 * share).round()), Some(69.0));
    assert_eq!(diagnostics.ess_kish.round(), 2.0);
    let reasons: Vec<_> = report.verdict.reasons.iter().map(|finding| finding.check).collect();
    assert!(reasons.contains(&"largest_weight") && reasons.contains(&"effective_sample_size"), "{reasons:?}");
}

#[test]
fn the_uniform_policy_s_own_log_says_what_it_earned() {
    let Some(report) = uniform_from("random", "women", 46) else { return };
    assert!(!report.verdict.refused, "{:?}", report.verdict);
    let ips = &report.estimators.expect("numbers")[1];
    assert_eq!((ips.0.as_str(), ips.1.value.map(|value| (1e4 * value).round())), ("ips", Some(46.0)));
}
