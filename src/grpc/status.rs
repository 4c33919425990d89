//! The one table from errors to gRPC statuses.

use crate::service::{ServiceError, Violation};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "offer-ranker";
/// Most bytes of violations in one status. Details travel in a header, base64-encoded and with the message beside
/// them and once more inside, and common clients refuse headers above 8 KiB: 4/3 (3,600 + 900) + 900 leaves room.
const DETAILS_BYTES_MAX: usize = 3600;
/// Most violations spelled out in the message; all are in the details.
const MESSAGE_VIOLATIONS_MAX: usize = 3;
/// Most bytes of a message that quotes what a client sent, percent-encoded as it travels.
const MESSAGE_BYTES_MAX: usize = 900;

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let (code, reason) = classify(&error);
        if matches!(code, Code::Internal | Code::Unavailable) {
            tracing::error!(error.reason = reason, error.message = %error, "a call failed");
        }
        let message = match &error {
            ServiceError::Invalid { violations } => summary(violations),
            // What the store holds is nobody's business; the log has the details.
            _ if code == Code::Internal => "an internal error; the server's log says more".to_owned(),
            error => truncate(error.to_string(), MESSAGE_BYTES_MAX),
        };
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, HashMap::new());
        match error {
            ServiceError::Invalid { violations } => {
                details.set_bad_request(field_violations(&violations));
            }
            ServiceError::RequestIdReused => {
                details.add_bad_request_violation("request_id", message.clone());
            }
            _ if code == Code::Unavailable => {
                details.set_retry_info(Some(std::time::Duration::from_millis(100)));
            }
            _ => {}
        }
        Self::with_error_details(code, message, details)
    }
}

/// Code and machine-readable reason of every error.
fn classify(error: &ServiceError) -> (Code, &'static str) {
    match error {
        ServiceError::Invalid { .. } => (Code::InvalidArgument, "INVALID_REQUEST"),
        ServiceError::RequestIdReused => (Code::InvalidArgument, "REQUEST_ID_REUSED"),
        ServiceError::PlacementNotFound { .. } => (Code::NotFound, "PLACEMENT_NOT_FOUND"),
        ServiceError::DecisionNotFound { .. } => (Code::NotFound, "DECISION_NOT_FOUND"),
        ServiceError::DecisionNotLogged { .. } => (Code::NotFound, "DECISION_NOT_LOGGED"),
        ServiceError::RevisionNotFound { .. } => (Code::NotFound, "REVISION_NOT_FOUND"),
        ServiceError::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
        ServiceError::NoCatalog => (Code::Unavailable, "NO_CATALOG"),
        ServiceError::Store(error) if error.is_transient() => (Code::Unavailable, "STORE_UNAVAILABLE"),
        ServiceError::Store(_)
        | ServiceError::Decode(_)
        | ServiceError::Record { .. }
        | ServiceError::Archive(_)
        | ServiceError::Inconsistent { .. } => (Code::Internal, "INTERNAL"),
    }
}

fn summary(violations: &[Violation]) -> String {
    let said = violations.iter().take(MESSAGE_VIOLATIONS_MAX);
    let mut message =
        said.map(|violation| format!("{}: {}", violation.field, violation.description)).collect::<Vec<_>>().join("; ");
    if violations.len() > MESSAGE_VIOLATIONS_MAX {
        message += &format!("; and {} more", violations.len() - MESSAGE_VIOLATIONS_MAX);
    }
    truncate(message, MESSAGE_BYTES_MAX)
}

/// As many violations as a header carries, and how many more there are.
fn field_violations(violations: &[Violation]) -> Vec<FieldViolation> {
    let mut fields = Vec::new();
    let mut bytes = 0;
    for (index, Violation { field, description, .. }) in violations.iter().enumerate() {
        let description = truncate(description.clone(), MESSAGE_BYTES_MAX);
        bytes += field.len() + description.len() + 8;
        if bytes > DETAILS_BYTES_MAX {
            let more =
                format!("{} more violations do not fit into one status; mend these first", violations.len() - index);
            fields.push(FieldViolation::new("", more));
            break;
        }
        fields.push(FieldViolation::new(field, description));
    }
    fields
}

