//! One run: every customer in some order, in batches, through one placement of one server.
//!
//! Invariant: a batch begins only when the posterior that serves covers every report of the batch before, and no
//! decision is learned before its batch has been answered. So all customers of a batch meet the same policy, and it
//! has learned from matched customers only: what the estimator asks for.

use super::{Customer, Metric, estimate::Sums};
use anyhow::{Context as _, bail, ensure};
use offer_ranker::proto::{
    Exposure, FeedbackCode, FeedbackResult, GetPlacementRequest, Outcome, PartitionOffset, RankRequest,
    RecordExposuresRequest, RecordOutcomesRequest, catalog_service_client::CatalogServiceClient,
    feedback_service_client::FeedbackServiceClient, ranking_service_client::RankingServiceClient,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Most reports in one call.
const REPORTS_MAX: usize = 1000;
/// How often the posterior is looked at while it catches up.
const LEARNING_POLL: Duration = Duration::from_millis(2);
/// A learner that takes longer for one batch is stuck.
const LEARNING_TIMEOUT: Duration = Duration::from_secs(60);

/// What one run came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Customers that matched and counted.
    pub(super) matched: u64,
    /// What they did, by stratum and metric.
    pub(super) sums: BTreeMap<(usize, &'static str), Sums>,
    /// Leads that the customer may not be offered.
    pub(super) ineligible: u64,
    /// How often each offer was the lead, matched or not.
    pub(super) leads: BTreeMap<String, u64>,
}

/// A decision about one customer.
#[derive(Debug)]
struct Decision {
    customer: usize,
    decision_id: String,
    lead: String,
}

/// A running server that customers are put through.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) channel: Channel,
    pub(super) placement: &'static str,
    pub(super) metrics: &'static [Metric],
    pub(super) customers: Arc<Vec<Customer>>,
    /// Which of them count where they match.
    pub(super) counting: Arc<Vec<bool>>,
    pub(super) concurrency: usize,
}

