//! What is kept of units: read before deciding, replaced in the step that logs the decision, and brought in line with
//! what is reported on it. Placements that keep nothing pay nothing.

use super::{Result, Service, pseudonym::partition_of, serving::ServedPlacement, users, validate::RankCommand};
use crate::{
    engine::{
        history::UserHistory,
        instant::Instant,
        ledger::Ledger,
        unit::{
            lease,
            links::Links,
            rules::UnitRules,
            state::{DecisionBytes, Limits, UnitKey, UnitState, UnitView},
        },
    },
    log::{
        ledger_codec::decode_ledger,
        record::{DecisionRecord, LogRecord},
        unit_codec::{decode_unit_state, encode_unit_state},
    },
    store::{ChangeOutcome, DecisionAppend, DocumentChange, DocumentKey, LogId, StoreError, StoredDocument},
};
use futures_util::future::join;
use std::collections::{BTreeMap, BTreeSet};

/// How many races a request may lose; then it is decided without anything that others may be counting.
pub(super) const RACES_MAX: u32 = 2;
/// How often a report may lose a race for a document; every race has a winner, so this many losses mean a fault.
pub(super) const REPORT_RACES_MAX: usize = 1000;

/// A unit at a placement.
pub(super) struct Unit {
    /// Keyed hash of its id.
    pub(super) key: UnitKey,
    /// The log of its partition.
    pub(super) log: LogId,
    /// Keyed hash of the user's id.
    pub(super) user: [u8; 16],
}

impl Unit {
    fn document(&self) -> DocumentKey {
        DocumentKey::Unit { log: self.log, unit: self.key }
    }
}

/// What was read of a unit and its user, for deciding.
#[derive(Default)]
pub(super) struct Kept {
    /// Of the unit at the placement.
    pub(super) view: UnitView,
    /// Of the user across placements.
    pub(super) history: UserHistory,
    /// Whether anything that is kept could not be read.
    pub(super) unknown: bool,
    version: Option<u64>,
    /// Nothing that decides: it stays in the document, and out of the log.
    links: Links,
}

/// A decision on which something was reported, and the units whose documents it may concern.
pub(super) struct Settled {
    pub(super) decision: DecisionBytes,
    pub(super) ledger: Ledger,
    pub(super) units: BTreeSet<(LogId, UnitKey)>,
    /// What it says of these users.
    pub(super) facts: BTreeMap<[u8; 16], UserHistory>,
}

impl Kept {
    /// Whose group a unit is in.
    pub(super) fn group_key(&self, unit: UnitKey) -> UnitKey {
        self.links.first.map_or(unit, |(first, _)| first)
    }
}

impl Service {
    /// The unit that a request is of.
    pub(super) fn unit_of(&self, command: &RankCommand, served: &ServedPlacement) -> Unit {
        let unit_id = if command.unit_id.is_empty() { &command.user_id } else { &command.unit_id };
        let key = self.pseudonyms.unit(unit_id);
        let log = served.log(partition_of(&key, served.snapshot.placement.partitions));
        Unit { key, log, user: self.pseudonyms.user(&command.user_id) }
    }

    /// Whether anything is read before deciding at a placement.
    pub(super) fn reads_before_deciding(served: &ServedPlacement) -> bool {
        keeps_units(served) || reads_history(served)
    }

