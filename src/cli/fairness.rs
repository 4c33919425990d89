//! `offer-ranker fairness`: what bounds, bands and groups came to.

use super::client::{ClientError, LONG_CALL_TIMEOUT, TargetArgs, format_money, plain_table};
use crate::proto::{
    BenefitReport, CohortGap, CohortReport, GetFairnessReportRequest, GetFairnessReportResponse, Money, OfferExposure,
    SkewReport,
    insight_service_client::InsightServiceClient,
    shown::{short_name, to_json},
};
use prost_types::Timestamp;
use std::io::Write;

/// Report on fairness at a placement: bounds, cohorts, exposure, and what bounds cost
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Placement id from the catalog
    placement: String,
    /// Leave out decisions before this, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the server is not there, or has no such placement.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    let mut client = InsightServiceClient::new(args.target.connect_for(LONG_CALL_TIMEOUT).await?);
    let request = GetFairnessReportRequest { placement: args.placement, since: args.since };
    let report = client.get_fairness_report(request).await.map_err(ClientError::refused("GetFairnessReport"))?;
    let report = report.into_inner();
    if args.json {
        writeln!(out, "{:#}", to_json("GetFairnessReportResponse", &report))?;
        return Ok(());
    }
    print(&report, out)
}

fn print(report: &GetFairnessReportResponse, out: &mut impl Write) -> Result<(), ClientError> {
    for count in &report.groups {
        let group = short_name(count.group().as_str_name(), "GROUP_");
        writeln!(out, "{:<12} {} decisions", group.to_lowercase(), count.decisions)?;
    }
    writeln!(out, "{:<12} {} decisions gave up a bound for their lead", "relaxed", report.relaxed)?;
    let (by_policy, value) = (report.value_by_policy, report.value);
    writeln!(out, "{:<12} {value:.4} a decision, {:.4} of it paid for bounds", "value", by_policy - value)?;
    writeln!(out, "{:<12} {:.4}, of slates from the policy's leads", "ndkl", report.ndkl)?;
    for SkewReport { slots, lowest_offer_id, lowest, highest_offer_id, highest } in &report.skews {
        let head = format!("skew@{slots}");
        writeln!(out, "{head:<12} {lowest:.4} of {lowest_offer_id} to {highest:.4} of {highest_offer_id}")?;
    }
    if !report.benefits.is_empty() {
        writeln!(out, "\n{}", benefits(&report.benefits))?;
        writeln!(out, "\n{}", rates(&report.benefits))?;
        for (benefit, gap) in report.benefits.iter().flat_map(|of| of.gaps.iter().map(move |gap| (&of.id, gap))) {
            let CohortGap { attribute, higher, lower, before, after, low, high } = gap;
            writeln!(
                out,
                "gap       {benefit}, {attribute}: {higher} over {lower} by {after:.4} ({before:.4} before; drawn \
                 {low:.4} to {high:.4})"
            )?;
        }
    }
    if !report.cohorts.is_empty() {
        writeln!(out, "\n{}", prices(&report.cohorts))?;
    }
    writeln!(out, "\n{}", exposure(&report.offers))?;
    Ok(())
}

fn benefits(benefits: &[BenefitReport]) -> comfy_table::Table {
    let heads = ["bound", "decisions", "before", "after", "moved", "given up"];
    let mut table = plain_table(&heads, &[1, 2, 3, 4, 5]);
    for BenefitReport { id, decisions, before, after, relaxed, moved, .. } in benefits {
        table.add_row([
            id.clone(),
            decisions.to_string(),
            format!("{before:.4}"),
            format!("{after:.4}"),
            moved.to_string(),
            relaxed.to_string(),
        ]);
    }
    table
}

fn rates(benefits: &[BenefitReport]) -> comfy_table::Table {
    let heads = ["bound", "cohort", "decisions", "before", "after", "drawn", "95 %"];
    let mut table = plain_table(&heads, &[2, 3, 4, 5]);
    for (benefit, rate) in benefits.iter().flat_map(|of| of.cohorts.iter().map(move |rate| (&of.id, rate))) {
        table.add_row([
            benefit.clone(),
            format!("{}={}", rate.attribute, rate.value),
            rate.decisions.to_string(),
            format!("{:.4}", rate.before),
            format!("{:.4}", rate.after),
            format!("{:.4}", rate.drawn as f64 / rate.decisions.max(1) as f64),
            format!("{:.4} to {:.4}", rate.low, rate.high),
        ]);
    }
    table
}

fn prices(cohorts: &[CohortReport]) -> comfy_table::Table {
    let mut table = plain_table(&["cohort", "decisions", "price offered", "price paid"], &[1]);
    let all = |money: &[Money]| money.iter().map(format_money).collect::<Vec<_>>().join(", ");
    for CohortReport { attribute, value, decisions, offered, paid } in cohorts {
        table.add_row([format!("{attribute}={value}"), decisions.to_string(), all(offered), all(paid)]);
    }
    table
}

fn exposure(offers: &[OfferExposure]) -> comfy_table::Table {
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