impl Replay {
    /// Puts the customers through in this order; `progress` hears of every finished batch.
    pub(super) async fn run(&self, order: &[usize], batch: usize, progress: impl Fn(u64)) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for customers in order.chunks(batch) {
            let decisions = self.rank(customers).await?;
            self.report(&decisions).await?;
            self.wait_until_learned().await?;
            for decision in decisions {
                if self.matches(&decision) {
                    tally.add(&self.customers[decision.customer], self.metrics);
                }
                let eligible = self.customers[decision.customer].eligible.contains(&decision.lead.as_str());
                tally.ineligible += u64::from(!eligible);
                *tally.leads.entry(decision.lead).or_default() += 1;
            }
            progress(customers.len() as u64);
        }
        Ok(tally)
    }

    /// Whether a decision is what was really done, and counts: only these are learned from.
    fn matches(&self, decision: &Decision) -> bool {
        decision.lead == self.customers[decision.customer].logged && self.counting[decision.customer]
    }

    async fn rank(&self, customers: &[usize]) -> anyhow::Result<Vec<Decision>> {
        let mut decisions = Vec::with_capacity(customers.len());
        let mut calls = JoinSet::new();
        let mut waiting = customers.iter();
        loop {
            while calls.len() < self.concurrency {
                let Some(&customer) = waiting.next() else { break };
                calls.spawn(decide(self.channel.clone(), self.request(customer), customer));
            }
            let Some(decision) = calls.join_next().await else { break };
            decisions.push(decision.context("a call panicked")??);
        }
        Ok(decisions)
    }

    fn request(&self, customer: usize) -> RankRequest {
        RankRequest {
            placement: self.placement.to_owned(),
            user_id: format!("customer-{customer}"),
            attributes: self.customers[customer].attributes.clone(),
            protected_attributes: self.customers[customer].protected.clone(),
            ..RankRequest::default()
        }
    }

    /// Confirms what was really sent, says of everything else that it was not shown, and reports what the matched
    /// customers did.
    async fn report(&self, decisions: &[Decision]) -> anyhow::Result<()> {
        let mut client = FeedbackServiceClient::new(self.channel.clone());
        let exposures: Vec<Exposure> = decisions.iter().map(|decision| self.exposure(decision)).collect();
        for chunk in exposures.chunks(REPORTS_MAX) {
            let request = RecordExposuresRequest { exposures: chunk.to_vec() };
            check(&client.record_exposures(request).await.context("RecordExposures")?.into_inner().results)?;
        }
        let outcomes: Vec<Outcome> = decisions.iter().flat_map(|decision| self.outcomes(decision)).collect();
        for chunk in outcomes.chunks(REPORTS_MAX) {
            let request = RecordOutcomesRequest { outcomes: chunk.to_vec() };
            check(&client.record_outcomes(request).await.context("RecordOutcomes")?.into_inner().results)?;
        }
        Ok(())
    }

    fn exposure(&self, decision: &Decision) -> Exposure {
        let slots = if self.matches(decision) { vec![1] } else { Vec::new() };
        Exposure { decision_id: decision.decision_id.clone(), slots }
    }

    fn outcomes(&self, decision: &Decision) -> Vec<Outcome> {
        let outcome = |&(metric, value): &(&str, f64)| Outcome {
            outcome_id: metric.to_owned(),
            decision_id: decision.decision_id.clone(),
            offer_id: decision.lead.clone(),
            metric: metric.to_owned(),
            value,
            currency: self.currency(metric).unwrap_or_default().to_owned(),
            ..Outcome::default()
        };
        let outcomes = self.matches(decision).then(|| &self.customers[decision.customer].outcomes);
        outcomes.into_iter().flatten().map(outcome).collect()
    }

    fn currency(&self, metric: &str) -> Option<&'static str> {
        self.metrics.iter().find(|known| known.id == metric)?.currency
    }

    async fn wait_until_learned(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut client = CatalogServiceClient::new(self.channel.clone());
        let request = GetPlacementRequest { placement: self.placement.to_owned() };
        // The log grows for nobody but us, so its end now is the end of this batch.
        let mut state = client.get_placement(request.clone()).await.context("GetPlacement")?.into_inner();
        let ends = offsets(&state.log_ends);
        while offsets(&state.posterior_version.unwrap_or_default().offsets) < ends {
            ensure!(begun.elapsed() < LEARNING_TIMEOUT, "the posterior does not reach the end of the log");
            tokio::time::sleep(LEARNING_POLL).await;
            state = client.get_placement(request.clone()).await.context("GetPlacement")?.into_inner();
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, customer: &Customer, metrics: &[Metric]) {
        self.matched += 1;
        for metric in metrics {
            let outcome = customer.outcomes.iter().find(|(reported, _)| *reported == metric.id);
            let value = outcome.map_or(0.0, |&(_, value)| value);
            self.sums.entry((customer.stratum, metric.id)).or_default().add(value);
        }
    }
}

async fn decide(channel: Channel, request: RankRequest, customer: usize) -> anyhow::Result<Decision> {
    let response = RankingServiceClient::new(channel).rank(request).await.context("Rank")?.into_inner();
    let lead = response.offers.into_iter().next().context("the server ranked no offer")?.offer_id;
    Ok(Decision { customer, decision_id: response.decision_id, lead })
}

/// Everything is reported once and at once, so anything but "recorded" would spoil the estimate.
fn check(results: &[FeedbackResult]) -> anyhow::Result<()> {
    match results.iter().find(|result| result.code() != FeedbackCode::Recorded) {
        Some(result) => bail!("a report came back as {}: {}", result.code().as_str_name(), result.message),
        None => Ok(()),
    }
}

/// The records before all these positions together. Positions never go back, so the sum reaches the sum of the ends
/// exactly when every one has reached its end.
fn offsets(positions: &[PartitionOffset]) -> u64 {
    positions.iter().map(|position| position.offset).sum()
}
