//! What somebody who misspelt a name probably meant.

use strsim::osa_distance;

/// Most names to compare with: a suggestion is a courtesy and must not cost more than the check itself.
const CANDIDATES_MAX: usize = 1_000;
/// Longest word to find a suggestion for, in bytes.
const WORD_LEN_MAX: usize = 64;

/// ` (did you mean "conversion"?)` where one of the names is close to the word; empty otherwise.
pub(super) fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, names).map_or_else(String::new, |name| format!(" (did you mean \"{name}\"?)"))
}

fn closest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_LEN_MAX {
        return None;
    }
    // One slip in three letters: enough for swapped, missing and doubled letters, too little for other words.
    let distance_max = (word.len() / 3).max(1);
    let folded = word.to_lowercase();
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(word.len()) <= distance_max)
        .take(CANDIDATES_MAX)
        .map(|name| (osa_distance(&folded, &name.to_lowercase()), name))
        .filter(|&(distance, _)| distance <= distance_max)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["prices", "platforms", "plan", "paused"];
        for (word, expected) in [
            ("pirces", Some("prices")),
            ("price", Some("prices")),
            ("Plan", Some("plan")),
            ("platfroms", Some("platforms")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(word, names), expected, "{word}");
        }
    }
}
