//! `offer-ranker rank`: asks a running server for one ranking and shows it to a person.

use super::client::{ClientError, TargetArgs, format_money, plain_table};
use crate::proto::{
    BandEffect, ExclusionReason, Explanation, Flag, Group, RankRequest, RankResponse, RankedOffer, ScoreDistribution,
    SetBoundEffect,
    ranking_service_client::RankingServiceClient,
    score_distribution,
    shown::{short_name, to_json},
};
use comfy_table::Table;
use prost_types::{Timestamp, Value, value::Kind};
use std::{collections::BTreeMap, io::Write};

/// Ask a running server which offers to show to a user
///
/// The answer is logged as a decision like any other: it counts as shown until an exposure report says otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Placement id from the catalog, such as paywall
    placement: String,
    /// The user whose outcomes would be reported
    user: String,
    /// Market id from the catalog; default: the catalog's default market
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    market: String,
    /// Where the offers would be shown
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    platform: String,
    /// What is known of user and moment; a value that is a JSON number, boolean or string counts as that, any other
    /// as a string
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, Value)>,
    /// A protected attribute of the user, which is only counted by
    #[arg(long = "protected", value_name = "NAME=VALUE", value_parser = parse_protected)]
    protected: Vec<(String, String)>,
    /// The user has used a trial before
    #[arg(long)]
    trial_used: bool,
    /// The plan that the user has; default: none
    #[arg(long, value_name = "PLAN")]
    current_plan: Option<String>,
    /// When the user's last subscription ended, such as 2026-09-30T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    lapsed_at: Option<Timestamp>,
    /// How many slots to fill; default: the placement's own number
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Makes a repeated call return the first answer, for 24 hours
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Show the probabilities and beliefs behind the answer
    #[arg(long)]
    explain: bool,
    /// Print the answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Asks and prints.
///
/// # Errors
/// When the server is not there or refuses the request, with every violation that it names.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    let request = args.request()?;
    let mut client = RankingServiceClient::new(args.target.connect().await?);
    let response = client.rank(request).await.map_err(ClientError::refused("Rank"))?.into_inner();
    if args.json {
        writeln!(out, "{:#}", to_json("RankResponse", &response))?;
    } else {
        print_answer(&response, out)?;
    }
    Ok(())
}

impl Args {
    fn request(&self) -> Result<RankRequest, ClientError> {
        let mut attributes = BTreeMap::new();
        for (name, value) in &self.attributes {
            if attributes.insert(name.clone(), value.clone()).is_some() {
                return Err(ClientError::usage(format!("--attribute {name} is given twice")));
            }
        }
        Ok(RankRequest {
            placement: self.placement.clone(),
            user_id: self.user.clone(),
            attributes,
            protected_attributes: self.protected.iter().cloned().collect(),
            market: self.market.clone(),
            platform: self.platform.clone(),
            trial_used: self.trial_used.then_some(true),
            current_plan: self.current_plan.clone(),
            lapsed_at: self.lapsed_at,
            slots: self.slots,
            request_id: self.request_id.clone(),
            explain: self.explain,
            ..RankRequest::default()
        })
    }
}

fn parse_protected(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must look like tenure_days=30")?;
    let kind = match serde_json::from_str(value) {
        Ok(serde_json::Value::Bool(truth)) => Kind::BoolValue(truth),
        Ok(serde_json::Value::Number(number)) => Kind::NumberValue(number.as_f64().ok_or("is out of range")?),
        Ok(serde_json::Value::String(text)) => Kind::StringValue(text),
        _ => Kind::StringValue(value.to_owned()),
    };
    Ok((name.to_owned(), Value { kind: Some(kind) }))
}

