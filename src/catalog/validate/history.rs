//! What is kept of users across placements.

use super::{
    findings::{Findings, Seen},
    reward::Metrics,
    units,
};
use crate::{
    catalog::path::Path,
    engine::history::{HistoryRules, KEPT_BOUNDS_S, KEPT_DEFAULT_S},
    proto,
};
use std::{collections::BTreeSet, sync::Arc};

/// Checks which outcomes say something of a user; `None` where nothing is kept.
pub(super) fn history(
    catalog: &proto::Catalog,
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> Option<HistoryRules> {
    let declared = catalog.history.as_ref()?;
    let path = Path::default().field("history");
    let mut ids = |name: &str, declared: &[String]| -> Vec<Arc<str>> {
        let mut seen = Seen::new();
        for (index, id) in declared.iter().enumerate() {
            let path = path.field(name).index(index);
            findings.check_distinct(&path, id, &mut seen);
            units::check_metric(&path, id, metrics, findings);
        }
        declared.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().map(Arc::from).collect()
    };
    let trial_started = ids("trial_started_metrics", &declared.trial_started_metrics);
    let subscribed = ids("subscribed_metrics", &declared.subscribed_metrics);
    let churned = ids("churned_metrics", &declared.churned_metrics);
    let kept_s = declared.kept_s.unwrap_or(KEPT_DEFAULT_S);
    findings.check_range(&path.field("kept_s"), kept_s, KEPT_BOUNDS_S.0, KEPT_BOUNDS_S.1);
    Some(HistoryRules { trial_started, subscribed, churned, kept_s })
}
