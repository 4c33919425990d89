//! Single values: what plain text means by the core schema of YAML 1.2, and as which protobuf type it is wanted.

use crate::catalog::{problem::quoted, suggest::did_you_mean};
use prost_reflect::{EnumDescriptor, Kind, Value};
use prost_types::Timestamp;

/// What plain text means where nobody wants a particular type: `NO`, `on` and `yes` are strings in YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: `null`, `~` or an empty value.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole or fractional number, an infinity or NaN.
    Number,
    /// Anything else.
    String,
}

/// What plain text means.
pub(super) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Meaning::Boolean,
        _ if is_special_number(text) || number(text).is_some() => Meaning::Number,
        _ => Meaning::String,
    }
}

/// Reads a single value as the type that a field wants; the error continues the field path as a sentence.
pub(super) fn read(text: &str, plain: bool, kind: &Kind) -> Result<Value, String> {
    match kind {
        Kind::String => string(text, plain).map(Value::String),
        Kind::Bool => boolean(text, plain).map(Value::Bool),
        Kind::Double => double(text, plain).map(Value::F64),
        Kind::Float => double(text, plain).map(|number| Value::F32(number as f32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(text, plain).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(text, plain).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => integer(text, plain).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(text, plain).map(Value::U64),
        Kind::Enum(descriptor) => enumeration(text, plain, descriptor).map(Value::EnumNumber),
        Kind::Message(_) => Err(format!("is {}, must be a mapping", shown(text, plain))),
        Kind::Bytes => Err("holds bytes, which a catalog file cannot give".to_owned()),
    }
}

/// Reads a single value as what it says it is.
pub(super) fn any(text: &str, plain: bool) -> Value {
    let read = match meaning(text) {
        Meaning::Boolean if plain => boolean(text, plain).map(Value::Bool),
        Meaning::Number if plain => double(text, plain).map(Value::F64),
        _ => Err(String::new()),
    };
    read.unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Reads an instant as RFC 3339 has it.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    // The parser also takes dates alone, and times without offset; whether a day starts in Stockholm or in New York
    // must not be guessed.
    let time = text.get(10..).unwrap_or_default();
    let complete = time.starts_with(['T', 't']) && (time.ends_with(['Z', 'z']) || time.contains(['+', '-']));
    text.parse().ok().filter(|_| complete).ok_or_else(|| {
        format!("is {}, must be an instant with its offset, such as 2026-11-27T00:00:00+01:00", quoted(text))
    })
}

/// How to show a single value in a message: strings in quotes, everything else bare.
pub(super) fn shown(text: &str, plain: bool) -> String {
    match meaning(text) {
        Meaning::Null if plain => "empty".to_owned(),
        Meaning::Boolean | Meaning::Number if plain && text.len() <= 40 => text.to_owned(),
        _ => quoted(text),
    }
}

fn string(text: &str, plain: bool) -> Result<String, String> {
    let noun = match meaning(text) {
        Meaning::Boolean if plain => "a boolean",
        Meaning::Number if plain => "a number",
        _ => return Ok(text.to_owned()),
    };
    Err(format!("is {}, {noun}, must be a string: put it in quotes, \"{text}\"", shown(text, plain)))
}

fn boolean(text: &str, plain: bool) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" if plain => Ok(true),
        "false" | "False" | "FALSE" if plain => Ok(false),
        _ => Err(format!("is {}, must be true or false", shown(text, plain))),
    }
}

fn double(text: &str, plain: bool) -> Result<f64, String> {
    match number(text) {
        Some(number) if number.is_finite() => Ok(number),
        Some(_) => Err(format!("is {}, must be a finite number", shown(text, plain))),
        None if is_special_number(text) => Err(format!("is {}, must be a finite number", shown(text, plain))),
        None => Err(format!("is {}, must be a number", shown(text, plain))),
    }
}

/// Reads whole numbers, in quotes too: the JSON mapping writes 64-bit ones as strings.
fn integer<T>(text: &str, plain: bool) -> Result<T, String>
where
    T: TryFrom<i128> + Bounded,
{
    // Beyond this, doubles skip whole numbers, and 1e300 would become something that nobody wrote.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    // 83.00 is whole too, but who writes it thinks of something that is counted in parts, such as an amount of money.
    let pointed = text.contains('.');
    let exact = |number: &f64| !pointed && number.abs() <= EXACT_MAX && libm::trunc(*number).total_cmp(number).is_eq();
    let whole = whole(text).or_else(|| number(text).filter(exact).map(|number| number as i128));
    let out_of_range = || format!("is {}, must be {}", shown(text, plain), T::RANGE);
    match whole {
        Some(whole) => T::try_from(whole).map_err(|_| out_of_range()),
        None if is_decimal(text) => Err(out_of_range()),
        None if pointed && number(text).is_some() => {
            Err(format!("is {}, must be a whole number, without a decimal point", shown(text, plain)))
        }
        None => Err(format!("is {}, must be a whole number", shown(text, plain))),
    }
}