pub(super) fn print_answer(response: &RankResponse, out: &mut impl Write) -> Result<(), ClientError> {
    if response.offers.is_empty() {
        writeln!(out, "Nothing may be shown here and now.")?;
    } else {
        writeln!(out, "{}", slate_table(&response.offers))?;
    }
    for exclusion in &response.exclusions {
        let reason = short_name(exclusion.reason().as_str_name(), "EXCLUSION_REASON_");
        let rule = if exclusion.rule_id.is_empty() { String::new() } else { format!(" ({})", exclusion.rule_id) };
        writeln!(out, "excluded  {}: {}{rule}", exclusion.offer_id, reason_for_people(exclusion.reason(), reason))?;
    }
    if let Some(explanation) = &response.explanation {
        print_explanation(explanation, out)?;
    }
    writeln!(out, "decision  {}", response.decision_id)?;
    writeln!(out, "catalog   revision {}", response.catalog_revision)?;
    if let Some(version) = &response.posterior_version {
        let learned: u64 = version.offsets.iter().map(|position| position.offset).sum();
        writeln!(out, "learned   {learned} log records, model {}", version.model_id)?;
    }
    if response.group() != Group::Decisioning {
        writeln!(out, "group     {}", short_name(response.group().as_str_name(), "GROUP_"))?;
    }
    for flag in response.flags() {
        writeln!(out, "note      {}", flag_for_people(flag))?;
    }
    Ok(())
}

fn slate_table(offers: &[RankedOffer]) -> Table {
    let mut table = plain_table(&["slot", "offer", "price", "propensity", "expected value"], &[0, 2, 3, 4]);
    for offer in offers {
        table.add_row([
            offer.slot.to_string(),
            offer.offer_id.clone(),
            price(offer),
            format!("{:.4}", offer.propensity),
            offer.expected_value.as_ref().map_or_else(|| "-".to_owned(), format_money),
        ]);
    }
    table
}

fn price(offer: &RankedOffer) -> String {
    match (&offer.price, &offer.list_price) {
        (Some(price), Some(list)) if price != list => format!("{} (list {})", format_money(price), format_money(list)),
        (Some(price), _) => format_money(price),
        (None, _) => "-".to_owned(),
    }
}

fn reason_for_people(reason: ExclusionReason, name: &'static str) -> &'static str {
    match reason {
        ExclusionReason::UnknownOffer => "the placement has no such offer",
        ExclusionReason::Paused => "paused in the catalog",
        ExclusionReason::NotStarted => "its validity has not begun",
        ExclusionReason::Ended => "its validity is over",
        ExclusionReason::NoPriceInMarket => "has no price in this market",
        ExclusionReason::Platform => "not for this platform",
        ExclusionReason::TrialUsed => "a trial, and the user has used one",
        ExclusionReason::CurrentPlan => "sells the plan that the user has",
        ExclusionReason::Capped => "was offered as often as its cap allows",
        ExclusionReason::CoolingDown => "was refused a short while ago",
        ExclusionReason::LimitUnchecked => "is capped or cooling down, which could not be checked",
        ExclusionReason::PriceHeld => "costs more than the user was told that its plan costs",
        ExclusionReason::DiscountTooDeep => "saves more than this market allows",
        ExclusionReason::BelowFloor => "its price is below the floor of its plan",
        ExclusionReason::NotLapsed => "a win-back, and the user has not left",
        ExclusionReason::LapseTooShort => "a win-back, and the user left too short a time ago",
        ExclusionReason::LapseTooLong => "a win-back, and the user left too long ago",
        ExclusionReason::Rule => "a rule of the catalog does not hold",
        ExclusionReason::LegalRule => "a rule that the law demands does not hold",
        ExclusionReason::RuleError => "a rule of the catalog has no value here",
        ExclusionReason::Unspecified => name,
    }
}

fn flag_for_people(flag: Flag) -> &'static str {
    match flag {
        Flag::Stale => "the snapshot that answered is old: learning may be lagging",
        Flag::AttributeClipped => "a number lay outside its bounds and was clipped",
        Flag::Degraded => "the store is away: the decision is kept aside and logged when it is back",
        Flag::NotLogged => "the store is away and nothing could be logged: this is the fallback order",
        Flag::Leased => "an earlier decision stands: the same offers, at the same prices or lower ones",
        Flag::StateUnknown => "what is kept of the user could not be read",
        Flag::PersonalisedPrices => "what is known of the user had a say in these prices, and the law wants them told",
        Flag::BoundsRelaxed => "not all bounds could be kept for what this user may be shown",
        Flag::NeutralContext => "the law forbids to choose among these prices by what is known of the user",
        Flag::Unspecified => "the server sent a flag that this client does not know",
    }
}

