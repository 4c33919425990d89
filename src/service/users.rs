//! What is known of users across placements: learned from outcomes and imports, passed on at login.

use super::{
    Result, Service, ServiceError, Violation,
    pseudonym::partition_of,
    serving::ServedPlacement,
    units::{self, REPORT_RACES_MAX},
    validate::{USER_ID_BYTES_MAX, length},
};
use crate::{
    engine::{
        history::{KeptUser, UserHistory},
        instant::Instant,
        ledger::CLOCK_SKEW_MAX_S,
        unit::state::UnitKey,
        user::PLAN_BYTES_MAX,
    },
    log::unit_codec::{decode_user, encode_user},
    store::{ChangeOutcome, DocumentChange, DocumentKey, StoreError, StoredDocument},
};
use std::collections::BTreeMap;

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
    /// Everything that is wrong at `now`, each by the field below `path`. Facts are never taken back, and the latest
    /// counts: one of a time to come would outweigh whatever happens until then.
    pub fn violations(&self, path: &str, now: Instant) -> Vec<Violation> {
        let mut found = Vec::new();
        let field = |name: &str| format!("{path}{name}");
        length(&field("user_id"), &self.user_id, 1, USER_ID_BYTES_MAX, &mut found);
        length(&field("plan"), &self.plan, 0, PLAN_BYTES_MAX, &mut found);
        let times = [
            ("trial_used_at", &self.trial_used_at),
            ("subscribed_at", &self.subscribed_at),
            ("lapsed_at", &self.lapsed_at),
        ];
        let latest = now.plus_s(CLOCK_SKEW_MAX_S);
        for (name, time) in times {
            match time {
                Ok(Some(at)) if latest < *at => {
                    let description = format!(
                        "is {at}, must be at most {latest}, {CLOCK_SKEW_MAX_S} s ahead of the clock here: tell what has \
                         happened, when it has"
                    );
                    found.push(Violation::new(&field(name), description));
                }
                Ok(_) => {}
                Err(description) => found.push(Violation::new(&field(name), description.clone())),
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

/// Keyed hash of a user's id.
type UserKey = [u8; 16];

/// What is kept of a user in a document.
pub(super) fn decode(found: Option<StoredDocument>) -> Result<KeptUser> {
    Ok(found.map(|document| decode_user(&document.content)).transpose()?.unwrap_or_default())
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
        let now = self.clock.now();
        let of_user = |(index, facts): (usize, &UserFacts)| facts.violations(&format!("users[{index}]."), now);
        violations.extend(users.iter().enumerate().flat_map(of_user));
        if !violations.is_empty() {
            return Err(ServiceError::Invalid { violations });
        }
        let mut facts = BTreeMap::<_, UserHistory>::new();
        for user in users {
            facts.entry(self.pseudonyms.user(&user.user_id)).or_default().merge(&user.history());
        }
        self.learn_of_users(facts, now).await
    }

    /// Merges facts into what is known of users, and of those who go on from them. Nothing where the catalog keeps no
    /// history.
    pub(super) async fn learn_of_users(&self, facts: BTreeMap<UserKey, UserHistory>, now: Instant) -> Result<()> {
        if self.serving().catalog.history.is_none() {
            return Ok(());
        }
        let (mut pending, mut learned) = (facts, BTreeMap::<UserKey, UserHistory>::new());
        for _ in 0..REPORT_RACES_MAX {
            pending.retain(|_, facts| *facts != UserHistory::default());
            if pending.is_empty() {
                return Ok(());
            }
            let users: Vec<_> = pending.keys().copied().collect();
            let mut of_heirs = BTreeMap::<UserKey, UserHistory>::new();
            let learn = |user, kept: &mut KeptUser| {
                kept.history.merge(&pending[&user]);
                for heir in kept.links.heirs.keys() {
                    of_heirs.entry(*heir).or_default().merge(&pending[&user]);
                }
            };
            let moved = self.change_users(&users, now, learn).await?;
            for (user, facts) in &pending {
                learned.entry(*user).or_default().merge(facts);
            }
            pending.retain(|user, _| moved.contains(user));
            // Users may go on from each other: what one has learned already is not told again.
            for (heir, facts) in of_heirs {
                let known = learned.entry(heir).or_default();
                let before = known.clone();
                known.merge(&facts);
                if *known != before {
                    pending.entry(heir).or_default().merge(&facts);
                }
            }
        }
        Err(races_lost())
    }

    /// Changes what is kept of users, once; returns those of whom somebody else changed it in between.
    async fn change_users(
        &self,
        users: &[UserKey],
        now: Instant,
        mut change: impl FnMut(UserKey, &mut KeptUser) + Send,
    ) -> Result<Vec<UserKey>> {
        let rules = self.serving().catalog.history.clone();
        let documents: Vec<_> = users.iter().map(|user| (*user, DocumentKey::User(*user))).collect();
        let changed = |user, found: Option<StoredDocument>| {
            let from_version = found.as_ref().map(|document| document.version);
            let before = decode(found)?;
            let mut after = before.clone();
            change(user, &mut after);
            after.links.prune(now);
            let expires_at = after.expires_at(rules.as_ref(), now);
            Ok((after != before).then(|| DocumentChange {
                key: DocumentKey::User(user),
                from_version,
                version: self.clock.random(),
                content: expires_at.map(|_| encode_user(&after)),
                changed_at: now,
                expires_at: expires_at.unwrap_or(now),
            }))
        };
        self.change_once(&documents, changed).await
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
        self.link_users(self.pseudonyms.user(unit_id), self.pseudonyms.user(user_id), now).await?;
        let serving = self.serving();
        for served in serving.placements.values() {
            if units::keeps_units(served) {
                self.link_at(served, device, user, now).await?;
            }
        }
        Ok(())
    }

    /// The links first: what is learned of the device from then on reaches its heir by them, and what was known before is
    /// read afterwards.
    async fn link_users(&self, device: UserKey, user: UserKey, now: Instant) -> Result<()> {
        let mut pending = vec![user, device];
        for _ in 0..REPORT_RACES_MAX {
            let link = |linked, kept: &mut KeptUser| {
                let (links, other) =
                    if linked == user { (&mut kept.links.origins, device) } else { (&mut kept.links.heirs, user) };
                links.entry(other).or_insert(now);
            };
            pending = self.change_users(&pending, now, link).await?;
            if pending.is_empty() {
                let known = self.document(DocumentKey::User(device)).await?;
                return self.learn_of_users(BTreeMap::from([(user, decode(known)?.history)]), now).await;
            }
        }
        Err(races_lost())
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
            user_after.links.go_on_from(device, &device_before.links, now);
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
}

pub(super) fn races_lost() -> ServiceError {
    let reason = format!("what is kept of a user was changed {REPORT_RACES_MAX} times in a row; ask again");
    StoreError::Unavailable { reason }.into()
}
