//! Dashboard, alerts and documentation speak of metrics that there are, and the manifests' catalog is one.

use crate::server::root;
use offer_ranker::{catalog, meters};
use std::{collections::BTreeSet, fs};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every word of a text that could name a metric of this server.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
    words.filter(|word| word.starts_with("offer_ranker_") && !word.contains(':')).collect()
}

/// The names under which a scrape has what is measured. That it really has them, another test sees at a server.
fn metrics_told() -> BTreeSet<String> {
    let names = |meter: meters::Meter| match meter.kind {
        meters::Kind::Histogram => {
            ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", meter.name)).to_vec()
        }
        meters::Kind::Counter | meters::Kind::Gauge => vec![meter.name.to_owned()],
    };
    meters::ALL.into_iter().flat_map(names).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_are_told() {
    let told = metrics_told();
    for path in
        ["deploy/grafana/offer-ranker.json", "deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml"]
    {
        let text = read(path);
        let named = metrics_named(&text);
        let unknown: Vec<_> = named.iter().filter(|name| !told.contains(**name)).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{path} names {unknown:?}");
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard = read("deploy/grafana/offer-ranker.json");
    let missing: Vec<_> = meters::ALL.iter().filter(|meter| !dashboard.contains(meter.name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_rules_record_is_what_others_read() {
    let rules = read("deploy/prometheus/alerts.yaml");
    let recorded: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let readers = rules.clone() + &read("deploy/grafana/offer-ranker.json");
    let words = readers.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':');
    for name in words.filter(|word| word.contains(":offer_ranker_")) {
        assert!(recorded.contains(&name), "nobody records {name}");
    }
}

#[test]
fn the_documentation_lists_every_metric_as_the_server_does() {
    let page = read("docs/operations.md");
    for meter in meters::ALL {
        let kind = format!("{:?}", meter.kind).to_lowercase();
        let row = format!("| `{}` | {kind} | {} | {} |", meter.name, meter.labels.join(", "), meter.help);
        assert!(page.contains(&row), "docs/operations.md lacks this row:\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `offer_ranker_")).count();
    assert_eq!(rows, meters::ALL.len(), "docs/operations.md lists metrics that there are not");
}

#[test]
fn the_catalog_of_the_manifests_is_valid() {
    let manifest = read("deploy/kubernetes/catalog.yaml");
    let (_, block) = manifest.split_once("catalog.yaml: |\n").expect("the manifest holds the catalog");
    let text: String = block.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).to_owned() + "\n").collect();
    catalog::check("deploy/kubernetes/catalog.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
}
