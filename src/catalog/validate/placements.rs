//! Placements: their arms with floors and worth, and everything else put together.

use super::{
    bounds, context,
    findings::{Findings, RESOURCE, Seen},
    groups,
    offers::Offers,
    policy,
    reward::{self, Metrics},
    timing,
    units::{self, Surroundings},
};
use crate::{
    catalog::path::Path,
    engine::{
        catalog::{ARMS_MAX, Arm, Objective, OfferKind, PARTITIONS_MAX, Placement, Reward, SLOTS_MAX},
        context::FEATURES_MAX,
        terms::TermsByMarket,
    },
    proto,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most placements of one catalog.
const PLACEMENTS_MAX: usize = 1_000;
/// How many partitions a log has where nothing is declared.
const PARTITIONS_DEFAULT: u32 = 4;

/// The offers that a placement lists.
pub(super) struct ArmIds<'a> {
    /// In the order of the placement, each once.
    listed: Vec<&'a str>,
    /// In the order of the engine's arms.
    sorted: Vec<&'a str>,
}

impl<'a> ArmIds<'a> {
    fn new(declared: &'a [String]) -> Self {
        let mut seen = BTreeSet::new();
        let listed = declared.iter().map(String::as_str).filter(|&id| seen.insert(id)).collect();
        Self { listed, sorted: seen.into_iter().collect() }
    }

    /// In the order of the engine's arms.
    pub(super) fn sorted(&self) -> &[&'a str] {
        &self.sorted
    }

    /// Checks that an offer is one of the placement's.
    pub(super) fn check(&self, path: &Path, id: &str, findings: &mut Findings) {
        if self.sorted.binary_search(&id).is_err() {
            findings.refuse_unknown(path, id, "offer of this placement", self.sorted.iter().copied());
        }
    }

    /// Checks an order of offers; returns the arm index of every offer: those of the order first, then the others as the
    /// placement lists them.
    pub(super) fn order(&self, path: &Path, order: &[String], findings: &mut Findings) -> Vec<usize> {
        let mut named = Seen::new();
        for (index, id) in order.iter().enumerate() {
            let path = path.index(index);
            self.check(&path, id, findings);
            findings.check_distinct(&path, id, &mut named);
        }
        let mut seen = BTreeSet::new();
        let all = order.iter().map(String::as_str).chain(self.listed.iter().copied());
        all.filter(|&id| seen.insert(id)).filter_map(|id| self.sorted.binary_search(&id).ok()).collect()
    }
}

/// Checks all placements.
pub(super) fn placements(
    catalog: &proto::Catalog,
    offers: &Offers<'_>,
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> BTreeMap<Arc<str>, Placement> {
    let path = Path::default().field("placements");
    if catalog.placements.is_empty() {
        findings.refuse(&path, "is empty: a catalog needs at least one placement");
    }
    findings.check_count(&path, catalog.placements.len(), PLACEMENTS_MAX);
    let mut seen = Seen::new();
    let mut placements = BTreeMap::new();
    for (index, declared) in catalog.placements.iter().enumerate() {
        let path = path.index(index);
        findings.check_id(&path.field("id"), &declared.id, &RESOURCE, &mut seen);
        let placement = placement(&path, declared, offers, metrics, findings);
        placements.insert(Arc::clone(&placement.id), placement);
    }
    groups::check_protected_everywhere(&catalog.placements, findings);
    placements
}

fn placement(
    path: &Path,
    declared: &proto::Placement,
    offers: &Offers<'_>,
    metrics: &Metrics<'_>,
    findings: &mut Findings,
) -> Placement {
    let arm_ids = ArmIds::new(&declared.offers);
    check_offers(&path.field("offers"), &declared.offers, offers, findings);
    let slots = slots(&path.field("slots"), declared, &arm_ids, findings);
    let policy = policy::policy(&path.field("policy"), declared.policy.as_ref(), &arm_ids, findings);
    let mut reward = reward::reward(&path.field("reward"), declared.reward.as_ref(), metrics, findings);
    if let Some(reward) = &mut reward {
        policy::fit_reward_to_beta(&policy.policy, reward, path, findings);
        check_worth(&declared.id, &policy.policy.objective, &reward.reward, &arm_ids, offers, findings);
    }
    let partitions = declared.partitions.unwrap_or(PARTITIONS_DEFAULT);
    findings.check_range(&path.field("partitions"), partitions, 1, PARTITIONS_MAX);
    let context = context::schema(&path.field("context"), declared.context.as_ref(), findings);
    let protected_path = path.field("protected_attributes");
    let protected = groups::protected(&protected_path, &declared.protected_attributes, &context, findings);
    let windows = timing::windows(path, declared, findings);
    let surroundings = Surroundings { arm_ids: &arm_ids, offers, metrics };
    let bounds_path = path.field("bounds");
    let has_protected = !protected.is_empty();
    let bounds = bounds::bounds(&bounds_path, declared.bounds.as_ref(), has_protected, &surroundings, findings);
    let shares = (declared.id.as_str(), declared.groups.as_ref());
    let groups = groups::groups(&path.field("groups"), shares, &arm_ids, findings);
    let learned = reward.as_ref().map(|draft| &draft.reward);
    let unit_rules = units::rules(path, declared, &surroundings, learned, windows.attribution_s, findings);
    let placement = Placement {
        id: Arc::from(declared.id.as_str()),
        arms: arms(&arm_ids, offers, &policy, &bounds),
        slots,
        context,
        policy: policy.policy,
        // Whatever stands in for a refused reward is never served.
        reward: reward.map_or(Reward { terms: Vec::new(), min: 0.0, max: 1.0, unit: 1.0 }, |draft| draft.reward),
        windows,
        exposure_assumed: timing::exposure_assumed(&path.field("exposure"), declared.exposure, findings),
        partitions,
        learning: timing::learning(&path.field("learning"), declared.learning.as_ref(), findings),
        unit_rules,
        bounds: bounds.bounds,
        groups,
        protected,
        rules: Vec::new(),
        terms: TermsByMarket::default(),
    };
    check_features(&path.field("context"), &placement, findings);
    placement
}

/// The placement's offers as the engine has them.
fn arms(arm_ids: &ArmIds<'_>, offers: &Offers<'_>, policy: &policy::Draft<'_>, bounds: &bounds::Draft) -> Vec<Arm> {
    let groups = exclusion_groups(arm_ids, offers);
    let arm = |(index, &id): (usize, &&str)| {
        let offer = Arc::clone(&offers.get(id)?.offer);
        let group = offer.exclusion_group.as_deref().and_then(|group| groups.binary_search(&group).ok());
        Some(Arm {
            exclusion_group: group.map_or(0, |index| index as u32 + 1),
            offer,
            floor: bounds.floors[index],
            cap: bounds.caps[index],
            sets: bounds.sets[index],
            beta_prior: policy.arm_priors.get(id).copied().unwrap_or(policy.beta_prior),
        })
    };
    arm_ids.sorted.iter().enumerate().filter_map(arm).collect()
}

/// The exclusion groups of a placement's offers, sorted.
fn exclusion_groups<'a>(arm_ids: &ArmIds<'_>, offers: &'a Offers<'_>) -> Vec<&'a str> {
    let named = arm_ids.sorted.iter().filter_map(|&id| offers.get(id)?.offer.exclusion_group.as_deref());
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

