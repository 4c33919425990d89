//! From a catalog as declared to one that the engine can trust, or to everything that is wrong with it.
//!
//! Every check runs, whatever the others found; values that stand in for refused ones never leave this module,
//! because one violation is enough to return nothing else.

mod bounds;
mod context;
mod findings;
mod groups;
mod history;
mod kept;
mod markets;
mod money;
mod offers;
mod periods;
mod placements;
mod platforms;
mod policy;
mod reward;
mod rules;
mod shown;
mod timing;
mod units;
mod warnings;

pub use shown::ended;

use super::problem::{Violation, Warning, left_out};
use crate::{
    engine::{catalog::Catalog, terms::TermsByMarket},
    proto,
};
use findings::Findings;
use money::Currencies;
use std::{collections::BTreeMap, sync::Arc};

/// Whether a text is fit to name an offer, placement, metric or platform: 1 to 64 of a-z, 0-9, `-` and `_`, with a
/// letter or digit at both ends.
#[must_use]
pub fn is_resource_id(text: &str) -> bool {
    findings::RESOURCE.accepts(text)
}

/// Checks a catalog as a whole; what is allowed but odd comes with it as warnings.
///
/// Pure: whether an offer's validity is over is asked by [`ended`], which is told the time.
///
/// # Errors
/// Everything that is wrong, at most [`super::PROBLEMS_MAX`] violations and one that counts the rest.
pub fn validate(declared: &proto::Catalog) -> Result<(Catalog, Vec<Warning>), Vec<Violation>> {
    let mut findings = Findings::default();
    let currencies = Currencies::validate(declared, &mut findings);
    let markets = markets::markets(declared, &currencies, &mut findings);
    let plans = markets::plans(declared, &markets, &mut findings);
    let metrics = reward::metrics(declared, &mut findings);
    let offers = offers::offers(declared, &markets, &plans, &currencies, &mut findings);
    let count = findings.count();
    let mut placements = placements::placements(declared, &offers, &metrics, &mut findings);
    // Against placements that are refused, rules could only be refused for what follows from it.
    if findings.count() == count {
        rules::attach(declared, &offers, &mut placements, &mut findings);
    }
    let history = history::history(declared, &metrics, &mut findings);
    let (0, Some(reward_currency)) = (findings.count(), currencies.reward) else {
        return Err(cut(findings));
    };
    let default_market = Some(declared.default_market.as_str()).filter(|id| !id.is_empty());
    let offers = offers.into_values().map(|draft| (Arc::clone(&draft.offer.id), draft.offer));
    let metrics = metrics.into_iter().filter_map(|(id, kind)| Some((Arc::from(id), kind?)));
    let markets = markets::engine_markets(markets);
    placements.values_mut().for_each(|placement| placement.terms = TermsByMarket::new(markets.keys()));
    let placements = placements.into_iter().map(|(id, placement)| (id, Arc::new(placement)));
    let catalog = Catalog {
        reward_currency,
        rates: currencies.rates,
        markets,
        plans: plans.into_values().map(|plan| (Arc::clone(&plan.id), plan)).collect(),
        default_market: default_market.map(Arc::from),
        metrics: metrics.collect::<BTreeMap<Arc<str>, _>>(),
        offers: offers.collect(),
        placements: placements.collect(),
        history,
    };
    // What rules say can be tried where everything else is right.
    rules::run(declared, &catalog, &mut findings);
    rules::check_law(declared, &catalog, &mut findings);
    if findings.count() > 0 {
        return Err(cut(findings));
    }
    let warnings = cut_warnings(warnings::warnings(declared, &catalog));
    Ok((catalog, warnings))
}

fn cut_warnings(mut warnings: Vec<Warning>) -> Vec<Warning> {
    if let Some(description) = left_out(&mut warnings) {
        warnings.push(Warning { field: String::new(), description });
    }
    warnings
}

fn cut(findings: Findings) -> Vec<Violation> {
    let mut violations = findings.into_violations();
    if let Some(description) = left_out(&mut violations) {
        violations.push(Violation::new("", description));
    }
    violations
}