    /// What is kept of a unit and its user, read at once, for a request that has lost this many races.
    pub(super) async fn kept(&self, served: &ServedPlacement, unit: &Unit, races_lost: u32) -> Result<Kept> {
        let rules = &served.snapshot.placement.unit_rules;
        // Each by itself: in a Cluster they stand on different nodes, and where the user's is away the unit's log need not be.
        let of_unit = async {
            let read = async { self.document(unit.document()).await };
            if keeps_units(served) { self.in_time(unit.log, read).await } else { Ok(None) }
        };
        let of_user = async {
            let read = self.document(DocumentKey::User(unit.user));
            if reads_history(served) { self.of_user(read).await } else { Ok(None) }
        };
        let (of_unit, of_user) = join(of_unit, of_user).await;
        let mut kept = Kept::default();
        match of_unit {
            Ok(document) => {
                let limits = if races_lost < RACES_MAX { Limits::Counted } else { Limits::Uncounted };
                kept.version = document.as_ref().map(|document| document.version);
                let mut state = decode(document)?;
                kept.links = std::mem::take(&mut state.links);
                kept.view = UnitView { state, limits };
            }
            Err(error) if error.is_transient() => {
                kept.view = UnitView::unknown(rules);
                kept.unknown = true;
            }
            Err(error) => return Err(error.into()),
        }
        match of_user {
            Ok(document) => kept.history = users::decode(document)?.history,
            Err(error) if error.is_transient() => {
                // There is one trial in a lifetime: who may have had it is not offered another.
                kept.history.trial_used_at = Some(Instant::from_ms(0));
                kept.unknown = true;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(kept)
    }

    /// One document as it stands.
    pub(super) async fn document(&self, key: DocumentKey) -> Result<Option<StoredDocument>, StoreError> {
        Ok(self.store.documents(&[key]).await?.pop().flatten())
    }

    /// How the unit's document changes with a decision.
    pub(super) fn document_after(
        &self,
        served: &ServedPlacement,
        unit: &Unit,
        kept: &Kept,
        record: &DecisionRecord,
    ) -> Option<DocumentChange> {
        let placement = &served.snapshot.placement;
        if !placement.unit_rules.keep_anything() {
            return None;
        }
        let (id, now) = (*record.id.as_bytes(), record.decided_at);
        let market = record.market.as_ref();
        let view = &record.identity.as_ref()?.user.unit;
        let mut after = lease::after(view, placement, market, &record.decision, id, now)?;
        after.links = kept.links.clone();
        after.links.prune(now);
        // What was read means nothing any more, and goes by itself.
        after.expires_at(&placement.unit_rules)?;
        Some(self.change((unit.document(), kept.version), &after, &placement.unit_rules, now))
    }

    /// Replaces a document; removes it where there is nothing to keep.
    pub(super) fn change(
        &self,
        (key, from_version): (DocumentKey, Option<u64>),
        state: &UnitState,
        rules: &UnitRules,
        now: Instant,
    ) -> DocumentChange {
        let expires_at = state.expires_at(rules);
        DocumentChange {
            key,
            from_version,
            version: self.clock.random(),
            content: expires_at.map(|_| encode_unit_state(state)),
            changed_at: now,
            expires_at: expires_at.unwrap_or(now),
        }
    }

    /// Takes what a decision adds into its unit's document, where it could only be logged later.
    pub(super) async fn count_spooled(&self, append: &DecisionAppend) -> Result<(), StoreError> {
        let (Ok(LogRecord::Decision(record)), Some(salt)) = (LogRecord::decode(&append.record), &append.salt) else {
            return Ok(());
        };
        match record.opened(&self.seals, Some(&salt.salt)) {
            Ok(record) => self.take_in(&record).await,
            Err(_) => Ok(()),
        }
    }

    /// Takes what a logged decision adds into its unit's document: that alone, since what it was made from may have been
    /// taken back or forgotten meanwhile, and in line with what has been reported on it.
    pub(super) async fn take_in(&self, record: &DecisionRecord) -> Result<(), StoreError> {
        let (serving, log, decision) = (self.serving(), record.id.log(), *record.id.as_bytes());
        let (Some(served), Some(identity)) = (serving.placement_of(log), &record.identity) else { return Ok(()) };
        let placement = &served.snapshot.placement;
        if !placement.unit_rules.keep_anything() {
            return Ok(());
        }
        let (view, market) = (&identity.user.unit, record.market.as_ref());
        let added = lease::added(view, placement, market, &record.decision, decision, record.decided_at);
        let corrupt = |reason: String| StoreError::Corrupt { reason };
        let key = DocumentKey::Unit { log, unit: identity.unit_key };
        for _ in 0..REPORT_RACES_MAX {
            let found = self.document(key).await?;
            let version = found.as_ref().map(|document| document.version);
            let before = decode(found).map_err(|error| corrupt(error.to_string()))?;
            // After the document: what is reported from here on moves that.
            let stored = self.store.decisions(&[decision]).await?.pop().flatten();
            // Whoever was forgotten since is not remembered by what comes late.
            if stored.as_ref().is_none_or(|stored| stored.salt.is_none()) {
                return Ok(());
            }
            let mut state = before.clone();
            state.merge(&added);
            if let (Some(stored), None) = (stored, record.decision.root) {
                let ledger =
                    decode_ledger(&stored.ledger, stored.offset).map_err(|error| corrupt(error.to_string()))?;
                state.settle(&placement.unit_rules, decision, &ledger, self.clock.now());
            }
            state.prune(&placement.unit_rules, self.clock.now());
            if state == before {
                return Ok(());
            }
            let change = self.change((key, version), &state, &placement.unit_rules, self.clock.now());
            if self.store.change_documents(vec![change]).await? == [ChangeOutcome::Changed] {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable { reason: format!("a document was changed {REPORT_RACES_MAX} times in a row") })
    }

    /// Brings documents in line with what was reported, those of units that go on from these included.
    ///
    /// After the ledgers, in steps of its own: a report that is acknowledged has been taken in here as well, and one that
    /// failed in between is sent again and comes here as a duplicate.
    pub(super) async fn settle_units(&self, settled: Vec<Settled>, now: Instant) -> Result<()> {
        for Settled { decision, ledger, units, facts } in settled {
            self.learn_of_users(facts, now).await?;
            let mut pending = units;
            let mut done = BTreeSet::new();
            for _ in 0..REPORT_RACES_MAX {
                if pending.is_empty() {
                    break;
                }
                let (moved, heirs) = self.settle_once(&pending, decision, &ledger, now).await?;
                done.extend(pending.difference(&moved).copied());
                pending = heirs.difference(&done).copied().chain(moved).collect();
            }
            if !pending.is_empty() {
                let reason = format!("reports of one unit lost {REPORT_RACES_MAX} races in a row; send them again");
                return Err(StoreError::Unavailable { reason }.into());
            }
        }
        Ok(())
    }

    /// Returns the units whose documents moved, and those that go on from the others.
    async fn settle_once(
        &self,
        units: &BTreeSet<(LogId, UnitKey)>,
        decision: DecisionBytes,
        ledger: &Ledger,
        now: Instant,
    ) -> Result<(BTreeSet<(LogId, UnitKey)>, BTreeSet<(LogId, UnitKey)>)> {
        let serving = self.serving();
        let document = |&(log, unit): &(LogId, UnitKey)| ((log, unit), DocumentKey::Unit { log, unit });
        let documents: Vec<_> = units.iter().map(document).collect();
        let mut heirs = BTreeSet::new();
        let settle = |(log, unit): (LogId, UnitKey), found: Option<StoredDocument>| {
            // A placement that has left the catalog keeps nothing any more.
            let Some(served) = serving.placement_of(log) else { return Ok(None) };
            let placement = &served.snapshot.placement;
            let version = found.as_ref().map(|document| document.version);
            let before = decode(found)?;
            let mut after = before.clone();
            after.settle(&placement.unit_rules, decision, ledger, now);
            let of_heir = |heir: &UnitKey| (served.log(partition_of(heir, placement.partitions)), *heir);
            heirs.extend(after.links.heirs.keys().map(of_heir));
            let key = DocumentKey::Unit { log, unit };
            Ok((after != before).then(|| self.change((key, version), &after, &placement.unit_rules, now)))
        };
        let moved = self.change_once(&documents, settle).await?;
        Ok((moved.into_iter().collect(), heirs))
    }
}

/// Whether anything is kept of units at a placement: links, at least, where they tell a unit's group.
pub(super) fn keeps_units(served: &ServedPlacement) -> bool {
    let placement = &served.snapshot.placement;
    placement.unit_rules.keep_anything() || placement.groups.divide()
}

/// Whether what is known of the user decides at a placement.
fn reads_history(served: &ServedPlacement) -> bool {
    served.snapshot.catalog.history.is_some() && served.snapshot.placement.looks_at_users()
}

/// The state in a document.
pub(super) fn decode(found: Option<StoredDocument>) -> Result<UnitState> {
    Ok(found.map(|document| decode_unit_state(&document.content)).transpose()?.unwrap_or_default())
}
