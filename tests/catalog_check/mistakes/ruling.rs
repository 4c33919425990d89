//! Rules: each mistake is pointed at within the expression, however that is written.

use super::Case;
use crate::{patched, problems};

const TV: &str = "user.device_class != \"tv\"";

pub(super) const RULES: &[Case] = &[
    ("- id: no-cards-on-tv", "- id: No cards", "rules[1].id", "No cards", "must be 1 to 64 of a-z"),
    (
        "- id: no-cards-on-tv",
        "- id: look-around-first",
        "rules[1].id",
        "look-around-first",
        "which rules[0].id is already",
    ),
    (
        "scope: { offers: [trial-30-days-card] }",
        "scope: { offers: [trial-30-day-card] }",
        "rules[1].scope.offers[0]",
        "trial-30-day-card",
        "which is no offer of this catalog (did you mean \"trial-30-days-card\"?)",
    ),
    (
        "scope: { offers: [upgrade-to-premium] }",
        "scope: { offers: [upgrade-to-premium, none] }",
        "rules[2].scope.offers[1]",
        "none",
        "of kind NONE: showing nothing needs no permission",
    ),
    (
        "scope: { offers: [upgrade-to-premium] }",
        "scope: { offers: [upgrade-to-premium, upgrade-to-premium] }",
        "rules[2].scope.offers[1]",
        "upgrade-to-premium",
        "which rules[2].scope.offers[0] is already",
    ),
    (
        "scope: { tags: [upgrade]",
        "scope: { tags: [upgrade, upgrades]",
        "rules[3].scope.tags[1]",
        "upgrades",
        "which is no tag of an offer (did you mean \"upgrade\"?)",
    ),
    (
        "placements: [checkout_upsell] }",
        "placements: [checkout_upsell, chekout_upsell] }",
        "rules[3].scope.placements[1]",
        "chekout_upsell",
        "which is no placement of this catalog (did you mean \"checkout_upsell\"?)",
    ),
    (
        "{ name: Germany, offer: student-half-price, market: DE, user: { tenure_days: 0 }, expect: ALLOWED }",
        "{ name: Germany, offer: student-half-price, market: DE, user: { tenure_days: 0 }, expect: EXCLUDED }",
        "rules[0].tests[3].expect",
        "Germany",
        "is EXCLUDED for \"student-half-price\" (Germany), but the rule allows it",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: family, expect: ALLOWED",
        "rules[2].tests[0].expect",
        "family",
        "is ALLOWED for \"upgrade-to-premium\", but the rule excludes it",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: family",
        "rules[2].tests[0].expect",
        "family",
        "is missing, must be ALLOWED or EXCLUDED",
    ),
    (
        "user: { device_class: tv }",
        "user: { device_class: television }",
        "rules[1].tests[0].user.device_class",
        "television",
        "is \"television\", must be one of: phone, tablet, desktop, tv",
    ),
    (
        "user: { device_class: tv }",
        "user: { device: tv, device_class: tv }",
        "rules[1].tests[0].user.device",
        "device",
        "is no attribute of placement \"paywall\"",
    ),
    (
        "- { offer: trial-30-days-card, user: { device_class: tv }",
        "- { offer: trial-7-days, user: { device_class: tv }",
        "rules[1].tests[0].offer",
        "trial-7-days",
        "which the rule is not about at any placement",
    ),
    (
        "- { offer: trial-30-days-card, user: { device_class: tv }",
        "- { offer: trial-30-days-card, market: DE, user: { device_class: tv }",
        "rules[1].tests[0].market",
        "DE",
        "is \"DE\", where \"trial-30-days-card\" has no price",
    ),
    (
        "current_plan: standard, expect: ALLOWED",
        "current_plan: standrd, expect: ALLOWED",
        "rules[2].tests[1].current_plan",
        "standrd",
        "is \"standrd\", which is no plan of this catalog (did you mean \"standard\"?)",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: famly, expect: EXCLUDED",
        "rules[2].tests[0].current_plan",
        "famly",
        "is \"famly\", which is no plan of this catalog (did you mean \"family\"?)",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: family, platform: Smart TV, expect: EXCLUDED",
        "rules[2].tests[0].platform",
        "Smart TV",
        "is \"Smart TV\", must be 1 to 64 of a-z",
    ),
    (
        "current_plan: family, expect: EXCLUDED",
        "current_plan: family, lapsed_at: yesterday, expect: EXCLUDED",
        "rules[2].tests[0].lapsed_at",
        "yesterday",
        "is \"yesterday\", must be an instant with its offset",
    ),
    (
        "market == \"DE\" || user",
        "(market == \"DE\" && user.tenure_days >= 0.0) || user",
        "rules[0].expression",
        "expression",
        "tells \"black-friday-2026\" and \"premium-monthly\" apart by attributes of the user, but they sell plan \
         \"premium\" at different prices in market DE, which forbids personalised prices",
    ),
];

