//! What the subcommands that talk to a running server share: reaching it, naming its refusals, showing its answers.

use crate::proto;
use comfy_table::{CellAlignment, Table, presets};
use iso_currency::Currency;
use std::{fmt::Write as _, io, time::Duration};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// A server on this machine answers in milliseconds, one across the world in a second: whoever takes longer is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A call that takes longer has failed; where it is safe to ask again, that is better than to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A call that makes the server learn whole logs anew.
pub(super) const LONG_CALL_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Where the server is.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Address of the running server
    #[arg(long, env = "OFFER_RANKER_TARGET", value_name = "URL", default_value = "http://127.0.0.1:50051")]
    pub target: String,
}

/// Why a subcommand could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be one.
    #[error("\"{target}\" is no address of a server, such as http://127.0.0.1:50051")]
    Target {
        /// As given.
        target: String,
    },
    /// Nobody answers there.
    #[error("no server answers at {target}; start one with: offer-ranker serve --catalog examples/paywall.yaml")]
    Unreachable {
        /// As given.
        target: String,
        /// What the transport says.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server refused a call.
    #[error("{call}: {}", describe(status))]
    Refused {
        /// The remote procedure, such as `Rank`.
        call: &'static str,
        /// The server's answer.
        status: Box<Status>,
    },
    /// The server was away for longer than the caller is willing to wait.
    #[error("{call} did not succeed within {limit_s} s of trying; the last answer was {}", describe(status))]
    Exhausted {
        /// The remote procedure, such as `Rank`.
        call: &'static str,
        /// How long it was tried, in seconds.
        limit_s: u64,
        /// The last answer.
        status: Box<Status>,
    },
    /// What was asked for makes no sense to the server's catalog, or to us.
    #[error("{message}")]
    Usage {
        /// What is wrong and what would be right.
        message: String,
    },
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

impl TargetArgs {
    /// Connects, or says that nobody answers.
    ///
    /// # Errors
    /// When the address is none, or nobody answers there.
    pub async fn connect(&self) -> Result<Channel, ClientError> {
        self.connect_for(CALL_TIMEOUT).await
    }

    /// Connects for calls that may take so long, or says that nobody answers.
    ///
    /// # Errors
    /// When the address is none, or nobody answers there.
    pub(super) async fn connect_for(&self, call_timeout: Duration) -> Result<Channel, ClientError> {
        let source = match self.endpoint()?.timeout(call_timeout).connect().await {
            Ok(channel) => return Ok(channel),
            Err(source) => source,
        };
        Err(ClientError::Unreachable { target: self.target.clone(), source })
    }

    /// A channel that connects with its first call, and again whenever the connection is lost.
    ///
    /// # Errors
    /// When the address is none.
    pub fn connect_lazily(&self) -> Result<Channel, ClientError> {
        Ok(self.endpoint()?.connect_lazy())
    }

    fn endpoint(&self) -> Result<Endpoint, ClientError> {
        let refuse = || ClientError::Target { target: self.target.clone() };
        if !self.target.contains("://") {
            return Err(refuse());
        }
        let endpoint = Endpoint::from_shared(self.target.clone()).map_err(|_| refuse())?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true))
    }
}

impl ClientError {
    /// Wraps a status for `map_err`.
    pub(super) fn refused(call: &'static str) -> impl Fn(Status) -> Self {
        move |status| Self::Refused { call, status: Box::new(status) }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }
}

/// A status for people: its code, and every field violation on a line of its own, or else its message.
#[must_use]
pub fn describe(status: &Status) -> String {
    let mut text = code_name(status.code());
    let violations = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    // Writing to a String cannot fail.
    if violations.is_empty() {
        let _ = write!(text, ": {}", status.message());
    }
    // A message beside violations repeats them, for clients that cannot read details.
    for violation in violations {
        let _ = write!(text, "\n  {}: {}", violation.field, violation.description);
    }
    text
}

/// The name that gRPC's own documentation uses, such as `INVALID_ARGUMENT`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// `99.00 SEK`, `900 JPY`: with as many decimals as ISO 4217 gives the currency.
#[must_use]
pub fn format_money(money: &proto::Money) -> String {
    let decimals = decimals(&money.currency_code);
    let sign = if money.amount_minor < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", money.amount_minor.unsigned_abs(), width = decimals + 1);
    let (major, minor) = digits.split_at(digits.len() - decimals);
    let point = if minor.is_empty() { "" } else { "." };
    format!("{sign}{major}{point}{minor} {}", money.currency_code)
}

/// The amount in major units: 99.0 for 9900 SEK.
#[must_use]
pub fn major_units(money: &proto::Money) -> f64 {
    money.amount_minor as f64 / 10_f64.powi(i32::try_from(decimals(&money.currency_code)).unwrap_or(0))
}

fn decimals(currency_code: &str) -> usize {
    Currency::from_code(currency_code).and_then(Currency::exponent).map_or(0, usize::from)
}

/// A table that survives copying into a mail: ASCII rules, numbers to the right.
pub(super) fn plain_table(header: &[&str], numeric: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    for &index in numeric {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn money(currency_code: &str, amount_minor: i64) -> proto::Money {
        proto::Money { currency_code: currency_code.to_owned(), amount_minor }
    }

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        assert_eq!(format_money(&money("SEK", 9900)), "99.00 SEK");
        assert_eq!(format_money(&money("JPY", 900)), "900 JPY");
        assert_eq!(format_money(&money("KWD", -5)), "-0.005 KWD");
        assert_eq!(format_money(&money("USD", i64::MIN)), "-92233720368547758.08 USD");
        assert_eq!(major_units(&money("SEK", 9950)), 99.5);
    }

    #[test]
    fn every_violation_stands_on_its_own_line() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("user_id", "is empty");
        details.add_bad_request_violation("slots", "is 11, must be from 1 to 3");
        let message = "user_id: is empty; slots: is 11, must be from 1 to 3";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(describe(&status), "INVALID_ARGUMENT\n  user_id: is empty\n  slots: is 11, must be from 1 to 3");
        assert_eq!(describe(&Status::not_found("no such placement")), "NOT_FOUND: no such placement");
    }

    #[test]
    fn json_spells_fields_as_the_proto_files_do() {
        assert_eq!(
            proto::shown::to_json("Money", &money("SEK", 9900)),
            serde_json::json!({"currency_code": "SEK", "amount_minor": 9900})
        );
    }

    #[test]
    fn a_bare_host_is_no_address() {
        let target = TargetArgs { target: "localhost:50051".to_owned() };
        assert!(matches!(target.connect_lazily(), Err(ClientError::Target { .. })));
    }
}
