//! What is kept of users across placements.

use super::{
    findings::Findings,
    reward::{Metrics, check_metrics},
};
use crate::{
    catalog::path::Path,
    engine::history::{HistoryRules, KEPT_BOUNDS_S, KEPT_DEFAULT_S},
    proto,
};
use std::sync::Arc;

/// Checks which outcomes say something of a user; `None` where nothing is kept.
pub(super) fn history(
    catalog: &proto::Catalog,
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> Option<HistoryRules> {
    let declared = catalog.history.as_ref()?;
    let path = Path::default().field("history");
    let mut ids = |name: &str, declared: &[String]| -> Vec<Arc<str>> {
        check_metrics(&path.field(name), declared, metrics, findings).into_iter().collect()
    };
    let trial_started = ids("trial_started_metrics", &declared.trial_started_metrics);
    let subscribed = ids("subscribed_metrics", &declared.subscribed_metrics);
    let churned = ids("churned_metrics", &declared.churned_metrics);
    let kept_s = declared.kept_s.unwrap_or(KEPT_DEFAULT_S);
    findings.check_range(&path.field("kept_s"), kept_s, KEPT_BOUNDS_S.0, KEPT_BOUNDS_S.1);
    Some(HistoryRules { trial_started, subscribed, churned, kept_s })
}
