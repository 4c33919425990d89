//! `offer-ranker fairness`: what bounds, bands and groups came to.

use super::{
    client::{ClientError, LONG_CALL_TIMEOUT, TargetArgs, format_money, plain_table},
    progress,
    store::StoreAddress,
};
use crate::{
    grpc::{self, convert::given_period},
    proto::{
        AccessGap, AveragePrice, BenefitReport, BoundKind, BoundReport, CohortAccess, CohortGap, CohortReport,
        GetFairnessReportRequest, GetFairnessReportResponse, GroupDivision, GroupUnits, OfferExposure, SkewReport,
        insight_service_client::InsightServiceClient,
        shown::{short_name, to_json},
    },
    service::{ServiceError, fairness::fairness},
    store::StoreError,
};
use comfy_table::Table;
use prost_types::Timestamp;
use std::io::Write;

/// Below this, units are not in their groups' shares by chance.
const P_VALUE_MIN: f64 = 1e-4;

/// Report on fairness at a placement: bounds, cohorts, exposure, and what bounds cost
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Placement id from the catalog
    placement: String,
    /// Leave out decisions before this, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// And those from here on
    #[arg(long, value_name = "INSTANT")]
    until: Option<Timestamp>,
    /// Read this store, such as embedded:offer-ranker.db, and ask no server
    #[arg(long, value_name = "ADDRESS")]
    store: Option<StoreAddress>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FairnessError {
    /// The server is not there or refuses, or the report cannot be given out.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds makes no report.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Asks, or reads, and prints.
///
/// # Errors
/// When the server or store is not there, or has no such placement.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), FairnessError> {
    let report = match &args.store {
        Some(address) => read(&args, address).await?,
        None => ask(&args).await?,
    };
    if args.json {
        writeln!(out, "{:#}", to_json("GetFairnessReportResponse", &report)).map_err(ClientError::from)?;
        return Ok(());
    }
    Ok(print(&report, out)?)
}

async fn ask(args: &Args) -> Result<GetFairnessReportResponse, ClientError> {
    let mut client = InsightServiceClient::new(args.target.connect_for(LONG_CALL_TIMEOUT).await?);
    let request = GetFairnessReportRequest { placement: args.placement.clone(), since: args.since, until: args.until };
    let report = client.get_fairness_report(request).await.map_err(ClientError::refused("GetFairnessReport"))?;
    Ok(report.into_inner())
}

async fn read(args: &Args, address: &StoreAddress) -> Result<GetFairnessReportResponse, FairnessError> {
    let period = given_period(args.since, args.until)?;
    let store = address.open_read_only().await?;
    let placement = &args.placement;
    // Of other placements, too: which are this one's is known when its catalog is read.
    let records = store.log_ends().await?.into_iter().map(|(_, end)| end).sum();
    let bar = progress::bar(records, "{bar:40} {human_pos}/{human_len} records at most, {eta} left");
    let report = fairness(&*store, placement, period, |records| bar.inc(records)).await?;
    bar.finish_and_clear();
    Ok(grpc::fairness::report(placement, &report))
}

fn print(report: &GetFairnessReportResponse, out: &mut impl Write) -> Result<(), ClientError> {
    for count in &report.groups {
        writeln!(out, "{:<12} {} decisions", group(count.group().as_str_name()), count.decisions)?;
    }
    report.divisions.iter().try_for_each(|division| print_division(division, out))?;
    writeln!(out, "{:<12} {} decisions gave up a bound for their lead", "relaxed", report.relaxed)?;
    print_value(report, out)?;
    writeln!(out, "{:<12} {:.4}, of slates from the policy's leads", "ndkl", report.ndkl)?;
    for SkewReport { slots, lowest_offer_id, lowest, highest_offer_id, highest } in &report.skews {
        let head = format!("skew@{slots}");
        writeln!(out, "{head:<12} {lowest:.4} of {lowest_offer_id} to {highest:.4} of {highest_offer_id}")?;
    }
    if !report.bounds.is_empty() {
        writeln!(out, "\n{}", bounds(report))?;
    }
    if !report.benefits.is_empty() {
        writeln!(out, "\n{}", benefits(&report.benefits))?;
    }
    if report.benefits.iter().any(|benefit| !benefit.access.is_empty()) {
        print_cohorts(&report.benefits, out)?;
    }
    if !report.cohorts.is_empty() {
        writeln!(out, "\n{}", prices(&report.cohorts))?;
    }
    writeln!(out, "\n{}", exposure(&report.offers))?;
    Ok(())
}

fn group(name: &'static str) -> String {
    short_name(name, "GROUP_").to_lowercase()
}

/// A cohort by its name; where a value has none, no catalog that the server can read declares it.
fn cohort(attribute: &str, value: &str) -> String {
    if value.is_empty() { format!("{attribute}: undeclared values") } else { format!("{attribute}={value}") }
}

