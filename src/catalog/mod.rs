//! The catalog at the edge: files and messages on one side, what the engine trusts on the other.
//!
//! A catalog file is [`crate::proto::Catalog`] in the protobuf JSON mapping, written in YAML: [`yaml`] reads it,
//! [`validate()`] checks it, whether it came from a file or over the wire. Nothing stops at the first mistake: people
//! get everything that is wrong at once, with line and column. Knows nothing of stores, services and gRPC.

mod model;
mod path;
mod problem;
mod suggest;
mod validate;
pub mod yaml;
mod zone;

pub use model::{etag, model_id, schema_number};
pub use problem::{Location, Locations, PROBLEMS_MAX, Problem, Problems, Severity, Violation, Warning};
pub use validate::{ended, is_resource_id, validate};

use crate::{
    engine::{self, instant::Instant},
    proto,
};
use problem::left_out;
use std::{fs::File, io, io::Read as _, path::Path};

/// Largest catalog file: 4 MiB, some ten thousand offers.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A valid catalog and the file it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As the file declares it.
    pub declared: proto::Catalog,
    /// As the engine uses it.
    pub catalog: engine::catalog::Catalog,
    /// What is allowed but probably not meant, whatever the time.
    pub warnings: Problems,
    locations: Locations,
}

impl Loaded {
    /// What is allowed but probably not meant, offers whose time is over by `now` included.
    #[must_use]
    pub fn warnings_at(&self, now: Instant) -> Problems {
        let ended = ended(&self.declared, &self.catalog, now).into_iter();
        let ended = ended.map(|warning| Problem::from_warning(warning, &self.locations));
        Problems::new(&self.warnings.file, self.warnings.problems.iter().cloned().chain(ended).collect())
    }
}

/// Reads and checks a catalog file.
///
/// # Errors
/// Everything that is wrong, that the file cannot be read included.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let text = read(path).map_err(|problem| Problems::new(&file, vec![problem]))?;
    check(&file, &text)
}

/// Checks the text of a catalog file; `file` is only for messages.
///
/// # Errors
/// Everything that is wrong.
pub fn check(file: &str, text: &str) -> Result<Loaded, Problems> {
    let yaml::CatalogFile { catalog: declared, locations, mut problems } =
        yaml::read(text).map_err(|problem| Problems::new(file, vec![problem]))?;
    let unread = left_out(&mut problems);
    match validate(&declared) {
        Ok((catalog, warnings)) if problems.is_empty() => {
            let warnings = warnings.into_iter().map(|warning| Problem::from_warning(warning, &locations)).collect();
            Ok(Loaded { declared, catalog, warnings: Problems::new(file, warnings), locations })
        }
        checked => {
            let violations = checked.err().unwrap_or_default().into_iter();
            let own = violations.filter(|violation| !follows(violation, &problems, &locations));
            let own: Vec<_> = own.map(|violation| Problem::from_violation(violation, &locations)).collect();
            problems.extend(own);
            problems.extend(unread.map(|description| Problem::of_file(None, description)));
            Err(Problems::new(file, problems))
        }
    }
}

/// Whether a violation only follows from what could not be read: a misspelt field is missing, too, but saying so
/// would hide the one mistake that there is.
fn follows(Violation { field, dangling, .. }: &Violation, unread: &[Problem], locations: &Locations) -> bool {
    unread.iter().any(|problem| {
        let unread = problem.field.as_str();
        let related = path::contains(unread, field) || path::contains(field, unread);
        let missing_beside = !locations.contains(field) && path::contains(path::parent(unread), field);
        // Whatever refers to an id that could not be read, or to a whole entry, seems to refer to nothing.
        let refers = *dangling && (unread.ends_with(".id") || !unread.contains('.'));
        related || missing_beside || refers
    })
}

fn read(path: &Path) -> Result<String, Problem> {
    let refused = |description: String| Problem::of_file(None, description);
    let unreadable = |error: io::Error| refused(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than allowed tells a large file from a full one without reading all of it.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(format!("is larger than {FILE_BYTES_MAX} bytes, which no catalog needs")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + String::from_utf8_lossy(valid).rsplit('\n').next().map_or(0, |line| line.chars().count());
        let location = Some(Location { line, column });
        Problem::of_file(location, "is not UTF-8 from here on: save the file as UTF-8")
    })
}
