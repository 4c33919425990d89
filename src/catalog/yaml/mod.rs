//! Reads catalog files: the protobuf JSON mapping of `offer_ranker.v1.Catalog`, written in YAML 1.2.
//!
//! JSON is YAML, so catalogs in JSON are read as well. Knows which fields there are and of what type, and nothing of
//! what they mean: that is `super::validate`'s business.

mod characters;
mod message;
mod scalar;
mod tree;

use super::{
    path::Path,
    problem::{Locations, Problem},
};
use crate::proto;
use message::Reader;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::LazyLock;

static CATALOG: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    DescriptorPool::decode(proto::DESCRIPTORS)
        .expect("invariant: the build wrote the descriptors, and nothing else does")
        .get_message_by_name("offer_ranker.v1.Catalog")
        .expect("invariant: catalog.proto defines Catalog")
});

/// A catalog as far as its file could be read.
#[derive(Clone, Debug)]
pub struct CatalogFile {
    /// What was read, not yet validated; what could not be read is absent from it.
    pub catalog: proto::Catalog,
    /// Where everything stands in the file.
    pub locations: Locations,
    /// What could not be read, and why.
    pub problems: Vec<Problem>,
}

/// Reads a catalog from the text of a file.
///
/// Mistakes that leave the rest readable, such as unknown fields and values of the wrong type, are in the `problems`
/// of the result.
///
/// # Errors
/// What makes the text unreadable as a whole: it is no YAML, is nested too deep, is empty, or holds more than one
/// document.
pub fn read(text: &str) -> Result<CatalogFile, Problem> {
    let root = tree::parse(text)?;
    let mut reader = Reader::new(text);
    let message = reader.message(&root, &CATALOG, &Path::default());
    let catalog = message.transcode_to().expect("invariant: built field by field against the same descriptors");
    let Reader { problems, locations, .. } = reader;
    Ok(CatalogFile { catalog, locations, problems })
}
