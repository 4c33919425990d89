//! How Rank is read and written: the wire format of `ranking.proto`, without the detours of generated types.
//!
//! Rank is called for every page view, and the maps and boxes of the generated request cost more than all checks of what
//! is in them. The messages here are read from the same bytes: a map is a repeated pair on the wire.

use super::{convert::given_instant, rank_answer};
use crate::{
    engine::context::AttributeValue,
    proto::{
        self,
        reader::{Field, ReadError, read_fields},
    },
    service::{
        rank::Answer,
        validate::{GivenValue, RankCommand},
    },
};
use prost::{
    Message,
    bytes::{Buf as _, BufMut as _},
};
use prost_types::Timestamp;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Most requests have at most so many attributes.
const ATTRIBUTES_USUAL: usize = 32;
/// What is allocated for an answer: more than most have.
const ANSWER_BYTES: usize = 2 << 10;
/// From how many bytes on an answer is sent before its end: none is, since there is one message.
const YIELD_BYTES: usize = 32 << 10;

/// A Rank as it was asked.
#[derive(Debug)]
pub(super) struct RankCall {
    pub(super) command: RankCommand,
    /// Whether the answer is to be explained.
    pub(super) explain: bool,
}

/// A Rank as it is answered.
#[derive(Debug)]
pub(super) struct RankAnswer {
    pub(super) answer: Answer,
    /// Whether it is to be explained.
    pub(super) explain: bool,
}

impl RankCall {
    /// Reads a `RankRequest`.
    ///
    /// # Errors
    /// Where the bytes are no such message, or a text is no UTF-8.
    fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let (mut command, mut explain) = (RankCommand::default(), false);
        let mut attributes = Vec::with_capacity(ATTRIBUTES_USUAL);
        read_fields(bytes, |field| {
            match field.tag {
                1 => field.text()?.clone_into(&mut command.placement),
                2 => field.text()?.clone_into(&mut command.user_id),
                3 => field.text()?.clone_into(&mut command.unit_id),
                4 => attributes.push(read_attribute(field.bytes()?)?),
                5 => field.text()?.clone_into(&mut command.market),
                6 => field.text()?.clone_into(&mut command.platform),
                7 => command.candidates.push(field.text()?.to_owned()),
                8 => command.slots = Some(field.number()? as u32),
                9 => field.text()?.clone_into(&mut command.request_id),
                10 => explain = field.truth()?,
                11 => command.include_tail = field.truth()?,
                12 => command.trial_used = Some(field.truth()?),
                13 => command.current_plan = Some(field.text()?.to_owned()),
                15 => command.protected.push(read_protected(field.bytes()?)?),
                14 => command.lapsed_at = Some(given_instant(&read_whole::<Timestamp>(field.bytes()?)?)),
                _ => {}
            }
            Ok(())
        })?;
        command.attributes = attributes.into_iter().collect();
        // How much is explained changes the answer's looks, not the decision: it is no part of the body. A request that
        // cannot be repeated needs no body.
        if !command.request_id.is_empty() {
            let request = proto::RankRequest { explain: false, ..read_whole(bytes)? };
            command.body = request.encode_to_vec();
        }
        Ok(Self { command, explain })
    }
}

/// A message that is read too seldom to be read field by field.
fn read_whole<M: Message + Default>(bytes: &[u8]) -> Result<M, ReadError> {
    M::decode(bytes).map_err(|_| ReadError::Malformed)
}