fn print_division(division: &GroupDivision, out: &mut impl Write) -> Result<(), ClientError> {
    let all: u64 = division.groups.iter().map(|of| of.units).sum();
    let of_group = |of: &GroupUnits| {
        let (name, share) = (group(of.group().as_str_name()), 100.0 * of.units as f64 / all.max(1) as f64);
        format!("{name} {share:.2} % of {:.2} %", 100.0 * of.share)
    };
    let groups: Vec<String> = division.groups.iter().map(of_group).collect();
    let p_value = division.p_value.unwrap_or(1.0);
    let verdict = if p_value < P_VALUE_MIN { ": more than chance, see docs/fairness.md" } else { "" };
    writeln!(out, "{:<12} {all}: {}; p {p_value:.4}{verdict}", "units", groups.join(", "))?;
    Ok(())
}

fn print_value(report: &GetFairnessReportResponse, out: &mut impl Write) -> Result<(), ClientError> {
    let GetFairnessReportResponse { value_by_policy, value, reward_by_policy, reward, .. } = report;
    let currency = &report.reward_currency_code;
    let all = report.cost.as_ref().map(format_money).unwrap_or_default();
    let cost = value_by_policy - value;
    writeln!(out, "{:<12} {value:.4} {currency} a decision; bounds cost {cost:.4} of it, {all} in all", "value")?;
    let cost = reward_by_policy - reward;
    writeln!(out, "{:<12} {reward:.4} a decision; bounds cost {cost:.4} of it", "reward")?;
    Ok(())
}

/// What each bound did. Those that were there for no decision have no shares.
fn bounds(report: &GetFairnessReportResponse) -> Table {
    let cost = format!("cost, {}", report.reward_currency_code);
    let heads = ["bound", "decisions", "binds", "given up", &cost, "cost, reward"];
    let mut table = plain_table(&heads, &[1, 2, 3, 4, 5]);
    for bound in &report.bounds {
        let BoundReport { id, decisions, binding, relaxed, cost, reward_cost, .. } = bound;
        let kind = short_name(bound.kind().as_str_name(), "BOUND_KIND_").to_lowercase();
        let share = |count: u64| format!("{:.2} %", 100.0 * count as f64 / (*decisions).max(1) as f64);
        table.add_row([
            if matches!(bound.kind(), BoundKind::Set | BoundKind::Band) { format!("{kind} {id}") } else { kind },
            decisions.to_string(),
            share(*binding),
            share(*relaxed),
            format!("{cost:.4}"),
            format!("{reward_cost:.4}"),
        ]);
    }
    table
}

fn benefits(benefits: &[BenefitReport]) -> Table {
    let mut table = plain_table(&["offers of", "decisions", "before it", "after"], &[1, 2, 3]);
    for BenefitReport { id, decisions, before, after, .. } in benefits {
        table.add_row([id.clone(), decisions.to_string(), format!("{before:.4}"), format!("{after:.4}")]);
    }
    table
}

/// First what comes from eligibility, then what is made of it.
fn print_cohorts(benefits: &[BenefitReport], out: &mut impl Write) -> Result<(), ClientError> {
    writeln!(out, "\n{}", access(benefits))?;
    for (id, gap) in benefits.iter().flat_map(|of| of.access_gaps.iter().map(move |gap| (&of.id, gap))) {
        let AccessGap { attribute, higher, lower, gap, low, high } = gap;
        let (higher, lower) = (cohort(attribute, higher), cohort(attribute, lower));
        writeln!(out, "gap       {id}, feasible: {higher} over {lower} by {gap:.4} ({low:.4} to {high:.4})")?;
    }
    writeln!(out, "\n{}", rates(benefits))?;
    for (id, gap) in benefits.iter().flat_map(|of| of.gaps.iter().map(move |gap| (&of.id, gap))) {
        let CohortGap { attribute, higher, lower, before, after, low, high } = gap;
        let (higher, lower) = (cohort(attribute, higher), cohort(attribute, lower));
        writeln!(
            out,
            "gap       {id}, rate: {higher} over {lower} by {after:.4} ({before:.4} before it; drawn {low:.4} to {high:.4})"
        )?;
    }
    Ok(())
}

fn access(benefits: &[BenefitReport]) -> Table {
    let heads = ["offers of", "cohort", "decisions", "any eligible", "feasible", "95 %"];
    let mut table = plain_table(&heads, &[2, 3, 4]);
    for (id, of) in benefits.iter().flat_map(|of| of.access.iter().map(move |access| (&of.id, access))) {
        let CohortAccess { attribute, value, decisions, eligible, feasible, low, high } = of;
        let share = |count: u64| format!("{:.4}", count as f64 / (*decisions).max(1) as f64);
        table.add_row([
            id.clone(),
            cohort(attribute, value),
            decisions.to_string(),
            share(*eligible),
            share(*feasible),
            format!("{low:.4} to {high:.4}"),
        ]);
    }
    table
}