fn print_explanation(explanation: &Explanation, out: &mut impl Write) -> Result<(), ClientError> {
    for (rule, text) in &explanation.rules {
        writeln!(out, "rule      {rule}: {text}")?;
    }
    if explanation.bounds_exempt {
        writeln!(out, "bounds    none acted: the holdout is exempt from floors, caps, sets and bands")?;
    }
    for slot in &explanation.slots {
        let (number, seed) = (slot.slot, explanation.seed);
        writeln!(
            out,
            "\nslot {number} was drawn at {:.4} of the cumulated probabilities, from stream {number} of seed {seed}",
            slot.uniform
        )?;
        let heads = ["offer", "belief about its value", "by policy", "after bounds", "held by"];
        let mut table = plain_table(&heads, &[2, 3]);
        for arm in &slot.arms {
            table.add_row([
                arm.offer_id.clone(),
                arm.score.as_ref().map_or_else(|| "-".to_owned(), belief),
                format!("{:.4}", arm.policy_probability),
                format!("{:.4}", arm.probability),
                arm.held_by.join(", "),
            ]);
        }
        writeln!(out, "{table}")?;
        for set in &slot.sets {
            let SetBoundEffect { set, min, max, before, after } = set;
            writeln!(out, "set       {set} from {min} to {max}: {before:.4} by policy, {after:.4} after bounds")?;
        }
        if !slot.relaxed.is_empty() {
            writeln!(out, "given up  {}", slot.relaxed.join(", "))?;
        }
    }
    for BandEffect { band, rate, delta, before, after } in &explanation.bands {
        let holds = if *delta < 1.0 { format!("within {delta:.4} of {rate:.4}") } else { "holds nobody".to_owned() };
        writeln!(out, "band      {band} {holds}: {before:.4} without bands, {after:.4} with them")?;
    }
    let mut table = plain_table(&["feature", "value"], &[1]);
    for feature in &explanation.features {
        table.add_row([feature.name.clone(), format!("{:.4}", feature.value)]);
    }
    writeln!(out, "\n{table}\n")?;
    Ok(())
}

fn belief(score: &ScoreDistribution) -> String {
    match &score.kind {
        Some(score_distribution::Kind::Beta(beta)) => {
            format!("{:.4} x Beta({:.2}, {:.2})", beta.scale, beta.alpha, beta.beta)
        }
        Some(score_distribution::Kind::StudentT(t)) => {
            format!("{:.4} +- {:.4}, t with {:.1} df", t.location, t.scale, t.degrees_of_freedom)
        }
        Some(score_distribution::Kind::Normal(normal)) => {
            format!("{:.4} +- {:.4}", normal.mean, normal.standard_deviation)
        }
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Exclusion, Money};

    fn kind(text: &str) -> Kind {
        parse_attribute(text).unwrap().1.kind.unwrap()
    }

    #[test]
    fn attribute_values_are_json_when_they_can_be() {
        assert_eq!(kind("tenure_days=30"), Kind::NumberValue(30.0));
        assert_eq!(kind("trial_used=true"), Kind::BoolValue(true));
        assert_eq!(kind("channel=email"), Kind::StringValue("email".to_owned()));
        assert_eq!(kind("code=\"30\""), Kind::StringValue("30".to_owned()));
        assert_eq!(kind("equation=a=b"), Kind::StringValue("a=b".to_owned()));
        assert!(parse_attribute("tenure_days").is_err());
    }

    #[test]
    fn an_answer_is_a_table_with_reasons_and_ids() {
        let money = |amount_minor| Some(Money { currency_code: "SEK".to_owned(), amount_minor });
        let offer = RankedOffer {
            offer_id: "annual".to_owned(),
            slot: 1,
            propensity: 0.25,
            expected_value: money(1234),
            price: money(99000),
            list_price: money(118800),
            ..RankedOffer::default()
        };
        let reason = ExclusionReason::Platform.into();
        let response = RankResponse {
            decision_id: "d1".to_owned(),
            offers: vec![offer],
            exclusions: vec![Exclusion { offer_id: "trial".to_owned(), reason, ..Exclusion::default() }],
            catalog_revision: 3,
            group: Group::Decisioning.into(),
            ..RankResponse::default()
        };
        let mut out = Vec::new();
        print_answer(&response, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in ["annual", "990.00 SEK (list 1188.00 SEK)", "0.2500", "12.34 SEK", "trial: not for this platform"] {
            assert!(text.contains(part), "{part} is missing from\n{text}");
        }
        assert!(text.ends_with("decision  d1\ncatalog   revision 3\n"), "{text}");
    }
}
