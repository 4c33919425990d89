//! Rules say what CEL says: expressions drawn from a seed come to the same here and in the interpreter of the `cel`
//! crate, errors included.

use crate::{
    scale,
    scene::{self, NOW},
};
use cel::{Context, Program, Value};
use offer_ranker::engine::{
    context::AttributeValue,
    decide::{RankRequest, decide},
    eligibility::ExclusionReason,
    learn::PartitionStatistics,
    user::UserState,
};
use rand::{RngExt as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use std::{collections::HashMap, fmt::Write as _};

/// 2026-11-20T00:00:00Z was a Friday.
const NOW_PARTS: [(&str, i64); 6] =
    [("year", 2026), ("month", 11), ("day", 20), ("hour", 0), ("minute", 0), ("weekday", 5)];

struct Writer<'a>(&'a mut ChaCha8Rng);

impl Writer<'_> {
    fn pick(&mut self, choices: &[&str]) -> String {
        (*choices.choose(self.0).unwrap()).to_owned()
    }

    fn boolean(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.pick(&["user.yes", "true", "false", "subscription.trial_used", "subscription.has_lapsed"]);
        }
        let d = depth - 1;
        match self.0.random_range(0..11) {
            0 => format!("!({})", self.boolean(d)),
            1 | 2 => format!("({} && {})", self.boolean(d), self.boolean(d)),
            3 | 4 => format!("({} || {})", self.boolean(d), self.boolean(d)),
            5 => format!("({} ? {} : {})", self.boolean(d), self.boolean(d), self.boolean(d)),
            6 => format!("({} {} {})", self.integer(d), self.comparison(), self.integer(d)),
            7 => format!("({} {} {})", self.double(d), self.comparison(), self.double(d)),
            // Beyond 2^53 the interpreter rounds the whole number; ours compares exactly, as CEL is specified.
            8 => format!("({} % 1000 {} {})", self.integer(d), self.comparison(), self.double(d)),
            9 => {
                let (a, b) = (self.text(), self.text());
                let how = self.pick(&["startsWith", "endsWith", "contains"]);
                format!("({a}.{how}({b}) || {a} {} {b})", self.comparison())
            }
            _ => {
                let value = self.integer(d);
                format!("({value} in [1, 5, -3, 2026] && \"shy\" in offer.tags)")
            }
        }
    }

    fn integer(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.pick(&[
                "now.weekday",
                "now.hour",
                "now.year",
                "subscription.lapsed_days",
                "0",
                "1",
                "-3",
                "9223372036854775807",
            ]);
        }
        let d = depth - 1;
        match self.0.random_range(0..6) {
            0 => format!("int({})", self.double(d)),
            1 => format!("size({})", self.text()),
            2 => format!("({} ? {} : {})", self.boolean(d), self.integer(d), self.integer(d)),
            _ => {
                let how = self.pick(&["+", "-", "*", "/", "%"]);
                format!("({} {how} {})", self.integer(d), self.integer(d))
            }
        }
    }

    fn double(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.pick(&["user.amount", "offer.price", "offer.discount", "0.5", "3.0", "0.0", "1e300"]);
        }
        let d = depth - 1;
        match self.0.random_range(0..4) {
            0 => format!("double({})", self.integer(d)),
            _ => {
                let how = self.pick(&["+", "-", "*", "/"]);
                format!("({} {how} {})", self.double(d), self.double(d))
            }
        }
    }

    fn text(&mut self) -> String {
        self.pick(&["user.word", "platform", "\"w\"", "\"web\"", "\"\"", "\"ö\""])
    }

    fn comparison(&mut self) -> String {
        self.pick(&["==", "!=", "<", "<=", ">", ">="])
    }
}

