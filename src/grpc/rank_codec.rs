//! How Rank is read and written: the wire format of `ranking.proto`, without the detours of generated types.
//!
//! Rank is called for every page view, and the maps and boxes of the generated request cost more than all checks of what
//! is in them. The messages here are read from the same bytes: a map is a repeated pair on the wire.

use super::{convert::given_instant, rank_answer};
use crate::{
    engine::context::AttributeValue,
    proto,
    service::{
        rank::Answer,
        validate::{GivenValue, RankCommand},
    },
};
use prost::{
    Message,
    bytes::{Buf as _, BufMut as _, Bytes},
};
use prost_types::Timestamp;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

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

/// As in `ranking.proto`.
#[derive(Clone, PartialEq, Message)]
struct RankRequest {
    #[prost(string, tag = "1")]
    placement: String,
    #[prost(string, tag = "2")]
    user_id: String,
    #[prost(string, tag = "3")]
    unit_id: String,
    #[prost(message, repeated, tag = "4")]
    attributes: Vec<AttributeEntry>,
    #[prost(string, tag = "5")]
    market: String,
    #[prost(string, tag = "6")]
    platform: String,
    #[prost(string, repeated, tag = "7")]
    candidate_offer_ids: Vec<String>,
    #[prost(uint32, optional, tag = "8")]
    slots: Option<u32>,
    #[prost(string, tag = "9")]
    request_id: String,
    #[prost(bool, tag = "10")]
    explain: bool,
    #[prost(bool, tag = "11")]
    include_tail: bool,
    #[prost(bool, optional, tag = "12")]
    trial_used: Option<bool>,
    #[prost(string, optional, tag = "13")]
    current_plan: Option<String>,
    #[prost(message, optional, tag = "14")]
    lapsed_at: Option<Timestamp>,
}

/// An entry of the map of attributes.
#[derive(Clone, PartialEq, Message)]
struct AttributeEntry {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

/// What is in a list or an object does not matter: no attribute has such values.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Boolean(bool),
    #[prost(bytes = "bytes", tag = "5")]
    Object(Bytes),
    #[prost(bytes = "bytes", tag = "6")]
    List(Bytes),
}

impl RankCall {
    /// Reads a request.
    ///
    /// # Errors
    /// Where the bytes are no message, or a text is no UTF-8.
    fn read(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        let request = RankRequest::decode(bytes)?;
        // How much is explained changes the answer's looks, not the decision: it is no part of the body. A request that
        // cannot be repeated needs no body.
        let body = if request.request_id.is_empty() {
            Vec::new()
        } else {
            proto::RankRequest { explain: false, ..proto::RankRequest::decode(bytes)? }.encode_to_vec()
        };
        let explain = request.explain;
        let command = RankCommand {
            placement: request.placement,
            user_id: request.user_id,
            unit_id: request.unit_id,
            attributes: request.attributes.into_iter().map(AttributeEntry::given).collect(),
            market: request.market,
            platform: request.platform,
            candidates: request.candidate_offer_ids,
            slots: request.slots,
            request_id: request.request_id,
            include_tail: request.include_tail,
            trial_used: request.trial_used,
            current_plan: request.current_plan,
            lapsed_at: request.lapsed_at.map(|at| given_instant(&at)),
            body,
        };
        Ok(Self { command, explain })
    }
}

impl AttributeEntry {
    fn given(self) -> (String, GivenValue) {
        let value = match self.value.and_then(|value| value.kind) {
            Some(Kind::Number(number)) => GivenValue::Value(AttributeValue::Number(number)),
            Some(Kind::Text(text)) => GivenValue::Value(AttributeValue::Category(text.into())),
            Some(Kind::Boolean(truth)) => GivenValue::Value(AttributeValue::Boolean(truth)),
            Some(Kind::Null(_)) | None => GivenValue::Other("null"),
            Some(Kind::List(_)) => GivenValue::Other("a list"),
            Some(Kind::Object(_)) => GivenValue::Other("an object"),
        };
        (self.name, value)
    }
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
        RankCall::read(&bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
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