/// An expression, what is pointed at, and a piece of the description.
type Mistake = (&'static str, &'static str, &'static str);

const EXPRESSIONS: &[Mistake] = &[
    (
        "user.device_clas == \"tv\"",
        "device_clas ",
        "no attribute of placement \"paywall\" (did you mean \"device_class\"?)",
    ),
    ("device_class == \"tv\"", "device_class", "is not known (did you mean \"user.device_class\"?)"),
    ("usr.device_class == \"tv\"", "usr", "is not known (did you mean \"user\"?)"),
    ("user == \"tv\"", "user", "reads user as a whole: name one of its fields, such as user.tenure_days"),
    ("weather.rain == 1", "weather", "is not known; there are: user, subscription, offer, now, market, platform"),
    ("subscription.plan == \"basic\"", "plan ", "but subscription has no such field"),
    ("now.weekdays == 1", "weekdays", "(did you mean \"weekday\"?)"),
    ("offer.prize < 3.0", "prize", "(did you mean \"price\"?)"),
    ("market.id == \"SE\"", "market", "asks for a field of market, which is a text"),
    (
        "user.device_class == \"telly\"",
        "\"telly\"",
        "which it never is; it can be: \"desktop\", \"phone\", \"tablet\", \"tv\"",
    ),
    (
        "user.device_class in [\"tv\", \"table\"]",
        "[",
        "compares with \"table\", which it never is (did you mean \"tablet\"?)",
    ),
    ("market == \"GB\"", "\"GB\"", "which it never is"),
    ("offer.kind == \"TRAIL\"", "\"TRAIL\"", "(did you mean \"TRIAL\"?)"),
    ("\"acquisitions\" in offer.tags", "\"acquisitions\"", "(did you mean \"acquisition\"?)"),
    ("subscription.current_plan == \"premuim\"", "\"premuim\"", "(did you mean \"premium\"?)"),
    ("user.device_class", "user", "is a text, must be true or false"),
    ("user.tenure_days + 1.0", "user", "is a double, must be true or false"),
    ("user.device_class > 3", "> 3", "compares a text with a whole number"),
    ("user.is_returning == 1", "== 1", "compares a boolean with a whole number"),
    ("user.tenure_days && true", "user", "has a double where true or false must stand"),
    ("!user.tenure_days", "user", "has a double where true or false must stand"),
    ("user.tenure_days * 2 > 3.0", "* 2", "write the one as a double too, such as 2.0"),
    ("user.tenure_days % 2.0 == 0.0", "% 2", "asks for the remainder of doubles"),
    ("\"a\" + \"b\" == \"ab\"", "+ ", "computes with texts"),
    ("now.hour + \"h\" == 3", "+ ", "computes with a whole number and a text"),
    ("-user.is_returning", "user", "changes the sign of a boolean"),
    ("user.is_returning ? 1 : \"a\"", "?", "is a whole number or a text, must be the same either way"),
    ("\"tv\" in user.device_class", "user", "looks for something in a text: a text is asked with contains"),
    ("3 in [\"a\"]", "in [", "looks for a whole number in a list of others"),
    ("1 in [1, 2.0]", "2.0", "has a double in a list that begins with a whole number"),
    ("now.hour in [now.hour]", "now.hour]", "whose entries are not all given"),
    ("now.hour in []", "[]", "has a list of 0, must have 1 to 128 entries"),
    ("size([[1]]) == 1", "[[1]])", "has a list of lists"),
    ("offer.tags < offer.tags", "< ", "asks which of two lists is larger"),
    ("user.device_class.startsWith(1)", "(1)", "calls startsWith with a text and a whole number"),
    ("user.device_class.startsWith()", "()", "calls startsWith with 0 arguments, it takes 1"),
    ("size(3) > 2", "(3)", "calls size with a whole number, which it does not take"),
    ("user.device_class.startWith(\"t\")", "(\"t\")", "(did you mean \"startsWith\"?)"),
    ("user.device_class.matches(\"t.*\")", "(\"t.*\")", "rules have no regular expressions"),
    ("now.hour > hours()", "()", "calls hours, which is no function of rules"),
    ("has(user.device_class)", "", "uses has(), which is not needed"),
    ("offer.tags.exists(tag, tag == \"a\")", "", "loops, which rules do not"),
    ("size({\"a\": 1}) == 1", "{", "makes a map"),
    ("now.hour > 3u", "3u", "has an unsigned number: leave out the u"),
    ("user.device_class == b\"tv\"", "b\"tv\"", "has bytes"),
    ("platform != null", "null", "has null, but everything has a value here"),
    ("user.device_class == ", "", "is no CEL expression from here on: it ends too early"),
    ("(now.hour > 1", "", "is no CEL expression from here on: \")\" is missing at the end"),
    ("now.hour > 1)", ")", "is no CEL expression from here on: \")\" cannot stand there"),
    ("now.hour # 1", "#", "is no CEL expression from here on: \"#\" means nothing there"),
    ("user.device_class === \"tv\"", "===", "has \"===\" where CEL has \"==\""),
    ("user.device_class = \"tv\"", "= ", "has \"=\" where CEL has \"==\""),
    ("user.device_class <> \"tv\"", "<>", "has \"<>\" where CEL has \"!=\""),
    ("now.hour => 3", "=>", "has \"=>\" where CEL has \">=\""),
    ("now.hour > 3 and now.hour < 5", "and", "has \"and\" where CEL has \"&&\""),
    ("now.hour > 3 OR now.hour < 5", "OR", "has \"OR\" where CEL has \"||\""),
    ("not user.is_returning", "not", "has \"not\" where CEL has \"!\""),
    ("not(user.is_returning)", "(user", "calls not, which is no function of rules (did you mean \"!\"?)"),
    ("now.hour > 3 & now.hour < 5", "& ", "has \"&\" where CEL has \"&&\""),
    ("now.hour > 3 | now.hour < 5", "| ", "has \"|\" where CEL has \"||\""),
    ("user.device_class != \u{201c}tv\u{201d}", "\u{201c}tv", "has \u{201c} where CEL has a straight quote, \""),
    ("user.device_class != \"tv", "\"tv", "begins a text with \" that is not closed: put \" at its end"),
    ("now.hour > 99999999999999999999", "", "is no CEL expression from here on"),
];

#[test]
fn every_mistake_in_an_expression_is_pointed_at() {
    let mut failures = Vec::new();
    for &(expression, pointed, description) in EXPRESSIONS {
        // Single quotes hold anything, and double what is one of them.
        let text = patched(TV, &format!("'{}'", expression.replace('\'', "''")));
        let found = problems(&text);
        let rest = |at: offer_ranker::catalog::Location| {
            let line = text.lines().nth(at.line - 1).unwrap_or("");
            line.chars().skip(at.column - 1).collect::<String>()
        };
        let expected = found.first().is_some_and(|problem| {
            let at = problem.location.map(rest).unwrap_or_default();
            problem.field == "rules[1].expression"
                && at.starts_with(pointed)
                && problem.description.contains(description)
        });
        if !expected || found.len() != 1 {
            let shown: Vec<_> =
                found.iter().map(|p| format!("{} at {:?}", p.description, p.location.map(rest))).collect();
            failures.push(format!("{expression}\n  expected at {pointed:?}: {description}\n  found {shown:#?}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), EXPRESSIONS.len(), failures.join("\n"));
}

#[test]
fn several_mistakes_of_one_expression_are_told_at_once_in_their_lines() {
    let text =
        patched(TV, ">-\n      user.devise_class != \"tv\" &&\n      ofer.price > 1.0 &&\n      now.hour == \"noon\"");
    let found = problems(&text);
    let places: Vec<_> = found.iter().filter_map(|problem| problem.location).collect();
    let lines: Vec<_> = places.iter().map(|at| text.lines().nth(at.line - 1).unwrap().trim()).collect();
    assert_eq!(lines, ["user.devise_class != \"tv\" &&", "ofer.price > 1.0 &&", "now.hour == \"noon\""], "{found:#?}");
    assert_eq!(places.iter().map(|at| at.column).collect::<Vec<_>>(), [12, 7, 16], "{found:#?}");
}

#[test]
fn a_rule_at_a_placement_without_its_attributes_says_which() {
    let from = "scope: { offers: [upgrade-to-premium] }";
    let text = patched(from, from)
        .replace("expression: subscription.current_plan != \"family\"", "expression: user.tenure_days > 1.0");
    let found = problems(&text);
    let description = "reads user.tenure_days, which is no attribute of placement \"checkout_upsell\"";
    assert!(found.len() == 1 && found[0].description.contains(description), "{found:#?}");
}

#[test]
fn everything_that_cel_writes_otherwise_is_told_at_once() {
    let found = problems(&patched(TV, "'user.device_class = \"tv\" and not user.is_returning'"));
    let described: Vec<_> = found.iter().map(|problem| problem.description.as_str()).collect();
    let expected = [
        "has \"=\" where CEL has \"==\" (character 19)",
        "has \"and\" where CEL has \"&&\" (character 26)",
        "has \"not\" where CEL has \"!\" (character 30)",
    ];
    assert_eq!(described, expected);
}

/// A rule at two placements, of which `checkout_upsell` takes users for returning ones unless they are said not to be,
/// and has one more attribute.
fn at_two_placements(test: &str) -> Vec<offer_ranker::catalog::Problem> {
    let rule = format!(
        "rules:\n  - id: returning\n    expression: user.is_returning\n    scope: {{ offers: [annual-2-months-free] }}\n    \
         tests: [{test}]\n"
    );
    let context = "  - id: checkout_upsell\n    context:\n      attributes:\n        - { name: is_returning, boolean: { \
                   default: true } }\n        - { name: basket, number: { min: 0, max: 9, default: 0 } }\n";
    problems(&patched("rules:\n", &rule).replacen("  - id: checkout_upsell\n", context, 1))
}

#[test]
fn the_test_of_a_rule_runs_at_every_placement_that_takes_its_attributes() {
    const OFFER: &str = "offer: annual-2-months-free";
    for (test, says) in [
        (format!("{{ {OFFER}, user: {{ is_returning: true }}, expect: ALLOWED }}"), None),
        (
            format!("{{ {OFFER}, user: {{ is_returning: true }}, expect: EXCLUDED }}"),
            Some("but the rule allows it at placements \"checkout_upsell\", \"paywall\""),
        ),
        (
            format!("{{ {OFFER}, expect: EXCLUDED }}"),
            Some("is EXCLUDED for \"annual-2-months-free\", but the rule allows it at placement \"checkout_upsell\""),
        ),
        (
            format!("{{ {OFFER}, expect: ALLOWED }}"),
            Some("is ALLOWED for \"annual-2-months-free\", but the rule excludes it at placement \"paywall\""),
        ),
        // One placement alone has such an attribute.
        (format!("{{ {OFFER}, user: {{ channel: email }}, expect: EXCLUDED }}"), None),
        (format!("{{ {OFFER}, user: {{ basket: 3 }}, expect: ALLOWED }}"), None),
        (
            format!("{{ {OFFER}, user: {{ baskets: 3 }}, expect: ALLOWED }}"),
            Some("is no attribute of placement \"checkout_upsell\" (did you mean \"basket\"?)"),
        ),
    ] {
        let found = at_two_placements(&test);
        match says {
            None => assert_eq!(found, [], "{test}"),
            Some(says) => assert!(found.len() == 1 && found[0].description.ends_with(says), "{test}: {found:#?}"),
        }
    }
}

#[test]
fn expressions_are_bounded_in_size_and_depth() {
    let deep = format!("{}true{}", "!(".repeat(40), ")".repeat(40));
    let chain = format!("{} > 1", vec!["now.hour"; 40].join(" + "));
    let long = format!("platform == \"{}\"", "x".repeat(2000));
    let list = format!("now.hour in [{}]", vec!["1"; 129].join(", "));
    for (expression, description) in [
        (deep.as_str(), "is no CEL expression from here on"),
        (&chain, "is nested deeper than 32 here"),
        (&long, "has 2014 bytes, must have at most 2000"),
        (&list, "has a list of 129, must have 1 to 128 entries"),
    ] {
        let found = problems(&patched(TV, &format!("'{expression}'")));
        assert!(found.len() == 1 && found[0].description.contains(description), "{expression}: {found:#?}");
    }
}
