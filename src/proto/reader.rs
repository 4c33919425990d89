//! Protobuf read field by field, without copying: of messages that are read so often that generated types cost too much.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// They end in the middle of something, or begin something that does not exist.
    #[error("the bytes are no protobuf message")]
    Malformed,
    /// A field has another type than it is declared with.
    #[error("field {0} has another type than it is declared with")]
    Type(u32),
    /// A text that is no UTF-8.
    #[error("field {0} is a text and no UTF-8")]
    Text(u32),
}

/// A field as it stands in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) tag: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    /// Of a type that nothing here has.
    Other,
}

/// Calls `take` with every field of a message, in order.
pub(crate) fn read_fields<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(Field<'a>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    while !bytes.is_empty() {
        take(Field::read(&mut bytes)?)?;
    }
    Ok(())
}

/// Adds packed `double`s.
pub(crate) fn read_doubles(packed: &[u8], to: &mut Vec<f64>) -> Result<(), ReadError> {
    let (doubles, rest) = packed.as_chunks();
    to.extend(doubles.iter().map(|double| f64::from_le_bytes(*double)));
    if rest.is_empty() { Ok(()) } else { Err(ReadError::Malformed) }
}

impl<'a> Field<'a> {
    fn read(bytes: &mut &'a [u8]) -> Result<Self, ReadError> {
        let (tag, wire_type) = decode_key(bytes).map_err(|_| ReadError::Malformed)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(bytes).map_err(|_| ReadError::Malformed)?),
            WireType::SixtyFourBit => {
                let (fixed, rest) = bytes.split_first_chunk().ok_or(ReadError::Malformed)?;
                *bytes = rest;
                Value::Fixed(u64::from_le_bytes(*fixed))
            }
            WireType::LengthDelimited => {
                let length = decode_varint(bytes).map_err(|_| ReadError::Malformed)?;
                let length = usize::try_from(length).map_err(|_| ReadError::Malformed)?;
                let (value, rest) = bytes.split_at_checked(length).ok_or(ReadError::Malformed)?;
                *bytes = rest;
                Value::Bytes(value)
            }
            WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
                skip_field(wire_type, tag, bytes, DecodeContext::default()).map_err(|_| ReadError::Malformed)?;
                Value::Other
            }
        };
        Ok(Self { tag, value })
    }

    /// `bytes` and messages.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], ReadError> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(ReadError::Type(self.tag)) }
    }

    /// `string`.
    pub(crate) fn text(&self) -> Result<&'a str, ReadError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ReadError::Text(self.tag))
    }

    /// `uint32`, `uint64`, `int64` as its bits, and enumerations.
    pub(crate) fn number(&self) -> Result<u64, ReadError> {
        if let Value::Varint(number) = self.value { Ok(number) } else { Err(ReadError::Type(self.tag)) }
    }

    /// `bool`.
    pub(crate) fn truth(&self) -> Result<bool, ReadError> {
        Ok(self.number()? != 0)
    }

    /// `fixed64`.
    pub(crate) fn fixed(&self) -> Result<u64, ReadError> {
        if let Value::Fixed(fixed) = self.value { Ok(fixed) } else { Err(ReadError::Type(self.tag)) }
    }

    /// `double`.
    pub(crate) fn double(&self) -> Result<f64, ReadError> {
        self.fixed().map(f64::from_bits)
    }
}
