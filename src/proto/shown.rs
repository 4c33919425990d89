//! Messages and their names as people read them.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use std::sync::LazyLock;

/// The JSON mapping of a message, with field names as the proto files spell them.
#[must_use]
pub(crate) fn to_json(name: &str, message: &impl Message) -> serde_json::Value {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(super::DESCRIPTORS).expect("invariant: built from our proto files"));
    let descriptor = POOL
        .get_message_by_name(&format!("offer_ranker.v1.{name}"))
        .expect("invariant: only messages of this package are shown");
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).expect("invariant: both come from the same proto files");
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("invariant: the JSON mapping covers every message")
}

/// The last part of an enum's name: `FLAG_STALE` without `FLAG_` is `STALE`.
pub(crate) fn short_name(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
