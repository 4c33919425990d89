//! What people write in an expression that other languages have and CEL writes otherwise.

use super::syntax::Mistake;
use crate::catalog::problem::quoted;

/// Symbols as they are written and as CEL has them, longer ones first; those that are the same are CEL's own.
const SYMBOLS: [(&str, &str); 20] = [
    ("===", "=="),
    ("!==", "!="),
    ("==", "=="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("&&", "&&"),
    ("||", "||"),
    ("=<", "<="),
    ("=>", ">="),
    ("<>", "!="),
    (":=", "=="),
    ("=", "=="),
    ("&", "&&"),
    ("|", "||"),
    ("\u{2264}", "<="),
    ("\u{2265}", ">="),
    ("\u{2260}", "!="),
    ("\u{2013}", "-"),
    ("\u{2212}", "-"),
];
const WORDS: [(&str, &str); 3] = [("and", "&&"), ("or", "||"), ("not", "!")];
/// Quotes as word processors make them.
const CURLY: [char; 8] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'];

/// The operator that a word stands for elsewhere.
pub(super) fn operator(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(written, _)| written.eq_ignore_ascii_case(word)).map(|(_, meant)| *meant)
}

/// Everything in a text that CEL writes otherwise, what stands in quotes and comments aside. To be asked of what is no
/// expression: only then is it certain that something is wrong.
pub(super) fn slips(text: &str) -> Vec<Mistake> {
    let characters: Vec<char> = text.chars().collect();
    let mut slips = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let (length, slip) = next(rest, at > 0 && characters[at - 1] == '.');
        slips.extend(slip.map(|(within, description)| Mistake { at: at + within, description }));
        at += length;
    }
    slips
}

/// How long the next piece of a text is, and what CEL writes otherwise, with its place in the piece.
fn next(rest: &[char], is_field: bool) -> (usize, Option<(usize, String)>) {
    let in_cel = |written: &str, meant: &str| (0, format!("has {} where CEL has {}", quoted(written), quoted(meant)));
    match rest[0] {
        '"' | '\'' => literal(rest),
        '/' if rest.get(1) == Some(&'/') => (length_until(rest, 2, |character| character == '\n'), None),
        curly if CURLY.contains(&curly) => {
            let closed = length_until(rest, 1, |character| CURLY.contains(&character)) + 1;
            (closed.min(rest.len()), Some((0, straight(curly))))
        }
        first if first.is_alphanumeric() || first == '_' => {
            let length = length_until(rest, 1, |character| !character.is_alphanumeric() && character != '_');
            let word: String = rest[..length].iter().collect();
            // Fields may be called like that.
            let meant = operator(&word).filter(|_| !is_field);
            (length, meant.map(|meant| in_cel(&word, meant)))
        }
        _ => {
            let is_next = |symbol: &str| symbol.chars().eq(rest.iter().copied().take(symbol.chars().count()));
            match SYMBOLS.into_iter().find(|(written, _)| is_next(written)) {
                Some((written, meant)) => (written.chars().count(), (written != meant).then(|| in_cel(written, meant))),
                None => (1, None),
            }
        }
    }
}

/// A text in quotes.
fn literal(rest: &[char]) -> (usize, Option<(usize, String)>) {
    let quote = rest[0];
    let is_triple = rest.len() >= 3 && rest[..3].iter().all(|&character| character == quote);
    let width = if is_triple { 3 } else { 1 };
    let mut at = width;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '\n' if !is_triple => break,
            _ if rest[at..].iter().take(width).filter(|&&character| character == quote).count() == width => {
                return (at + width, None);
            }
            _ => at += 1,
        }
    }
    let length = at.min(rest.len());
    let curly = rest[..length].iter().position(|character| CURLY.contains(character));
    let slip = match curly {
        Some(at) => (at, straight(rest[at])),
        None => (0, format!("begins a text with {quote} that is not closed: put {quote} at its end")),
    };
    (length, Some(slip))
}

fn straight(curly: char) -> String {
    format!("has {curly} where CEL has a straight quote, \"")
}

/// How many characters come before one like that, the first `from` aside.
fn length_until(rest: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    rest.iter().skip(from).position(|&character| is_end(character)).map_or(rest.len(), |more| from + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cel_writes_otherwise_is_found_where_it_stands() {
        for (text, at) in [
            ("a = 1 and b <> 2", vec![2, 6, 12]),
            ("NOT a || \"x\" == c", vec![0]),
            ("a & b | c", vec![2, 6]),
            ("a == \u{201c}b\u{201d} and c", vec![5, 9]),
            ("a == \"b\u{201d}", vec![7]),
            ("a == \"b", vec![5]),
            ("a == \"b\nand c", vec![5, 8]),
            ("user.and = 1", vec![9]),
            ("ö \u{2264} 1", vec![2]),
        ] {
            let found: Vec<_> = slips(text).into_iter().map(|slip| slip.at).collect();
            assert_eq!(found, at, "{text}");
        }
    }

    #[test]
    fn cel_itself_and_what_is_quoted_have_no_slips() {
        for text in [
            "a == 1 && b != 2 || !c && d <= 3 && e >= 4 ? f < 5 : g > 6",
            "a == \"x = 1 and \u{201c}y\u{201d}\"",
            "a == 'it\\'s = 1'",
            "a == \"\"\"x = \" and\ny\"\"\"",
            "a == \"\" // = and",
            "user.not.or.and",
            "land == 1 && order == 2",
        ] {
            assert_eq!(slips(text), [], "{text}");
        }
    }
}