fn truncate(text: String, encoded_bytes_max: usize) -> String {
    let mut text = printable(text);
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    let mut encoded = 0;
    let cut = text.bytes().position(|byte| {
        encoded += if plain(byte) { 1 } else { 3 };
        encoded > encoded_bytes_max
    });
    if let Some(cut) = cut {
        text.truncate(text.floor_char_boundary(cut));
        text.push('…');
    }
    text
}

/// Messages quote what clients sent; characters that move cursors or turn text around are escaped.
fn printable(text: String) -> String {
    let misleads = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(misleads) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if misleads(letter) { escaped.extend(letter.escape_default()) } else { escaped.push(letter) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{DecodeError, archive::ArchiveError},
        store::{LogId, StoreError},
    };

    #[test]
    fn every_error_has_its_code_and_reason() {
        let text = || "x".to_owned();
        let cases = [
            (
                ServiceError::Invalid { violations: vec![Violation::new("a", "b")] },
                Code::InvalidArgument,
                "INVALID_REQUEST",
            ),
            (ServiceError::RequestIdReused, Code::InvalidArgument, "REQUEST_ID_REUSED"),
            (
                ServiceError::PlacementNotFound { placement: text(), known: text() },
                Code::NotFound,
                "PLACEMENT_NOT_FOUND",
            ),
            (ServiceError::DecisionNotFound { decision_id: text() }, Code::NotFound, "DECISION_NOT_FOUND"),
            (ServiceError::DecisionNotLogged { decision_id: text() }, Code::NotFound, "DECISION_NOT_LOGGED"),
            (ServiceError::RevisionNotFound { revision: 2, newest: 1 }, Code::NotFound, "REVISION_NOT_FOUND"),
            (ServiceError::EtagMismatch { given: text(), current: text() }, Code::Aborted, "ETAG_MISMATCH"),
            (ServiceError::NoCatalog, Code::Unavailable, "NO_CATALOG"),
            (StoreError::Unavailable { reason: text() }.into(), Code::Unavailable, "STORE_UNAVAILABLE"),
            (StoreError::Corrupt { reason: text() }.into(), Code::Internal, "INTERNAL"),
            (DecodeError::Version { version: 9 }.into(), Code::Internal, "INTERNAL"),
            (
                ServiceError::Record {
                    log: LogId { placement: 1, partition: 2 },
                    offset: 3,
                    source: DecodeError::Version { version: 9 },
                },
                Code::Internal,
                "INTERNAL",
            ),
            (ServiceError::Inconsistent { reason: text() }, Code::Internal, "INTERNAL"),
            (ArchiveError::Content { path: text().into(), reason: text() }.into(), Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in cases {
            let status = Status::from(error);
            let info = status.get_details_error_info().expect("every error says its reason");
            assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, DOMAIN));
        }
    }

    #[test]
    fn internal_errors_keep_their_details_to_themselves() {
        let status = Status::from(ServiceError::Inconsistent { reason: "secret".to_owned() });
        assert!(!status.message().contains("secret"));
    }

    #[test]
    fn violations_that_no_header_carries_are_counted() {
        let violations: Vec<_> = (0..1000).map(|index| Violation::new(&format!("field{index}"), "is wrong")).collect();
        let status = Status::from(ServiceError::Invalid { violations });
        let fields = status.get_details_bad_request().expect("an invalid request lists fields").field_violations;
        let last = fields.last().expect("at least one violation");
        let wire = status.details().len() * 4 / 3 + status.message().len();
        assert!(wire < 7500, "{wire}");
        assert_eq!(
            last.description,
            format!("{} more violations do not fit into one status; mend these first", 1001 - fields.len())
        );
    }
}
