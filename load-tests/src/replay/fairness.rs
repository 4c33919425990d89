//! What a run came to for people of different cohorts, as its server reports it.

use anyhow::Context as _;
use offer_ranker::proto::{
    BenefitReport, CohortGap, GetFairnessReportRequest, insight_service_client::InsightServiceClient,
};
use serde::Serialize;
use tonic::transport::Channel;

/// One policy's fairness.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fairness {
    /// The gaps of each set and band.
    pub(super) gaps: Vec<Gap>,
    /// What leads were expected to earn on average by the policy, in units of reward.
    pub(super) value_by_policy: f64,
    /// The same after bounds.
    pub(super) value: f64,
}

/// The two cohorts that are furthest apart in how probable a benefit is for them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Gap {
    pub(super) benefit: String,
    /// The cohort for which it is more probable after bounds.
    pub(super) higher: Cohort,
    pub(super) lower: Cohort,
    /// 95 % interval of the difference in what was drawn.
    pub(super) drawn_lower: f64,
    pub(super) drawn_upper: f64,
}

/// One value of a protected attribute.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cohort {
    pub(super) name: String,
    /// Probability of the benefit on average, by the policy and after bounds.
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Fairness {
    /// Asks a server.
    pub(super) async fn of(channel: Channel, placement: &str) -> anyhow::Result<Self> {
        let request = GetFairnessReportRequest { placement: placement.to_owned(), since: None, until: None };
        let report = InsightServiceClient::new(channel).get_fairness_report(request).await;
        let report = report.context("GetFairnessReport")?.into_inner();
        let gaps = report.benefits.iter().flat_map(|of| of.gaps.iter().filter_map(move |gap| Gap::of(of, gap)));
        Ok(Self { gaps: gaps.collect(), value_by_policy: report.value_by_policy, value: report.value })
    }
}

impl Gap {
    fn of(benefit: &BenefitReport, gap: &CohortGap) -> Option<Self> {
        let cohort = |value: &str| {
            let rate = benefit.cohorts.iter().find(|rate| rate.attribute == gap.attribute && rate.value == value)?;
            let name = format!("{}={value}", gap.attribute);
            Some(Cohort { name, before: rate.before, after: rate.after })
        };
        Some(Self {
            benefit: benefit.id.clone(),
            higher: cohort(&gap.higher)?,
            lower: cohort(&gap.lower)?,
            drawn_lower: gap.low,
            drawn_upper: gap.high,
        })
    }
}
