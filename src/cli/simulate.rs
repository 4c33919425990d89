//! `offer-ranker simulate`: synthetic users with known preferences against a running server, so that anyone can see
//! it learn, and so that what it acknowledged can be compared with what it remembers.

mod drive;
mod population;
mod retry;
mod stream;
mod summary;
mod truth;

use super::client::{ClientError, TargetArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::proto::{Catalog, GetCatalogRequest, LearningMode, Placement, catalog_service_client::CatalogServiceClient};
use drive::{Simulation, Visit};
use retry::Retry;
use std::{io::Write, sync::Arc, time::Instant};
use summary::Summary;
use tonic::transport::Channel;
use truth::{Scene, Truth};

const LONG_ABOUT: &str = "\
Let synthetic users with known preferences come to a running server, and show how it learns

Every user has random attributes as the placement's context schema declares them (some are left out, so that defaults \
act) and takes each offer with a probability of their own: the logistic function of a number for the offer, weights on \
the user's attributes, and the offer's price. A user looks at the lead offer only and takes it or leaves it; what is \
taken is reported at once, under every metric that the placement's reward counts, money at the offer's price. Users, \
preferences and whether a user would take an offer depend on the seed alone, never on what the server does.

Regret is counted in true expected rewards, not in what happened to be taken: for each user, what the lead that was \
shown is expected to earn, compared with
  uniform      the mean over the eligible offers,
  best fixed   the one offer that would have been the best lead for all users of the run,
  oracle       the best offer for this user, which nobody can know from the start.
Where the placement compares offers by value, rewards are counted in money. A regret below 0 means: better than that. \
Context lets a policy beat the best fixed lead.

Calls carry ids and are repeated while the server is away, so a simulation survives restarts of the server. Every run \
has ids of its own: the same users may come again, and meet a server that has learned from them.";

/// Let synthetic users with known preferences come to a running server, and show how it learns
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT)]
pub struct Args {
    /// How many users come
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Decides users, preferences and luck
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Placement id from the catalog
    #[arg(long, value_name = "ID", default_value = "paywall")]
    placement: String,
    /// Market id from the catalog; default: the catalog's default market
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    market: String,
    /// Where the offers are shown
    #[arg(long, value_name = "NAME", default_value = "web")]
    platform: String,
    /// How many users are served at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// How long a call is repeated while the server is away, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for_s: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Simulates and prints.
///
/// # Errors
/// When the server is not there, stays away for too long, or refuses something; when placement or market are not in
/// its catalog.
pub async fn run(args: Args, out: &mut impl Write) -> Result<(), ClientError> {
    let begun = Instant::now();
    // Nobody should wait a minute to learn that the address is wrong; later absences are waited out.
    args.target.connect().await?;
    let channel = args.target.connect_lazily()?;
    let catalog = fetch_catalog(&args, channel.clone()).await?;
    let placement = find_placement(&catalog, &args.placement)?;
    let market = find_market(&catalog, &args.market)?;
    let scene = Scene { catalog: &catalog, placement, market };
    let simulation = Arc::new(Simulation {
        channel,
        placement: placement.clone(),
        market: args.market.clone(),
        platform: args.platform.clone(),
        seed: args.seed,
        run: SystemClock.random(),
        truth: Truth::draw(scene, args.seed)?,
        ranks: Retry::for_seconds(args.retry_for_s),
        reports: Retry::for_seconds(args.retry_for_s),
    });
    let visits = simulation.run(args.users as usize, usize::from(args.concurrency)).await?;
    let summary = summarise(&simulation, scene, &visits, begun)?;
    if args.json {
        let json = serde_json::to_string_pretty(&summary).map_err(std::io::Error::from)?;
        writeln!(out, "{json}")?;
    } else {
        summary.print(out)?;
    }
    Ok(())
}

async fn fetch_catalog(args: &Args, channel: Channel) -> Result<Catalog, ClientError> {
    let client = CatalogServiceClient::new(channel);
    let retry = Retry::for_seconds(args.retry_for_s);
    let answer = retry.call("GetCatalog", || {
        let mut client = client.clone();
        async move { client.get_catalog(GetCatalogRequest { revision: 0 }).await }
    });
    Ok(answer.await?.into_inner().catalog.unwrap_or_default())
}

fn find_placement<'a>(catalog: &'a Catalog, id: &str) -> Result<&'a Placement, ClientError> {
    catalog.placements.iter().find(|placement| placement.id == id).ok_or_else(|| {
        let known: Vec<&str> = catalog.placements.iter().map(|placement| placement.id.as_str()).collect();
        ClientError::usage(format!("the catalog has no placement \"{id}\", but these: {}", known.join(", ")))
    })
}

fn find_market<'a>(catalog: &'a Catalog, asked: &'a str) -> Result<&'a str, ClientError> {
    let id = if asked.is_empty() { &catalog.default_market } else { asked };
    if id.is_empty() || catalog.markets.iter().any(|market| market.id == id) {
        return Ok(id);
    }
    let known: Vec<&str> = catalog.markets.iter().map(|market| market.id.as_str()).collect();
    Err(ClientError::usage(format!("the catalog has no market \"{id}\", but these: {}", known.join(", "))))
}

fn summarise(
    simulation: &Simulation,
    scene: Scene<'_>,
    visits: &[Visit],
    begun: Instant,
) -> Result<Summary, ClientError> {
    let offer_ids: Vec<&str> = simulation.truth.arms().iter().map(|arm| arm.offer_id.as_str()).collect();
    let best_fixed = summary::best_fixed(visits, offer_ids.len())?;
    let parts = summary::parts(visits, best_fixed);
    let last = parts.last().cloned().unwrap_or_default();
    let learning = simulation.placement.learning.as_ref();
    let mut counts = summary::counts(visits);
    counts.rank_retries = simulation.ranks.count();
    counts.report_retries = simulation.reports.count();
    Ok(Summary {
        placement: simulation.placement.id.clone(),
        market: scene.market.to_owned(),
        seed: simulation.seed,
        unit: scene.unit(),
        best_fixed_offer: offer_ids[best_fixed].to_owned(),
        gap_closed_in_last_part: (last.shown - last.uniform) / (last.oracle - last.uniform).max(f64::MIN_POSITIVE),
        regret: last.cumulative_regret,
        parts,
        counts,
        acknowledged: summary::acknowledged(visits, &offer_ids),
        elapsed_s: begun.elapsed().as_secs_f64(),
        learns_at_maturity: learning.is_some_and(|learning| learning.mode() == LearningMode::AtMaturity),
    })
}
