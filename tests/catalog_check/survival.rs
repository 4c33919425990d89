//! Whatever the text, checking it ends, with an answer that can be shown.

use super::EXAMPLE;
use offer_ranker::catalog;
use proptest::prelude::*;

fn assert_survives(text: &str) {
    match catalog::check("a.yaml", text) {
        Ok(loaded) => drop(loaded.warnings.to_string()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

/// Pieces that YAML gives a meaning to, in any order.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "offers:",
        "placements:",
        "rates:",
        "id: ",
        "prices: ",
        "- ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "|",
        ">",
        "#",
        "~",
        "---",
        "...",
        "%",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "a",
        "1e9",
        ".nan",
        "<<",
        "\u{feff}",
        "é",
        "\0",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>()) {
        assert_survives(&text);
    }

    #[test]
    fn no_yaml_like_text_makes_the_check_panic(text in yaml_like()) {
        assert_survives(&text);
    }

    #[test]
    fn no_truncation_of_the_example_makes_the_check_panic(length in 0..EXAMPLE.len()) {
        assert_survives(EXAMPLE.get(..length).unwrap_or_default());
    }

    #[test]
    fn no_change_to_the_example_makes_the_check_panic(
        start in 0..EXAMPLE.len(),
        length in 0_usize..40,
        insert in "[-a-z0-9 :,{}\\[\\]\"'\n.~*&!|>%@`#é\u{0}]{0,6}",
    ) {
        let end = (start + length).min(EXAMPLE.len());
        if EXAMPLE.is_char_boundary(start) && EXAMPLE.is_char_boundary(end) {
            assert_survives(&format!("{}{insert}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
        }
    }
}
