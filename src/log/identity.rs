//! Whom a decision was made for: sealed in the log, and open to whoever has the store's key and the decision's salt.
//!
//! A salt is drawn for each decision and kept beside the log. Forgetting a user destroys salts, which leaves the log as it
//! is, and what was sealed unreadable, in every copy of the log there may be. What learning needs is not sealed.
//!
//! **Invariant: one key seals one text.** It is made of the decision's id and a salt of its own, so the nonce may be fixed.

use super::{DecodeError, decision_id::DecisionId, unit_codec};
use crate::{
    engine::{
        context::AttributeValue,
        group::Group,
        instant::Instant,
        unit::state::{UnitState, UnitView},
        user::UserState,
    },
    proto::{self, fields::Fields},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use prost::Message as _;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use sha2::Sha256;
use std::sync::Arc;

/// What a decision's identity is sealed under, together with the store's key.
pub type Salt = [u8; 16];

/// Most identities have at most this many bytes.
const IDENTITY_BYTES_USUAL: usize = 1 << 10;

const WHAT: &str = "decision's identity";

/// Whom a decision was made for, and what was known of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// What it is sealed under; no part of what is sealed.
    pub salt: Salt,
    /// Keyed hash of the user id.
    pub user_key: [u8; 16],
    /// Keyed hash of the unit id.
    pub unit_key: [u8; 16],
    /// Attributes as validated, by name, in the order of the context schema.
    pub attributes: Vec<(Arc<str>, AttributeValue)>,
    /// What was known of the user's subscription.
    pub user: UserState,
}

/// Seals and opens identities.
#[derive(Clone)]
pub struct Seals {
    keyed: Hmac<Sha256>,
}

impl Identity {
    /// The user as a number, to tell whose rows are whose.
    #[must_use]
    pub fn cluster(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.user_key;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// As it is archived: open, and without what it is sealed under.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(IDENTITY_BYTES_USUAL);
        write_identity(&mut Fields::new(&mut bytes), self);
        bytes
    }

    /// From bytes of [`Self::encode`], with a salt of nought.
    ///
    /// # Errors
    /// Where they are others.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let record =
            proto::IdentityRecord::decode(bytes).map_err(|source| DecodeError::Encoding { what: WHAT, source })?;
        decode_identity(Salt::default(), record)
    }
}

impl Seals {
    /// Of the store with this key.
    #[must_use]
    pub fn new(store_key: &[u8; 32]) -> Self {
        Self { keyed: Hmac::new_from_slice(store_key).expect("invariant: HMAC takes keys of any length") }
    }

    /// An identity that only its salt opens.
    #[must_use]
    pub fn seal(&self, decision: &DecisionId, identity: &Identity) -> Vec<u8> {
        let mut bytes = identity.encode();
        let sealed = self.key(decision, &identity.salt).seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes);
        sealed.expect("invariant: an identity is far shorter than the longest that can be sealed");
        bytes
    }

    /// What was sealed.
    ///
    /// # Errors
    /// Where it was sealed for another decision, with another salt or store, or has been changed since.
    pub fn open(&self, decision: &DecisionId, salt: &Salt, sealed: &[u8]) -> Result<Identity, DecodeError> {
        let mut bytes = sealed.to_vec();
        let opened = self.key(decision, salt).open_in_place(nonce(), Aad::empty(), &mut bytes);
        let opened = opened.map_err(|_| missing("seal"))?;
        Ok(Identity { salt: *salt, ..Identity::decode(opened)? })
    }

    fn key(&self, decision: &DecisionId, salt: &Salt) -> LessSafeKey {
        let key = self.keyed.clone().chain_update("identity").chain_update(decision.as_bytes()).chain_update(salt);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key.finalize().into_bytes());
        LessSafeKey::new(key.expect("invariant: an HMAC-SHA-256 is as long as a key of ChaCha20-Poly1305"))
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn missing(field: &'static str) -> DecodeError {
    DecodeError::Field { what: WHAT, field }
}

/// Writes an `IdentityRecord`.
fn write_identity(fields: &mut Fields<'_>, identity: &Identity) {
    fields.bytes(1, &identity.user_key);
    fields.bytes(2, &identity.unit_key);
    for (name, value) in &identity.attributes {
        fields.message(3, |fields| write_attribute(fields, name, value));
    }
    fields.message(4, |fields| write_user(fields, &identity.user));
}

fn decode_identity(salt: Salt, record: proto::IdentityRecord) -> Result<Identity, DecodeError> {
    Ok(Identity {
        salt,
        user_key: record.user_key.as_slice().try_into().map_err(|_| missing("user_key"))?,
        unit_key: record.unit_key.as_slice().try_into().map_err(|_| missing("unit_key"))?,
        attributes: record.attributes.into_iter().map(decode_attribute).collect::<Result<_, _>>()?,
        user: decode_user(record.user_state.ok_or_else(|| missing("user_state"))?)?,
    })
}

fn write_user(fields: &mut Fields<'_>, user: &UserState) {
    fields.truth(1, user.trial_used);
    fields.bytes(2, user.current_plan.as_deref().unwrap_or_default().as_bytes());
    if let Some(lapsed_at) = user.lapsed_at {
        fields.chosen_signed(3, lapsed_at.as_ms());
    }
    if user.unit.state != UnitState::default() {
        fields.element(4, &unit_codec::row(&user.unit.state).encode_to_vec());
    }
    fields.number(5, proto::LimitsMode::from(user.unit.limits) as u64);
}

fn write_attribute(fields: &mut Fields<'_>, name: &str, value: &AttributeValue) {
    match value {
        AttributeValue::Number(number) => fields.chosen_double(1, *number),
        AttributeValue::Category(word) => fields.element(2, word.as_bytes()),
        AttributeValue::Boolean(truth) => fields.chosen_truth(3, *truth),
    }
    fields.bytes(4, name.as_bytes());
}

fn decode_user(user: proto::UserStateRecord) -> Result<UserState, DecodeError> {
    let limits = proto::LimitsMode::try_from(user.limits).map_err(|_| missing("user_state.limits"))?;
    let state = user.unit_state.map(unit_codec::state).transpose()?.unwrap_or_default();
    Ok(UserState {
        unit: UnitView { state, limits: limits.into() },
        trial_used: user.trial_used,
        current_plan: (!user.current_plan.is_empty()).then(|| user.current_plan.into()),
        lapsed_at: user.lapsed_at_ms.map(Instant::from_ms),
        // It stands in the record itself: it identifies nobody.
        group: Group::default(),
    })
}

fn decode_attribute(record: proto::AttributeRecord) -> Result<(Arc<str>, AttributeValue), DecodeError> {
    use proto::attribute_record::Value;
    let value = match record.value.ok_or_else(|| missing("attributes"))? {
        Value::Number(number) => AttributeValue::Number(number),
        Value::Category(word) => AttributeValue::Category(word.into()),
        Value::Boolean(truth) => AttributeValue::Boolean(truth),
    };
    Ok((record.name.into(), value))
}
