//! What is known of users across placements: learned from outcomes and imports, passed on at login, forgotten on demand.

use super::{
    Result, Service, ServiceError, Violation,
    pseudonym::partition_of,
    serving::ServedPlacement,
    units::{self, REPORT_RACES_MAX},
    validate::{USER_ID_BYTES_MAX, length},
};
use crate::{
    engine::{
        catalog::PARTITIONS_MAX,
        history::{HistoryRules, UserHistory},
        instant::Instant,
        unit::state::UnitKey,
        user::PLAN_BYTES_MAX,
    },
    log::unit_codec::{decode_history, encode_history},
    store::{ChangeOutcome, DocumentChange, DocumentKey, LogId, StoreError, StoredDocument},
};
use std::collections::{BTreeMap, BTreeSet};

/// Most users of one call.
pub const USERS_MAX: usize = 1000;

/// What a caller tells of one user.
#[derive(Clone, Debug)]
pub struct UserFacts {
    /// The user.
    pub user_id: String,
    /// When a trial was used; `None`: not told; `Err`: not a time.
    pub trial_used_at: Result<Option<Instant>, String>,
    /// The plan; empty: not told.
    pub plan: String,
    /// Since when; `None`: not told; `Err`: not a time.
    pub subscribed_at: Result<Option<Instant>, String>,
    /// When a subscription last ended; `None`: not told; `Err`: not a time.
    pub lapsed_at: Result<Option<Instant>, String>,
}

impl UserFacts {
    /// Everything that is wrong, each by the field below `path`.
    pub fn violations(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let field = |name: &str| format!("{path}{name}");
        length(&field("user_id"), &self.user_id, 1, USER_ID_BYTES_MAX, &mut found);
        length(&field("plan"), &self.plan, 0, PLAN_BYTES_MAX, &mut found);
        let times = [
            ("trial_used_at", &self.trial_used_at),
            ("subscribed_at", &self.subscribed_at),
            ("lapsed_at", &self.lapsed_at),
        ];
        for (name, time) in times {
            if let Err(description) = time {
                found.push(Violation::new(&field(name), description.clone()));
            }
        }
        match (&self.subscribed_at, self.plan.is_empty()) {
            (Ok(None), false) => {
                found.push(Violation::new(&field("subscribed_at"), "is missing: since when the plan?"))
            }
            (Ok(Some(_)), true) => found.push(Violation::new(&field("plan"), "is missing: which plan since then?")),
            _ => {}
        }
        found
    }

    fn history(&self) -> UserHistory {
        let time = |time: &Result<Option<Instant>, String>| time.as_ref().ok().copied().flatten();
        UserHistory {
            trial_used_at: time(&self.trial_used_at),
            subscribed: time(&self.subscribed_at).map(|since| (since, self.plan.as_str().into())),
            churned_at: time(&self.lapsed_at),
        }
    }
}

/// The history in a document.
pub(super) fn decode(found: Option<StoredDocument>) -> Result<UserHistory> {
    Ok(found.map(|document| decode_history(&document.content)).transpose()?.unwrap_or_default())
}

impl Service {
    /// Takes in what is told of users.
    ///
    /// # Errors
    /// Everything that is wrong, and then nothing is kept; and where the store is away: then all may be told again.
    pub async fn record_history(&self, users: &[UserFacts]) -> Result<()> {
        let mut violations = Vec::new();
        if self.serving().catalog.history.is_none() {
            let description = "cannot be kept: the catalog has no history; declare what is kept of users there first";
            violations.push(Violation::new("users", description));
        }
        if users.len() > USERS_MAX {
            let description = format!("has {} entries, must have at most {USERS_MAX}", users.len());
            violations.push(Violation::new("users", description));
        }
        let of_user = |(index, facts): (usize, &UserFacts)| facts.violations(&format!("users[{index}]."));
        violations.extend(users.iter().enumerate().flat_map(of_user));
        if !violations.is_empty() {
            return Err(ServiceError::Invalid { violations });
        }
        let mut facts = BTreeMap::<_, UserHistory>::new();
        for user in users {
            facts.entry(self.pseudonyms.user(&user.user_id)).or_default().merge(&user.history());
        }
        self.learn_of_users(facts, self.clock.now()).await
    }

    /// Merges facts into what is known of users. Nothing where the catalog keeps no history.
    pub(super) async fn learn_of_users(&self, mut facts: BTreeMap<[u8; 16], UserHistory>, now: Instant) -> Result<()> {
        let Some(rules) = self.serving().catalog.history.clone() else { return Ok(()) };
        facts.retain(|_, facts| *facts != UserHistory::default());
        for _ in 0..REPORT_RACES_MAX {
            if facts.is_empty() {
                return Ok(());
            }
            let documents: Vec<_> = facts.keys().map(|user| (*user, DocumentKey::User(*user))).collect();
            let merge = |user, found: Option<StoredDocument>| {
                let version = found.as_ref().map(|document| document.version);
                let before = decode(found)?;
                let mut after = before.clone();
                after.merge(&facts[&user]);
                Ok((after != before).then(|| self.history_change((user, version), &after, &rules, now)))
            };
            let moved = self.change_once(&documents, merge).await?;
            facts.retain(|user, _| moved.contains(user));
        }
        Err(races_lost())
    }

    fn history_change(
        &self,
        (user, from_version): ([u8; 16], Option<u64>),
        history: &UserHistory,
        rules: &HistoryRules,
        now: Instant,
    ) -> DocumentChange {
        DocumentChange {
            key: DocumentKey::User(user),
            from_version,
            version: self.clock.random(),
            content: Some(encode_history(history)),
            changed_at: now,
            expires_at: now.plus_s(rules.kept_s),
        }
    }

