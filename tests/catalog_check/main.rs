//! Catalog files: what is wrong with one is said at once, precisely, and at its line.

mod files;
mod mistakes;
mod models;
mod survival;
mod wire;

use offer_ranker::catalog::{self, Loaded, Problem, Problems};

/// The catalog that every test changes a little.
const EXAMPLE: &str = include_str!("../../examples/paywall.yaml");
const EXAMPLE_PATH: &str = "examples/paywall.yaml";

fn example() -> Loaded {
    valid(EXAMPLE)
}

/// The example with the first occurrence of `from` replaced.
fn patched(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "the example has no {from:?}");
    EXAMPLE.replacen(from, to, 1)
}

fn valid(text: &str) -> Loaded {
    catalog::check("a.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<Problem> {
    match catalog::check("a.yaml", text) {
        Ok(_) => Vec::new(),
        Err(Problems { problems, .. }) => problems,
    }
}
