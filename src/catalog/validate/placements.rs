//! Placements: their arms with floors and worth, and everything else put together.

use super::{
    context,
    findings::{Findings, RESOURCE, Seen},
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
/// How far floors may sum above 1: ten times 0.1 does not make 1 in binary.
const FLOOR_SUM_TOLERANCE: f64 = 1e-9;

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

    /// The arm index of every offer: those of an order first, then the others as the placement lists them.
    pub(super) fn complete_order(&self, order: &[String]) -> Vec<usize> {
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
    let floors = floors(&path.field("bounds"), declared.bounds.as_ref(), &arm_ids, findings);
    let partitions = declared.partitions.unwrap_or(PARTITIONS_DEFAULT);
    findings.check_range(&path.field("partitions"), partitions, 1, PARTITIONS_MAX);
    let groups = groups(&arm_ids, offers);
    let arm = |(&id, floor): (&&str, f64)| {
        let offer = Arc::clone(&offers.get(id)?.offer);
        let group = offer.exclusion_group.as_deref().and_then(|group| groups.binary_search(&group).ok());
        let beta_prior = policy.arm_priors.get(id).copied().unwrap_or(policy.beta_prior);
        Some(Arm { exclusion_group: group.map_or(0, |index| index as u32 + 1), offer, floor, beta_prior })
    };
    let windows = timing::windows(path, declared, findings);
    let surroundings = Surroundings { arm_ids: &arm_ids, offers, metrics };
    let learned = reward.as_ref().map(|draft| &draft.reward);
    let unit_rules = units::rules(path, declared, &surroundings, learned, windows.attribution_s, findings);
    let placement = Placement {
        id: Arc::from(declared.id.as_str()),
        arms: arm_ids.sorted.iter().zip(floors).filter_map(arm).collect(),
        slots,
        context: context::schema(&path.field("context"), declared.context.as_ref(), findings),
        policy: policy.policy,
        // Whatever stands in for a refused reward is never served.
        reward: reward.map_or(Reward { terms: Vec::new(), min: 0.0, max: 1.0, unit: 1.0 }, |draft| draft.reward),
        windows,
        exposure_assumed: timing::exposure_assumed(&path.field("exposure"), declared.exposure, findings),
        partitions,
        learning: timing::learning(&path.field("learning"), declared.learning.as_ref(), findings),
        unit_rules,
        rules: Vec::new(),
        terms: TermsByMarket::default(),
    };
    check_features(&path.field("context"), &placement, findings);
    placement
}

/// The exclusion groups of a placement's offers, sorted.
fn groups<'a>(arm_ids: &ArmIds<'_>, offers: &'a Offers<'_>) -> Vec<&'a str> {
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

/// Floors in the order of the engine's arms.
fn floors(path: &Path, declared: Option<&proto::Bounds>, arm_ids: &ArmIds<'_>, findings: &mut Findings) -> Vec<f64> {
    let Some(proto::Bounds { floor, floors: own }) = declared else { return vec![0.0; arm_ids.sorted.len()] };
    let mut accepted = findings.check_range(&path.field("floor"), *floor, 0.0, 1.0);
    for (id, &floor) in own {
        let path = path.field("floors").key(id);
        arm_ids.check(&path, id, findings);
        accepted &= findings.check_range(&path, floor, 0.0, 1.0);
    }
    let floors: Vec<f64> = arm_ids.sorted.iter().map(|&id| own.get(id).copied().unwrap_or(*floor)).collect();
    let sum: f64 = floors.iter().sum();
    if accepted && sum > 1.0 + FLOOR_SUM_TOLERANCE {
        let count = floors.len();
        // Rounded as people write it: 0.4 + 0.8 is 1.2000000000000002.
        let sum = libm::round(sum * 1e6) / 1e6;
        findings.refuse(path, format!("has floors that sum to {sum} over {count} offers, must sum to at most 1"));
    }
    floors
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