fn rates(benefits: &[BenefitReport]) -> Table {
    let heads = ["offers of", "cohort", "decisions", "before it", "after", "drawn", "95 %"];
    let mut table = plain_table(&heads, &[2, 3, 4, 5]);
    for (benefit, rate) in benefits.iter().flat_map(|of| of.cohorts.iter().map(move |rate| (&of.id, rate))) {
        table.add_row([
            benefit.clone(),
            cohort(&rate.attribute, &rate.value),
            rate.decisions.to_string(),
            format!("{:.4}", rate.before),
            format!("{:.4}", rate.after),
            format!("{:.4}", rate.drawn as f64 / rate.decisions.max(1) as f64),
            format!("{:.4} to {:.4}", rate.low, rate.high),
        ]);
    }
    table
}

fn prices(cohorts: &[CohortReport]) -> Table {
    let mut table = plain_table(&["cohort", "decisions", "price offered", "price paid"], &[1]);
    let one = |AveragePrice { price, leads }: &AveragePrice| {
        format!("{} ({leads})", price.as_ref().map(format_money).unwrap_or_default())
    };
    let all = |prices: &[AveragePrice]| prices.iter().map(one).collect::<Vec<_>>().join(", ");
    for CohortReport { attribute, value, decisions, offered, paid } in cohorts {
        table.add_row([cohort(attribute, value), decisions.to_string(), all(offered), all(paid)]);
    }
    table
}

fn exposure(offers: &[OfferExposure]) -> Table {
    let heads = ["offer", "eligible", "merit", "leads by policy", "leads", "drawn", "attention"];
    let mut table = plain_table(&heads, &[1, 2, 3, 4, 5, 6]);
    for OfferExposure { offer_id, eligible, before, after, drawn, merit, attention } in offers {
        table.add_row([
            offer_id.clone(),
            eligible.to_string(),
            format!("{merit:.4}"),
            format!("{before:.4}"),
            format!("{after:.4}"),
            format!("{:.4}", *drawn as f64 / (*eligible).max(1) as f64),
            format!("{attention:.4}"),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Group, Money};

    #[test]
    fn a_report_tells_bounds_cohorts_and_units_with_their_names() {
        let bound = |kind: BoundKind, id: &str, binding| BoundReport {
            kind: kind.into(),
            id: id.to_owned(),
            decisions: 200,
            binding,
            relaxed: 1,
            cost: 0.25,
            reward_cost: 0.01,
        };
        let access = |value: &str, feasible| CohortAccess {
            attribute: "gender".to_owned(),
            value: value.to_owned(),
            decisions: 100,
            eligible: 90,
            feasible,
            ..CohortAccess::default()
        };
        let gap = AccessGap {
            attribute: "gender".to_owned(),
            higher: "f".to_owned(),
            gap: 0.3,
            low: 0.2,
            high: 0.4,
            ..AccessGap::default()
        };
        let money = |amount_minor| Money { currency_code: "EUR".to_owned(), amount_minor };
        let units = |group: Group, units, share| GroupUnits { group: group.into(), units, share };
        let groups = vec![units(Group::Decisioning, 60, 0.9), units(Group::Holdout, 40, 0.1)];
        let report = GetFairnessReportResponse {
            bounds: vec![bound(BoundKind::Floors, "", 150), bound(BoundKind::Set, "plans", 50)],
            benefits: vec![BenefitReport {
                id: "plans".to_owned(),
                access: vec![access("f", 80), access("", 50)],
                access_gaps: vec![gap],
                ..BenefitReport::default()
            }],
            reward_currency_code: "EUR".to_owned(),
            value_by_policy: 3.0,
            value: 2.5,
            cost: Some(money(10_000)),
            cohorts: vec![CohortReport {
                attribute: "gender".to_owned(),
                value: "f".to_owned(),
                decisions: 60,
                offered: vec![AveragePrice { price: Some(money(1_150)), leads: 40 }],
                paid: vec![AveragePrice { price: Some(money(990)), leads: 3 }],
            }],
            divisions: vec![GroupDivision { groups, p_value: Some(0.0) }],
            ..GetFairnessReportResponse::default()
        };
        let mut out = Vec::new();
        print(&report, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "units        100: decisioning 60.00 % of 90.00 %, holdout 40.00 % of 10.00 %; p 0.0000: more than chance",
            "value        2.5000 EUR a decision; bounds cost 0.5000 of it, 100.00 EUR in all",
            "| gender=f |        60 | 11.50 EUR (40) | 9.90 EUR (3) |",
            "gap       plans, feasible: gender=f over gender: undeclared values by 0.3000 (0.2000 to 0.4000)",
        ] {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
        let row = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("| {start} "))).unwrap_or_default();
            line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("floors"), "floors 200 75.00 % 0.50 % 0.2500 0.0100", "{text}");
        assert_eq!(row("set plans"), "set plans 200 25.00 % 0.50 % 0.2500 0.0100", "{text}");
    }
}