    /// Lets a user go on from a device at every placement.
    ///
    /// # Errors
    /// Everything that is wrong with the ids; and where the store is away: then it may be told again.
    pub async fn link_unit(&self, unit_id: &str, user_id: &str) -> Result<()> {
        let mut violations = Vec::new();
        length("unit_id", unit_id, 1, USER_ID_BYTES_MAX, &mut violations);
        length("user_id", user_id, 1, USER_ID_BYTES_MAX, &mut violations);
        if !violations.is_empty() {
            return Err(ServiceError::Invalid { violations });
        }
        let now = self.clock.now();
        let (device, user) = (self.pseudonyms.unit(unit_id), self.pseudonyms.unit(user_id));
        if device == user {
            return Ok(());
        }
        let known = self.store.documents(&[DocumentKey::User(self.pseudonyms.user(unit_id))]).await?.pop().flatten();
        self.learn_of_users(BTreeMap::from([(self.pseudonyms.user(user_id), decode(known)?)]), now).await?;
        let serving = self.serving();
        for served in serving.placements.values() {
            if served.snapshot.placement.unit_rules.keep_anything() {
                self.link_at(served, device, user, now).await?;
            }
        }
        Ok(())
    }

    /// The user's document first: what the device's then says of its heir is true at any time.
    async fn link_at(&self, served: &ServedPlacement, device: UnitKey, user: UnitKey, now: Instant) -> Result<()> {
        let placement = &served.snapshot.placement;
        let rules = &placement.unit_rules;
        let key =
            |unit: UnitKey| DocumentKey::Unit { log: served.log(partition_of(&unit, placement.partitions)), unit };
        for _ in 0..REPORT_RACES_MAX {
            let found = self.store.documents(&[key(device), key(user)]).await?;
            let versions: Vec<_> = found.iter().map(|found| found.as_ref().map(|document| document.version)).collect();
            let mut states = found.into_iter().map(units::decode);
            let (Some(of_device), Some(of_user)) = (states.next().transpose()?, states.next().transpose()?) else {
                return Ok(());
            };
            let (mut device_before, mut user_before) = (of_device, of_user);
            device_before.prune(rules, now);
            user_before.prune(rules, now);
            let mut user_after = user_before.clone();
            user_after.merge(&device_before);
            user_after.links.origins.entry(device).or_insert(now);
            user_after.links.prune(now);
            let mut device_after = device_before.clone();
            device_after.links.heirs.entry(user).or_insert(now);
            device_after.links.prune(now);
            let mut moved = false;
            for (unit, version, before, after) in
                [(user, versions[1], user_before, user_after), (device, versions[0], device_before, device_after)]
            {
                if after != before && !moved {
                    let change = self.change((key(unit), version), &after, rules, now);
                    moved = self.store.change_documents(vec![change]).await? == [ChangeOutcome::Moved];
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err(races_lost())
    }

    /// Removes what is kept of a user, of the user's unit and of those it goes on from, at every placement there ever
    /// was; returns how many documents that were.
    ///
    /// # Errors
    /// Where the id is wrong; and where the store is away: then it may be asked again.
    pub async fn forget_user(&self, user_id: &str) -> Result<u32> {
        let mut violations = Vec::new();
        length("user_id", user_id, 1, USER_ID_BYTES_MAX, &mut violations);
        if !violations.is_empty() {
            return Err(ServiceError::Invalid { violations });
        }
        let mut pending = BTreeSet::from([DocumentKey::User(self.pseudonyms.user(user_id))]);
        let serving = self.serving();
        let placements: Vec<u16> = serving.stored.placement_numbers.iter().map(|(_, number)| *number).collect();
        pending.extend(everywhere(&placements, self.pseudonyms.unit(user_id)));
        let mut forgotten = BTreeSet::new();
        for _ in 0..REPORT_RACES_MAX {
            let documents: Vec<_> = std::mem::take(&mut pending).into_iter().map(|key| (key, key)).collect();
            let mut origins = BTreeSet::new();
            let remove = |key, found: Option<StoredDocument>| {
                let Some(document) = found else { return Ok(None) };
                let from_version = Some(document.version);
                if matches!(key, DocumentKey::Unit { .. }) {
                    origins.extend(units::decode(Some(document))?.links.origins.into_keys());
                }
                forgotten.insert(key);
                let now = self.clock.now();
                Ok(Some(DocumentChange {
                    key,
                    from_version,
                    version: 0,
                    content: None,
                    changed_at: now,
                    expires_at: now,
                }))
            };
            let moved = self.change_once(&documents, remove).await?;
            forgotten.retain(|key| !moved.contains(key));
            pending.extend(moved);
            let of_origins = origins.into_iter().flat_map(|unit| everywhere(&placements, unit));
            pending.extend(of_origins.filter(|key| !forgotten.contains(key)));
            if pending.is_empty() {
                return Ok(forgotten.len() as u32);
            }
        }
        Err(races_lost())
    }
}

/// Where a unit's documents may stand: at every placement, whatever its number of partitions was.
fn everywhere(placements: &[u16], unit: UnitKey) -> BTreeSet<DocumentKey> {
    let partitions: BTreeSet<u16> = (1..=PARTITIONS_MAX).map(|count| partition_of(&unit, count)).collect();
    let at = |&placement: &u16| {
        let logs = partitions.iter().map(move |&partition| LogId { placement, partition });
        logs.map(move |log| DocumentKey::Unit { log, unit }).collect::<Vec<_>>()
    };
    placements.iter().flat_map(at).collect()
}

fn races_lost() -> ServiceError {
    let reason = format!("what is kept of a user was changed {REPORT_RACES_MAX} times in a row; ask again");
    StoreError::Unavailable { reason }.into()
}
