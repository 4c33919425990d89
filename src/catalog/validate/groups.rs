//! Measurement groups and protected attributes.

use super::{
    findings::{ATTRIBUTE, Findings, Seen},
    placements::ArmIds,
};
use crate::{
    catalog::{path::Path, problem::quoted},
    engine::{
        catalog::{ProtectedAttribute, Selection},
        context::ContextSchema,
        group::Groups,
    },
    proto,
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Most protected attributes of one placement.
const PROTECTED_MAX: usize = 4;
/// Fewest and most values of one.
const VALUES: (usize, usize) = (2, 32);
/// Longest value in bytes.
const VALUE_BYTES_MAX: usize = 64;
/// Longest salt in bytes.
const SALT_BYTES_MAX: usize = 64;

/// Checks how a placement's units are shared out.
pub(super) fn groups(
    path: &Path,
    (placement, declared): (&str, Option<&proto::Groups>),
    arm_ids: &ArmIds<'_>,
    findings: &mut Findings,
) -> Groups {
    let nothing = proto::Groups::default();
    let declared = declared.unwrap_or(&nothing);
    let &proto::Groups { uniform, holdout, .. } = declared;
    let in_range = [("uniform", uniform), ("holdout", holdout)]
        .map(|(name, share)| findings.check_range(&path.field(name), share, 0.0, 1.0));
    if in_range == [true, true] && uniform + holdout > 1.0 {
        let description = format!("shares out {}, must share out at most 1", uniform + holdout);
        findings.refuse(path, description);
    }
    let order_path = path.field("holdout_order");
    if holdout == 0.0 && !declared.holdout_order.is_empty() {
        findings.refuse(&order_path, "is set, but the holdout has no share: set holdout as well");
    }
    let holdout_order = arm_ids.order(&order_path, &declared.holdout_order, findings);
    if declared.salt.len() > SALT_BYTES_MAX {
        let description = format!("has {} bytes, must have at most {SALT_BYTES_MAX}", declared.salt.len());
        findings.refuse(&path.field("salt"), description);
    }
    Groups {
        uniform,
        holdout,
        // Without a holdout its order means nothing, and so must not tell two catalogs apart.
        holdout_selection: Selection::Fixed(if holdout > 0.0 { holdout_order } else { Vec::new() }),
        salt: salt(placement, &declared.salt),
    }
}

/// A number of a placement and its salt, which other placements do not share.
fn salt(placement: &str, salt: &str) -> u64 {
    let digest = Sha256::new().chain_update(placement).chain_update([0]).chain_update(salt).finalize();
    digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Checks what is only counted by.
pub(super) fn protected(
    path: &Path,
    declared: &[proto::ProtectedAttribute],
    context: &ContextSchema,
    findings: &mut Findings,
) -> Vec<ProtectedAttribute> {
    findings.check_count(path, declared.len(), PROTECTED_MAX);
    let mut seen = Seen::new();
    let mut protected = Vec::new();
    for (index, attribute) in declared.iter().enumerate() {
        let path = path.index(index);
        let name = path.field("name");
        findings.check_id(&name, &attribute.name, &ATTRIBUTE, &mut seen);
        if context.attributes.iter().any(|known| *known.name == *attribute.name) {
            let description = format!(
                "is {:?}, which the context has as well: what is protected must not decide; take it out of the context",
                attribute.name
            );
            findings.refuse(&name, description);
        }
        protected.push(ProtectedAttribute {
            name: Arc::from(attribute.name.as_str()),
            values: values(&path.field("values"), &attribute.values, findings),
        });
    }
    protected
}

/// Checks that no placement decides by what another one protects.
pub(super) fn check_protected_everywhere(declared: &[proto::Placement], findings: &mut Findings) {
    let placements = Path::default().field("placements");
    let mut protected: BTreeMap<&str, Path> = BTreeMap::new();
    for (index, placement) in declared.iter().enumerate() {
        let path = placements.index(index).field("protected_attributes");
        for (index, attribute) in placement.protected_attributes.iter().enumerate() {
            protected.entry(&attribute.name).or_insert_with(|| path.index(index).field("name"));
        }
    }
    for (index, placement) in declared.iter().enumerate() {
        let path = placements.index(index).field("context").field("attributes");
        for (index, attribute) in placement.context.iter().flat_map(|context| &context.attributes).enumerate() {
            // A placement that has both is refused where it protects.
            let own = placement.protected_attributes.iter().any(|own| own.name == attribute.name);
            let Some(protected) = protected.get(attribute.name.as_str()).filter(|_| !own) else { continue };
            let description = format!(
                "is {}, which {protected} protects: what is protected must not decide, at no placement; take it out of \
                 one of them, or name it otherwise where it is something else",
                quoted(&attribute.name)
            );
            findings.refuse(&path.index(index).field("name"), description);
        }
    }
}

fn values(path: &Path, declared: &[String], findings: &mut Findings) -> Vec<Arc<str>> {
    if declared.len() < VALUES.0 {
        let description = format!(
            "has {} entries, must have at least {}: one cohort is measured against another",
            declared.len(),
            VALUES.0
        );
        findings.refuse(path, description);
    }
    findings.check_count(path, declared.len(), VALUES.1);
    let mut seen = Seen::new();
    for (index, value) in declared.iter().enumerate() {
        let path = path.index(index);
        findings.check_text(&path, value, VALUE_BYTES_MAX);
        findings.check_distinct(&path, value, &mut seen);
    }
    let mut values: Vec<Arc<str>> = declared.iter().map(|value| Arc::from(value.as_str())).collect();
    values.sort();
    values
}

#[cfg(test)]
mod tests {
    use super::salt;

    #[test]
    fn every_placement_and_every_salt_of_its_own_deals_units_anew() {
        assert_ne!(salt("paywall", ""), salt("checkout", ""));
        assert_ne!(salt("paywall", ""), salt("paywall", "autumn"));
        assert_ne!(salt("paywall", "s"), salt("paywalls", ""));
        assert_eq!(salt("paywall", "autumn"), salt("paywall", "autumn"));
    }
}
