//! Sends synthetic users through a running server: each asks for a ranking, looks at the lead, and reports.

use super::{
    population::{self, User},
    retry::Retry,
    stream::luck,
    truth::{Report, Truth},
};
use crate::{
    cli::{client::ClientError, progress},
    proto::{
        ContextSchema, Exposure, ExposureMode, FeedbackCode, FeedbackResult, Outcome, Placement, RankRequest,
        RankResponse, RecordExposuresRequest, RecordOutcomesRequest, feedback_service_client::FeedbackServiceClient,
        ranking_service_client::RankingServiceClient, shown::short_name,
    },
};
use std::sync::Arc;
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};

/// Everything that a simulated user needs.
#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) channel: Channel,
    pub(super) placement: Placement,
    pub(super) market: String,
    pub(super) platform: String,
    pub(super) seed: u64,
    /// Tells this run's requests from those of other runs.
    pub(super) run: u64,
    pub(super) truth: Truth,
    pub(super) ranks: Retry,
    pub(super) reports: Retry,
}

/// What one user saw and did, and what else they might have seen.
#[derive(Debug)]
pub(super) struct Visit {
    /// Index of the lead among the truth's arms; `None`: nothing was eligible.
    pub(super) lead: Option<usize>,
    /// For each arm what showing it is truly expected to earn; `None`: not eligible.
    pub(super) worths: Vec<Option<f64>>,
    /// What was reported, and what became of it.
    pub(super) outcomes: Vec<(Report, FeedbackCode)>,
}

impl Simulation {
    /// Lets users come in order, at most `concurrency` at a time; returns their visits in the same order.
    pub(super) async fn run(self: &Arc<Self>, users: usize, concurrency: usize) -> Result<Vec<Visit>, ClientError> {
        let bar = progress::bar(users as u64, "{bar:40} {pos}/{len} users, {per_sec}, {eta} left");
        let mut visits: Vec<Option<Visit>> = Vec::new();
        visits.resize_with(users, || None);
        let mut tasks = JoinSet::new();
        let mut next = 0;
        loop {
            while next < users && tasks.len() < concurrency {
                let (simulation, index) = (Arc::clone(self), next);
                tasks.spawn(async move { simulation.visit(index).await.map(|visit| (index, visit)) });
                next += 1;
            }
            let Some(joined) = tasks.join_next().await else { break };
            let (index, visit) = joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            visits[index] = Some(visit);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(visits.into_iter().flatten().collect())
    }

    async fn visit(&self, index: usize) -> Result<Visit, ClientError> {
        let schema = self.placement.context.as_ref();
        let user = population::user(schema.unwrap_or(&ContextSchema::default()), self.seed, index);
        let request = self.request(index, &user);
        let response = self.rank(&request).await?;
        let worths = self.worths(&response, &user);
        let Some(offer) = response.offers.first() else {
            return Ok(Visit { lead: None, worths, outcomes: Vec::new() });
        };
        let lead = self.truth.position(&offer.offer_id).ok_or_else(|| {
            ClientError::usage(format!("offer \"{}\" joined the placement during the simulation", offer.offer_id))
        })?;
        if self.placement.exposure() == ExposureMode::Confirmed {
            self.confirm(&response).await?;
        }
        let arm = &self.truth.arms()[lead];
        let mut outcomes = Vec::new();
        if luck(self.seed, index, &arm.offer_id) < arm.probability(&user.features) && !arm.reports.is_empty() {
            let results = self.report(&request.request_id, &response.decision_id, &arm.offer_id, &arm.reports).await?;
            outcomes = arm.reports.iter().cloned().zip(results.iter().map(FeedbackResult::code)).collect();
        }
        Ok(Visit { lead: Some(lead), worths, outcomes })
    }

    fn request(&self, index: usize, user: &User) -> RankRequest {
        let Self { market, platform, seed, run, .. } = self;
        RankRequest {
            placement: self.placement.id.clone(),
            user_id: format!("simulated-{seed}-{index}"),
            attributes: user.attributes.clone(),
            market: market.clone(),
            platform: platform.clone(),
            // The run's own number: the same users may come again, and are then asked about anew.
            request_id: format!("simulate:{run:016x}:{index}"),
            ..RankRequest::default()
        }
    }

    async fn rank(&self, request: &RankRequest) -> Result<RankResponse, ClientError> {
        let client = RankingServiceClient::new(self.channel.clone());
        let answer = self.ranks.call("Rank", || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.rank(request).await }
        });
        Ok(answer.await?.into_inner())
    }

    fn worths(&self, response: &RankResponse, user: &User) -> Vec<Option<f64>> {
        let excluded = |id: &str| response.exclusions.iter().any(|exclusion| exclusion.offer_id == id);
        let arms = self.truth.arms().iter();
        arms.map(|arm| (!excluded(&arm.offer_id)).then(|| arm.expected_worth(&user.features))).collect()
    }

    async fn report(
        &self,
        request_id: &str,
        decision_id: &str,
        offer_id: &str,
        reports: &[Report],
    ) -> Result<Vec<FeedbackResult>, ClientError> {
        let outcomes = reports.iter().map(|report| Outcome {
            outcome_id: format!("{request_id}:{}", report.metric),
            decision_id: decision_id.to_owned(),
            offer_id: offer_id.to_owned(),
            metric: report.metric.clone(),
            value: report.value,
            currency: report.currency.clone(),
            ..Outcome::default()
        });
        let request = RecordOutcomesRequest { outcomes: outcomes.collect() };
        let client = FeedbackServiceClient::new(self.channel.clone());
        let answer = self.reports.call("RecordOutcomes", || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { stored(client.record_outcomes(request).await?.into_inner().results) }
        });
        answer.await
    }

    async fn confirm(&self, response: &RankResponse) -> Result<(), ClientError> {
        let slots = response.offers.iter().map(|offer| offer.slot).collect();
        let exposure = Exposure { decision_id: response.decision_id.clone(), slots };
        let request = RecordExposuresRequest { exposures: vec![exposure] };
        let client = FeedbackServiceClient::new(self.channel.clone());
        let answer = self.reports.call("RecordExposures", || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { stored(client.record_exposures(request).await?.into_inner().results) }
        });
        answer.await.map(drop)
    }
}

/// Turns "not yet" into a failure worth another attempt, and "invalid" into one that is not.
fn stored(results: Vec<FeedbackResult>) -> Result<Vec<FeedbackResult>, Status> {
    for result in &results {
        match result.code() {
            FeedbackCode::NotYet => return Err(Status::unavailable("the decision is not stored yet")),
            FeedbackCode::Invalid => return Err(Status::invalid_argument(result.message.clone())),
            _ => {}
        }
    }
    Ok(results)
}

/// What became of a report, for people: `recorded`, `unknown_decision`.
pub(super) fn code_name(code: FeedbackCode) -> String {
    short_name(code.as_str_name(), "FEEDBACK_CODE_").to_ascii_lowercase()
}