/// The bounds of an integer type as a message says them.
trait Bounded {
    const RANGE: &'static str;
}

impl Bounded for i32 {
    const RANGE: &'static str = "from -2147483648 to 2147483647";
}

impl Bounded for i64 {
    const RANGE: &'static str = "from -9223372036854775808 to 9223372036854775807";
}

impl Bounded for u32 {
    const RANGE: &'static str = "from 0 to 4294967295";
}

impl Bounded for u64 {
    const RANGE: &'static str = "from 0 to 18446744073709551615";
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn whole(text: &str) -> Option<i128> {
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    is_decimal(text).then(|| text.parse().ok()).flatten()
}

fn digits(text: &str, radix: u32) -> Option<i128> {
    // `from_str_radix` takes a sign, which YAML does not allow here.
    text.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| i128::from_str_radix(text, radix).ok()).flatten()
}

fn is_special_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // With the names of the JSON mapping, which read as words otherwise.
    matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// Reads what the core schema calls a number, infinities and NaN aside; too large a one becomes an infinity.
fn number(text: &str) -> Option<f64> {
    if let Some(whole) = whole(text) {
        return Some(whole as f64);
    }
    // Rust's parser also takes "inf" and "nan", which are words in YAML, but nothing else beyond the core schema.
    let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    text.bytes().all(numeric).then(|| text.parse().ok()).flatten()
}

/// Reads an enum value by its full name or by what follows the enum's own name, in capitals or not.
fn enumeration(text: &str, plain: bool, descriptor: &EnumDescriptor) -> Result<i32, String> {
    let values: Vec<_> = descriptor.values().collect();
    let prefix = values.iter().find_map(|value| value.name().strip_suffix("UNSPECIFIED")).unwrap_or_default();
    let capitals = text.to_uppercase();
    let short = |name: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    let found = values.iter().find(|value| value.name() == text || short(value.name()) == capitals);
    found.map(|value| value.number()).ok_or_else(|| {
        let accepted: Vec<_> = values.iter().filter(|value| value.number() != 0).map(|v| short(v.name())).collect();
        let suggestion = did_you_mean(text, accepted.iter().map(String::as_str));
        format!("is {}, must be one of: {}{suggestion}", shown(text, plain), accepted.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_means_what_yaml_1_2_says() {
        for (text, expected) in [
            ("NO", Meaning::String),
            ("yes", Meaning::String),
            ("on", Meaning::String),
            ("inf", Meaning::String),
            ("9_900", Meaning::String),
            ("1:30", Meaning::String),
            ("+", Meaning::String),
            ("e", Meaning::String),
            ("~", Meaning::Null),
            ("", Meaning::Null),
            ("True", Meaning::Boolean),
            ("-12", Meaning::Number),
            ("0x1F", Meaning::Number),
            ("0o17", Meaning::Number),
            ("017", Meaning::Number),
            (".5", Meaning::Number),
            ("1e3", Meaning::Number),
            ("-.inf", Meaning::Number),
            (".nan", Meaning::Number),
        ] {
            assert_eq!(meaning(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_or_refused() {
        for (text, expected) in [
            ("9900", Ok(9900)),
            ("-1", Ok(-1)),
            ("0x1F", Ok(31)),
            ("1e3", Ok(1000)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err("must be from -9223372036854775808")),
            ("99999999999999999999999999999999999999999999999", Err("must be from -9223372036854775808")),
            ("1.5", Err("must be a whole number, without a decimal point")),
            ("83.00", Err("is 83.00, must be a whole number, without a decimal point")),
            ("83.", Err("without a decimal point")),
            ("8.3e1", Err("without a decimal point")),
            (".inf", Err("must be a whole number")),
            ("1e300", Err("must be a whole number")),
            ("9_900", Err("is \"9_900\", must be a whole number")),
            ("0x-1", Err("must be a whole number")),
        ] {
            let actual = integer::<i64>(text, true);
            match expected {
                Ok(number) => assert_eq!(actual, Ok(number), "{text}"),
                Err(message) => assert!(actual.as_ref().is_err_and(|error| error.contains(message)), "{actual:?}"),
            }
        }
    }

    #[test]
    fn instants_need_time_and_offset() {
        assert_eq!(timestamp("2026-11-27T00:00:00+01:00").map(|at| at.seconds), Ok(1_795_734_000));
        for text in ["2026-11-27", "2026-11-27T00:00:00", "2026-11-27 00:00:00Z", "tomorrow", "2026-13-01T00:00:00Z"] {
            assert!(timestamp(text).is_err(), "{text}");
        }
    }
}
