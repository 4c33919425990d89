//! CEL text to a syntax tree that knows where everything stands.

use super::slips::slips;
use crate::catalog::problem::quoted;
use cel::{
    IdedExpr,
    common::ast::{Expr, SourceInfo},
    parser::Parser,
};

/// Longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 2_000;
/// Deepest nesting of brackets and calls that is parsed.
const NESTING_MAX: u16 = 32;

/// Something wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    /// Where, in characters from its beginning.
    pub(super) at: usize,
    /// What is wrong, what is accepted, and what to do; continues the expression's path as a sentence.
    pub(super) description: String,
}

/// A parsed expression.
pub(super) struct Parsed {
    /// What it is.
    pub(super) root: IdedExpr,
    places: SourceInfo,
}

impl Parsed {
    /// Where an expression starts, in characters; for an operator, where that stands.
    pub(super) fn place(&self, expr: &IdedExpr) -> usize {
        match &expr.expr {
            // Its own place is that of the dot.
            Expr::Select(select) => self.place(&select.operand),
            _ => self.start(expr.id),
        }
    }

    /// Where the name of a selected field stands.
    pub(super) fn place_of_field(&self, expr: &IdedExpr) -> usize {
        self.start(expr.id) + 1
    }

    /// The parser counts bytes.
    fn start(&self, id: u64) -> usize {
        let bytes = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        self.places.source.char_indices().take_while(|&(index, _)| index < bytes).count()
    }
}

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Mistake>> {
    let refused = |at, description: String| vec![Mistake { at, description }];
    if text.trim().is_empty() {
        return Err(refused(0, "is missing: say what must hold, such as user.tenure_days >= 30.0".to_owned()));
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        let description = format!("has {} bytes, must have at most {EXPRESSION_BYTES_MAX}", text.len());
        return Err(refused(0, description));
    }
    let parsed = Parser::new().max_recursion_depth(NESTING_MAX).parse_with_source_info(text);
    parsed.map(|(root, places)| Parsed { root, places }).map_err(|errors| {
        let slips = slips(text);
        if !slips.is_empty() {
            return slips;
        }
        // The first mistake is one; those after it mostly follow from it.
        let first = errors.errors.into_iter().min_by_key(|error| error.pos);
        let Some(error) = first else { return refused(0, "is no CEL expression".to_owned()) };
        refused(offset(text, error.pos), format!("is no CEL expression from here on: {}", reason(&error.msg)))
    })
}

/// What the parser means, in words; what it could have used instead only where that is one thing.
fn reason(message: &str) -> String {
    let message = message.trim_start_matches("Syntax error: ");
    if let Some(token) = message.strip_prefix("token recognition error at: ") {
        return format!("{} means nothing there", shown(token));
    }
    if let Some((token, place)) = message.strip_prefix("missing ").and_then(|rest| rest.split_once(" at ")) {
        let place = if ends(place) { "at the end".to_owned() } else { format!("before {}", shown(place)) };
        return format!("{} is missing {place}", shown(token));
    }
    if let Some(token) = message.strip_prefix("no viable alternative at input ") {
        return format!("{} cannot stand there", shown(token));
    }
    let unwanted = ["mismatched input ", "extraneous input "].into_iter().find_map(|kind| message.strip_prefix(kind));
    let Some((token, wanted)) = unwanted.and_then(|rest| rest.split_once(" expecting ")) else {
        return message.lines().next().unwrap_or_default().to_owned();
    };
    let problem =
        if ends(token) { "it ends too early".to_owned() } else { format!("{} cannot stand there", shown(token)) };
    let one = wanted.starts_with('\'') && !ends(wanted);
    if one { format!("{problem}, {} is missing", shown(wanted)) } else { problem }
}

/// Whether the parser's token is the end of the text.
fn ends(token: &str) -> bool {
    token.trim_matches('\'') == "<EOF>"
}

/// A token as the parser quotes it.
fn shown(token: &str) -> String {
    quoted(token.trim_start_matches('\'').trim_end_matches('\'').trim_end())
}

/// Characters before a line and column, both from 1.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let lines = text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0));
    let before: usize = lines.map(|line| line.chars().count()).sum();
    (before + usize::try_from(column - 1).unwrap_or(0)).min(text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters() {
        let parsed = parse("\"ö\" == user.x").unwrap();
        let Expr::Call(call) = &parsed.root.expr else { panic!("{:?}", parsed.root) };
        assert_eq!(parsed.place(&parsed.root), 4, "the operator");
        assert_eq!(parsed.place(&call.args[1]), 7, "the name");
        assert_eq!(parsed.place_of_field(&call.args[1]), 12, "the field");
    }

    #[test]
    fn the_parser_is_put_in_words() {
        for (message, expected) in [
            ("Syntax error: token recognition error at: '# '", "\"#\" means nothing there"),
            ("Syntax error: mismatched input 'x' expecting {<EOF>, '?', '=='}", "\"x\" cannot stand there"),
            ("Syntax error: extraneous input 'b' expecting <EOF>", "\"b\" cannot stand there"),
            ("Syntax error: mismatched input '<EOF>' expecting {'[', IDENTIFIER}", "it ends too early"),
            ("Syntax error: mismatched input '<EOF>' expecting ')'", "it ends too early, \")\" is missing"),
            ("Syntax error: missing ')' at '<EOF>'", "\")\" is missing at the end"),
            ("Syntax error: missing ')' at 'x'", "\")\" is missing before \"x\""),
            ("Syntax error: no viable alternative at input 'a.'", "\"a.\" cannot stand there"),
            ("invalid int literal\n| 99", "invalid int literal"),
        ] {
            assert_eq!(reason(message), expected);
        }
    }

    #[test]
    fn what_is_no_cel_is_refused_where_it_ends() {
        for (text, at) in [("user.x >=", 9), ("user.x > 1 &&\n)", 14), ("", 0), ("a b", 2), ("\"abc", 0)] {
            let mistakes = parse(text).err().unwrap();
            assert_eq!((mistakes.len(), mistakes[0].at), (1, at), "{text:?}: {mistakes:?}");
        }
        assert!(parse(&"(".repeat(1999)).is_err());
        assert!(parse(&format!("{}1{}", "(".repeat(200), ")".repeat(200))).is_err());
        assert!(parse(&"x".repeat(2001)).is_err());
    }
}