/// An entry of the map of attributes.
fn read_attribute(bytes: &[u8]) -> Result<(&str, GivenValue), ReadError> {
    let (mut name, mut value) = ("", GivenValue::Other("null"));
    read_fields(bytes, |field| {
        match field.tag {
            1 => name = field.text()?,
            2 => read_fields(field.bytes()?, |kind| read_value(kind, &mut value))?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, value))
}

/// An entry of the map of protected attributes.
fn read_protected(bytes: &[u8]) -> Result<(String, String), ReadError> {
    let (mut name, mut value) = ("", "");
    read_fields(bytes, |field| {
        match field.tag {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// One kind of a `google.protobuf.Value`. What is in a list or an object does not matter: no attribute has such values.
fn read_value(kind: Field<'_>, value: &mut GivenValue) -> Result<(), ReadError> {
    *value = match kind.tag {
        1 => kind.number().map(|_| GivenValue::Other("null"))?,
        2 => GivenValue::Value(AttributeValue::Number(kind.double()?)),
        3 => GivenValue::Value(AttributeValue::Category(kind.text()?.into())),
        4 => GivenValue::Value(AttributeValue::Boolean(kind.truth()?)),
        5 => kind.bytes().map(|_| GivenValue::Other("an object"))?,
        6 => kind.bytes().map(|_| GivenValue::Other("a list"))?,
        _ => return Ok(()),
    };
    Ok(())
}

/// Reads requests and writes answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RankCodec;

impl Codec for RankCodec {
    type Encode = RankAnswer;
    type Decode = RankCall;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for RankCodec {
    type Item = RankCall;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<RankCall>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        RankCall::read(&bytes)
            .map(Some)
            .map_err(|error| Status::internal(format!("a RankRequest cannot be read: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Encoder for RankCodec {
    type Item = RankAnswer;
    type Error = Status;

    fn encode(&mut self, item: RankAnswer, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&rank_answer::encode(&item.answer, item.explain));
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ANSWER_BYTES, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::instant::Instant;
    use prost_types::value::Kind as Given;
    use std::collections::BTreeMap;

    fn value(kind: Given) -> prost_types::Value {
        prost_types::Value { kind: Some(kind) }
    }

    fn request() -> proto::RankRequest {
        let object = prost_types::Struct { fields: BTreeMap::from([("x".to_owned(), value(Given::NullValue(0)))]) };
        let attributes = [
            ("number", value(Given::NumberValue(-0.0))),
            ("text", value(Given::StringValue("word".to_owned()))),
            ("truth", value(Given::BoolValue(true))),
            ("null", value(Given::NullValue(0))),
            ("nothing", prost_types::Value { kind: None }),
            ("object", value(Given::StructValue(object))),
            ("list", value(Given::ListValue(prost_types::ListValue { values: vec![value(Given::BoolValue(false))] }))),
        ];
        proto::RankRequest {
            placement: "paywall".to_owned(),
            user_id: "user".to_owned(),
            unit_id: "unit".to_owned(),
            attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
            market: "SE".to_owned(),
            platform: "web".to_owned(),
            candidate_offer_ids: vec!["b".to_owned(), "a".to_owned()],
            slots: Some(0),
            request_id: String::new(),
            explain: true,
            include_tail: true,
            trial_used: Some(false),
            current_plan: Some(String::new()),
            lapsed_at: Some(Timestamp { seconds: 7, nanos: 0 }),
            protected_attributes: [("gender".to_owned(), "f".to_owned())].into(),
        }
    }

    #[test]
    fn every_field_of_a_request_arrives() {
        let RankCall { command, explain } = RankCall::read(&request().encode_to_vec()).unwrap();
        let texts = [&command.placement, &command.user_id, &command.unit_id, &command.market, &command.platform];
        assert_eq!(texts, ["paywall", "user", "unit", "SE", "web"]);
        assert_eq!(command.candidates, ["b", "a"]);
        assert_eq!((command.slots, command.include_tail, explain), (Some(0), true, true));
        let user = (command.trial_used, command.current_plan.as_deref(), command.lapsed_at.clone());
        assert_eq!(user, (Some(false), Some(""), Some(Ok(Instant::from_ms(7000)))));
        let given = |name| command.attributes.get(name).cloned();
        let number = given("number").unwrap();
        assert!(matches!(number, GivenValue::Value(AttributeValue::Number(n)) if n == 0.0 && n.is_sign_negative()));
        assert_eq!(given("text"), Some(GivenValue::Value(AttributeValue::Category("word".into()))));
        assert_eq!(given("truth"), Some(GivenValue::Value(AttributeValue::Boolean(true))));
        for (name, noun) in [("null", "null"), ("nothing", "null"), ("object", "an object"), ("list", "a list")] {
            assert_eq!(given(name), Some(GivenValue::Other(noun)), "{name}");
        }
        assert_eq!(command.attributes.len(), 7);
        assert_eq!(command.protected, [("gender".to_owned(), "f".to_owned())]);
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        let entry = |number| {
            let attributes = BTreeMap::from([("n".to_owned(), value(Given::NumberValue(number)))]);
            proto::RankRequest { attributes, ..proto::RankRequest::default() }.encode_to_vec()
        };
        let twice = [entry(1.0), request().encode_to_vec(), entry(2.0)].concat();
        let command = RankCall::read(&twice).unwrap().command;
        assert_eq!(command.attributes.get("n"), Some(&GivenValue::Value(AttributeValue::Number(2.0))));
        assert_eq!(command.attributes.len(), 8);
    }

    #[test]
    fn a_body_is_there_for_requests_with_an_id_and_holds_all_but_explain() {
        assert!(RankCall::read(&request().encode_to_vec()).unwrap().command.body.is_empty());
        let named = proto::RankRequest { request_id: "r".to_owned(), ..request() };
        let expected = proto::RankRequest { explain: false, ..named.clone() }.encode_to_vec();
        assert_eq!(RankCall::read(&named.encode_to_vec()).unwrap().command.body, expected);
    }

    #[test]
    fn what_is_no_message_or_no_text_is_refused() {
        for bytes in [&b"\x0a\xff"[..], b"\x0a\x02\xff\xfe", b"\x22\x04\x0a\x02\xff\xfe", b"\xff"] {
            assert!(RankCall::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