fn catalog(expressions: &[String]) -> String {
    let mut rules = String::new();
    for (index, expression) in expressions.iter().enumerate() {
        writeln!(rules, "  - {{ id: rule-{index}, expression: '{expression}', scope: {{ offers: [o{index}] }} }}")
            .unwrap();
    }
    let price = "{ SE: { price: { currency_code: SEK, amount_minor: 9900 }, list_price: { currency_code: SEK, amount_minor: 13200 } } }";
    let offers: String = (0..expressions.len())
        .map(|index| format!("  - {{ id: o{index}, kind: STANDARD, plan: p, tags: [shy], prices: {price} }}\n"))
        .collect();
    let ids: Vec<_> = (0..expressions.len()).map(|index| format!("o{index}")).collect();
    format!(
        "
reward_currency: SEK
markets: [{{ id: SE, currency_code: SEK }}]
metrics: [{{ id: conversion, kind: COUNT }}]
offers:
{offers}
rules:
{rules}
placements:
  - id: paywall
    offers: [{}]
    context:
      attributes:
        - {{ name: amount, number: {{ min: -1000, max: 1000 }} }}
        - {{ name: word, category: {{ values: [web, wide, ö], unknown_bucket: true }} }}
        - {{ name: yes, boolean: {{}} }}
    policy: {{ uniform: {{}} }}
    reward: {{ terms: [{{ metric: conversion, indicator: true }}] }}
",
        ids.join(", ")
    )
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> HashMap<String, Value> {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What the interpreter makes of an expression, with what `decide` is given below.
fn interpreted(expression: &str, offer: &str, amount: f64, word: &str, yes: bool, user: &UserState) -> Option<bool> {
    let lapse_ms = user.lapse_ms(NOW);
    let text = |text: &str| Value::from(text);
    let mut context = Context::default();
    context.add_variable_from_value(
        "user",
        map([("amount", Value::Float(amount)), ("word", text(word)), ("yes", Value::Bool(yes))]),
    );
    let subscription = [
        ("trial_used", Value::Bool(user.trial_used)),
        ("current_plan", text("")),
        ("has_lapsed", Value::Bool(lapse_ms.is_some())),
        ("lapsed_days", Value::Int((lapse_ms.unwrap_or(0) / 86_400_000) as i64)),
    ];
    context.add_variable_from_value("subscription", map(subscription));
    context.add_variable_from_value("now", map(NOW_PARTS.map(|(name, value)| (name, Value::Int(value)))));
    context.add_variable_from_value("market", "SE");
    context.add_variable_from_value("platform", "web");
    let tags = Value::List(vec![text("shy")].into());
    let offer = [
        ("id", text(offer)),
        ("tags", tags),
        ("price", Value::Float(99.0)),
        ("list_price", Value::Float(132.0)),
        ("discount", Value::Float(1.0 - 9900.0 / 13200.0)),
    ];
    context.add_variable_from_value("offer", map(offer));
    match Program::compile(expression).unwrap().execute(&context) {
        Ok(Value::Bool(truth)) => Some(truth),
        Ok(other) => panic!("{expression} is {other:?}"),
        Err(_) => None,
    }
}

#[test]
fn rules_say_what_cel_says() {
    const AT_ONCE: usize = 50;
    let mut said = HashMap::<Option<bool>, u64>::new();
    for seed in 0..scale::tenth_of(400) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let expressions: Vec<String> = (0..AT_ONCE).map(|_| Writer(&mut rng).boolean(4)).collect();
        let (catalog, _) = scene::placement(&catalog(&expressions));
        let snapshot = scene::snapshot(&catalog, &PartitionStatistics::default());
        let amount = f64::from(rng.random_range(-20..20)) / 2.0;
        let word = *["web", "wide", "ö", "else"].choose(&mut rng).unwrap();
        let yes = rng.random();
        let lapsed_at = rng
            .random_bool(0.5)
            .then(|| offer_ranker::engine::instant::Instant::from_ms(NOW.as_ms() - rng.random_range(0..400_000_000)));
        let user = UserState { trial_used: rng.random(), lapsed_at, ..UserState::default() };
        let request = RankRequest {
            market: Some("SE".into()),
            platform: "web".to_owned(),
            attributes: vec![
                AttributeValue::Number(amount),
                AttributeValue::Category(word.into()),
                AttributeValue::Boolean(yes),
            ],
            candidates: Vec::new(),
            slots: 1,
            include_tail: false,
        };
        let decision = decide(&snapshot, &request, &user, NOW, seed);
        for (index, expression) in expressions.iter().enumerate() {
            let id = format!("o{index}");
            let exclusion = decision.exclusions.iter().find(|exclusion| *exclusion.offer_id == *id);
            let ours = match exclusion.map(|exclusion| exclusion.reason) {
                None => Some(true),
                Some(ExclusionReason::Rule) => Some(false),
                Some(ExclusionReason::RuleError) => None,
                Some(other) => panic!("{other:?}"),
            };
            let theirs = interpreted(expression, &id, amount, word, yes, &user);
            assert_eq!(ours, theirs, "{expression}\namount {amount} word {word} yes {yes} {user:?}");
            *said.entry(ours).or_default() += 1;
        }
    }
    assert!(said.len() == 3 && said.values().all(|&count| count > 20), "all three occur: {said:?}");
}
