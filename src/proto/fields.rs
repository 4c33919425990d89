//! Protobuf written field by field: a generated type would be filled only to be written and dropped.
//!
//! As everywhere in proto3, fields that hold their default are left out.

use crate::engine::snapshot::PosteriorVersion;
use prost::encoding::WireType;

/// Bytes of a varint that is not too short to say anything in one.
const ONE_BYTE_MAX: usize = 0x7f;

/// The fields of one message, in the order they are written.
#[derive(Debug)]
pub(crate) struct Fields<'a>(&'a mut Vec<u8>);

impl<'a> Fields<'a> {
    /// Appends to these bytes.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// `uint32`, `uint64` and enumerations.
    pub(crate) fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.key(tag, WireType::Varint);
            self.varint(value);
        }
    }

    /// `int64`.
    pub(crate) fn signed(&mut self, tag: u32, value: i64) {
        self.number(tag, value.cast_unsigned());
    }

    /// `bool`.
    pub(crate) fn truth(&mut self, tag: u32, value: bool) {
        self.number(tag, value.into());
    }

    /// `fixed64`.
    pub(crate) fn fixed(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.required_fixed(tag, value);
        }
    }

    /// `double`.
    pub(crate) fn double(&mut self, tag: u32, value: f64) {
        self.fixed(tag, value.to_bits());
    }

    /// A `double` that is chosen by its presence.
    pub(crate) fn chosen_double(&mut self, tag: u32, value: f64) {
        self.required_fixed(tag, value.to_bits());
    }

    /// A `bool` that is chosen by its presence.
    pub(crate) fn chosen_truth(&mut self, tag: u32, value: bool) {
        self.chosen_signed(tag, value.into());
    }

    /// An `int64` that is chosen by its presence.
    pub(crate) fn chosen_signed(&mut self, tag: u32, value: i64) {
        self.key(tag, WireType::Varint);
        self.varint(value.cast_unsigned());
    }

    /// `string` and `bytes`.
    pub(crate) fn bytes(&mut self, tag: u32, value: &[u8]) {
        if !value.is_empty() {
            self.element(tag, value);
        }
    }

    /// A `string` or `bytes` that is one of several, or is chosen by its presence.
    pub(crate) fn element(&mut self, tag: u32, value: &[u8]) {
        self.key(tag, WireType::LengthDelimited);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// `repeated uint32`, `repeated int64` and enumerations.
    pub(crate) fn numbers(&mut self, tag: u32, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() > 0 {
            self.message(tag, |fields| values.for_each(|value| fields.varint(value)));
        }
    }

    /// `repeated double`.
    pub(crate) fn doubles(&mut self, tag: u32, values: impl ExactSizeIterator<Item = f64>) {
        if values.len() > 0 {
            self.key(tag, WireType::LengthDelimited);
            self.varint(8 * values.len() as u64);
            self.0.reserve(8 * values.len());
            values.for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
        }
    }

    /// A message.
    pub(crate) fn message(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(tag, WireType::LengthDelimited);
        let length_at = self.0.len();
        self.0.push(0);
        write(&mut Fields(self.0));
        let start = length_at + 1;
        let length = self.0.len() - start;
        if length <= ONE_BYTE_MAX {
            self.0[length_at] = length as u8;
            return;
        }
        // What was written makes room for a longer length, which seldom happens.
        let mut varint = Vec::with_capacity(10);
        Fields(&mut varint).varint(length as u64);
        let more = varint.len() - 1;
        self.0.resize(self.0.len() + more, 0);
        self.0.copy_within(start..start + length, start + more);
        self.0[length_at..=length_at + more].copy_from_slice(&varint);
    }

    /// The fields of a `PosteriorVersion`.
    pub(crate) fn version(&mut self, version: &PosteriorVersion) {
        self.bytes(1, version.model_id.as_bytes());
        for (partition, &offset) in (0..).zip(&version.offsets) {
            self.message(2, |fields| {
                fields.number(1, partition);
                fields.number(2, offset);
            });
        }
    }

    fn key(&mut self, tag: u32, wire_type: WireType) {
        self.varint(u64::from(tag) << 3 | wire_type as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value > ONE_BYTE_MAX as u64 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn required_fixed(&mut self, tag: u32, value: u64) {
        self.key(tag, WireType::SixtyFourBit);
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}
