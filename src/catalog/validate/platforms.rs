//! Warnings about platforms that are probably misspelt. Anything may be a platform, so none is refused; what tells is that
//! only one offer or rule names it, and that it resembles one that is named elsewhere.

use super::findings::RESOURCE;
use crate::{
    catalog::{path::Path, problem::quoted, suggest::did_you_mean},
    engine::{
        catalog::Catalog,
        rules::{Expr, Rule, Value, Variable},
    },
    proto,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// A platform that the catalog names.
struct Named {
    /// How many platforms were named before it.
    rank: usize,
    /// Where it is named first.
    path: Path,
    /// What it does there.
    verb: &'static str,
    /// The offers and rules that name it; the tests of a rule are part of it.
    by: BTreeSet<Path>,
}

/// The platforms that the catalog names.
#[derive(Default)]
struct Platforms<'a> {
    named: BTreeMap<&'a str, Named>,
}

/// Warns of every platform that is probably another one, misspelt, or that no request can name.
pub(super) fn warn_of_platforms(declared: &proto::Catalog, catalog: &Catalog, warn: &mut impl FnMut(Path, String)) {
    let Platforms { named } = Platforms::of(declared, catalog);
    for (&name, Named { rank, path, verb, by }) in &named {
        // Of two that are named once the first is taken to be right.
        let weight = (1, Reverse(*rank));
        let others = named.iter().filter(|(_, other)| (other.by.len(), Reverse(other.rank)) > weight);
        let hint = did_you_mean(name, others.map(|(other, _)| *other));
        if by.len() == 1 && !hint.is_empty() {
            let name = quoted(name);
            warn(path.clone(), format!("{verb} {name}, a platform that nothing else in the catalog names{hint}"));
        } else if !RESOURCE.accepts(name) {
            let (name, rule) = (quoted(name), RESOURCE.rule());
            warn(path.clone(), format!("{verb} {name}, which no request can name: a platform is {rule}"));
        }
    }
}

impl<'a> Platforms<'a> {
    fn of(declared: &'a proto::Catalog, catalog: &'a Catalog) -> Self {
        let mut platforms = Self::default();
        let offers = Path::default().field("offers");
        for (index, offer) in declared.offers.iter().enumerate() {
            let path = offers.index(index);
            for (index, name) in offer.platforms.iter().enumerate() {
                platforms.add(name, "is", path.field("platforms").index(index), &path);
            }
        }
        let rules = catalog.placements.values().flat_map(|placement| &placement.rules);
        let compiled: BTreeMap<&str, &Rule> = rules.map(|rule| (&*rule.id, rule)).collect();
        let rules = Path::default().field("rules");
        for (index, rule) in declared.rules.iter().enumerate() {
            let path = rules.index(index);
            let mut compared = Vec::new();
            // One that is about no offer has not been compiled.
            if let Some(rule) = compiled.get(rule.id.as_str()) {
                compare(&rule.condition, &mut compared);
            }
            for name in compared {
                platforms.add(name, "compares platform with", path.field("expression"), &path);
            }
            for (index, test) in rule.tests.iter().enumerate() {
                platforms.add(&test.platform, "is", path.field("tests").index(index).field("platform"), &path);
            }
        }
        platforms
    }

    fn add(&mut self, name: &'a str, verb: &'static str, path: Path, by: &Path) {
        // The empty text is a request that names none.
        if !name.is_empty() {
            let rank = self.named.len();
            let first = || Named { rank, path, verb, by: BTreeSet::new() };
            self.named.entry(name).or_insert_with(first).by.insert(by.clone());
        }
    }
}

/// Gathers the texts that an expression compares the platform with.
fn compare<'a>(expr: &'a Expr, compared: &mut Vec<&'a str>) {
    if let Expr::Compare(_, operands) | Expr::In(operands) = expr
        && operands.contains(&Expr::Variable(Variable::Platform))
    {
        for operand in operands.iter() {
            let values = match operand {
                Expr::Constant(Value::List(values)) => &values[..],
                Expr::Constant(value) => std::slice::from_ref(value),
                _ => continue,
            };
            compared.extend(values.iter().filter_map(|value| match value {
                Value::Text(text) => Some(&**text),
                _ => None,
            }));
        }
    }
    expr.operands().iter().for_each(|operand| compare(operand, compared));
}