fn check_offers(path: &Path, declared: &[String], offers: &Offers<'_>, findings: &mut Findings) {
    if declared.is_empty() {
        findings.refuse(path, "is empty: list the offers that the placement chooses from");
    }
    findings.check_count(path, declared.len(), ARMS_MAX);
    let mut seen = Seen::new();
    let mut none = None;
    for (index, id) in declared.iter().enumerate() {
        let path = path.index(index);
        findings.check_distinct(&path, id, &mut seen);
        let Some(draft) = offers.get(id.as_str()) else {
            findings.refuse_unknown(&path, id, "offer of this catalog", offers.keys().copied());
            continue;
        };
        if draft.offer.kind == OfferKind::None {
            match none.get_or_insert(id) {
                first if *first == id => {}
                first => {
                    let description =
                        format!("is {id:?}, of kind NONE like {first:?}: there is one way to show nothing");
                    findings.refuse(&path, description);
                }
            }
        }
    }
}

fn slots(path: &Path, declared: &proto::Placement, arm_ids: &ArmIds<'_>, findings: &mut Findings) -> u32 {
    let slots = declared.slots.unwrap_or(1);
    let count = arm_ids.listed.len();
    if findings.check_range(path, slots, 1, SLOTS_MAX) && count > 0 && slots as usize > count {
        findings.refuse(path, format!("is {slots}, must be at most {count}, the number of the placement's offers"));
    }
    slots
}

/// Checks that comparing by value has a value to compare by, for every arm wherever it may be shown.
fn check_worth(
    placement: &str,
    objective: &Objective,
    reward: &Reward,
    arm_ids: &ArmIds<'_>,
    offers: &Offers<'_>,
    findings: &mut Findings,
) {
    // A reward in money is worth itself.
    if *objective == Objective::Reward || reward.terms.iter().any(|term| term.money) {
        return;
    }
    for draft in arm_ids.listed.iter().filter_map(|&id| offers.get(id)) {
        let price = |price: &proto::Price| price.price.as_ref().map_or(1, |price| price.amount_minor);
        let priced = draft.offer.kind != OfferKind::None && draft.declared.prices.values().all(|p| price(p) > 0);
        if draft.declared.value.is_none() && !priced {
            let description = format!(
                "is missing, but placement {placement:?} compares offers by VALUE: declare what one unit of its \
                 reward is worth for this offer, or a price above 0 in every market that it is sold in"
            );
            findings.refuse(&draft.path.field("value"), description);
        }
    }
}

fn check_features(path: &Path, placement: &Placement, findings: &mut Findings) {
    let count = placement.context.feature_count();
    // Slots are refused for what they are where they make no sense.
    let of_slots = if (1..=SLOTS_MAX).contains(&placement.slots) { placement.slot_feature_count() } else { 0 };
    if count + of_slots > FEATURES_MAX {
        let description = format!(
            "makes {} features (1 intercept, {} of attributes, {of_slots} of slots), must make at most {FEATURES_MAX}",
            count + of_slots,
            count - 1
        );
        findings.refuse(path, description);
    }
}
