//! The static checker: from a syntax tree of CEL to a typed expression, or to everything that is wrong with it.
//!
//! What is accepted is a part of CEL with its meaning unchanged: no loops, maps, nulls, regular expressions or joined
//! texts, which rules do not need and which cost or hide too much.

use super::{
    names::{Scope, Words},
    slips::operator,
    syntax::{Mistake, Parsed},
    types::Type,
};
use crate::{
    catalog::{problem::quoted, suggest::did_you_mean},
    engine::rules::{Arithmetic, Comparison, Expr, TextTest, Value},
};
use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr as Syntax, LiteralValue, operators},
};

/// Deepest nesting of operators and calls.
const DEPTH_MAX: usize = 32;
/// Most entries of a list.
const LIST_MAX: usize = 128;

/// A checked expression.
struct Checked {
    expr: Expr,
    r#type: Type,
    /// What its text, or the texts in its list, can be.
    words: Words,
    at: usize,
}

/// Checks an expression; `Err` holds everything that is wrong.
pub(super) fn check(parsed: &Parsed, scope: Scope<'_>) -> Result<Expr, Vec<Mistake>> {
    let mut checker = Checker { parsed, scope, mistakes: Vec::new(), too_deep: false };
    let checked = checker.expr(&parsed.root, 0);
    if let Some(checked) = &checked
        && checked.r#type != Type::Boolean
    {
        checker.refuse::<()>(0, format!("is {}, must be true or false", checked.r#type.noun()));
    }
    match checked {
        Some(checked) if checker.mistakes.is_empty() => Ok(checked.expr),
        _ => Err(checker.mistakes),
    }
}

struct Checker<'a> {
    parsed: &'a Parsed,
    scope: Scope<'a>,
    mistakes: Vec<Mistake>,
    /// One place that is nested too deep is enough to hear of.
    too_deep: bool,
}

impl Checker<'_> {
    /// Notes a mistake.
    fn refuse<T>(&mut self, at: usize, description: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake { at, description: description.into() });
        None
    }

    /// `None` where something in it is refused, which is noted then.
    fn expr(&mut self, expr: &IdedExpr, depth: usize) -> Option<Checked> {
        let at = self.parsed.place(expr);
        if depth > DEPTH_MAX {
            if std::mem::replace(&mut self.too_deep, true) {
                return None;
            }
            return self.refuse(at, format!("is nested deeper than {DEPTH_MAX} here: make it several rules"));
        }
        match &expr.expr {
            Syntax::Literal(literal) => self.literal(literal, at),
            Syntax::Ident(name) => match self.scope.name(name) {
                Ok(known) => {
                    let expr = Expr::Variable(known.variable);
                    Some(Checked { expr, r#type: known.r#type, words: known.words, at })
                }
                Err(description) => self.refuse(at, description),
            },
            Syntax::Select(select) => {
                let Syntax::Ident(whole) = &select.operand.expr else {
                    return self.refuse(at, "asks for a field of something that has none");
                };
                if select.test {
                    return self.refuse(at, "uses has(), which is not needed: everything has a value here");
                }
                match self.scope.field(whole, &select.field) {
                    Ok(known) => {
                        let expr = Expr::Variable(known.variable);
                        Some(Checked { expr, r#type: known.r#type, words: known.words, at })
                    }
                    Err(description) => {
                        let at = if self.is_whole(whole) { self.parsed.place_of_field(expr) } else { at };
                        self.refuse(at, description)
                    }
                }
            }
            Syntax::List(list) => self.list(&list.elements, at, depth),
            Syntax::Call(call) => self.call(call, at, depth),
            Syntax::Comprehension(_) => {
                self.refuse(at, "loops, which rules do not: ask with in whether a list holds something")
            }
            Syntax::Map(_) | Syntax::Struct(_) => self.refuse(at, "makes a map, which rules have no use for"),
            Syntax::Unspecified => self.refuse(at, "is no CEL expression"),
        }
    }

    fn is_whole(&self, name: &str) -> bool {
        matches!(name, "user" | "subscription" | "offer" | "now")
    }

    fn literal(&mut self, literal: &LiteralValue, at: usize) -> Option<Checked> {
        let (value, r#type) = match literal {
            LiteralValue::Boolean(truth) => (Value::Boolean(*truth.inner()), Type::Boolean),
            LiteralValue::Int(number) => (Value::Integer(*number.inner()), Type::Integer),
            LiteralValue::Double(number) if number.inner().is_finite() => {
                (Value::Double(*number.inner()), Type::Double)
            }
            LiteralValue::Double(_) => return self.refuse(at, "has a number that is too large for a double"),
            LiteralValue::String(text) => (Value::Text(text.inner().into()), Type::Text),
            LiteralValue::UInt(_) => return self.refuse(at, "has an unsigned number: leave out the u"),
            LiteralValue::Bytes(_) => return self.refuse(at, "has bytes: leave out the b to make it a text"),
            LiteralValue::Null => return self.refuse(at, "has null, but everything has a value here"),
        };
        Some(Checked { expr: Expr::Constant(value), r#type, words: None, at })
    }

    fn list(&mut self, elements: &[IdedExpr], at: usize, depth: usize) -> Option<Checked> {
        if elements.is_empty() || elements.len() > LIST_MAX {
            return self.refuse(at, format!("has a list of {}, must have 1 to {LIST_MAX} entries", elements.len()));
        }
        let entries: Vec<_> = elements.iter().filter_map(|element| self.expr(element, depth + 1)).collect();
        if entries.len() < elements.len() {
            return None;
        }
        let first = entries[0].r#type;
        let mut values = Vec::with_capacity(entries.len());
        for Checked { expr, r#type, at, .. } in entries {
            if r#type != first {
                let description = format!("has {} in a list that begins with {}", r#type.noun(), first.noun());
                return self.refuse(at, description);
            }
            let Expr::Constant(value) = expr.reduce(&|_| None) else {
                return self.refuse(at, "has a list whose entries are not all given: compare with each instead");
            };
            values.push(value);
        }
        let Some(r#type) = first.list_of() else { return self.refuse(at, "has a list of lists") };
        Some(Checked { expr: Expr::Constant(Value::List(values.into())), r#type, words: None, at })
    }

    fn call(&mut self, call: &CallExpr, at: usize, depth: usize) -> Option<Checked> {
        let target = call.target.as_deref();
        let operands: Vec<_> =
            target.into_iter().chain(&call.args).map(|operand| self.expr(operand, depth + 1)).collect();
        let count = operands.len();
        let known: Vec<Checked> = operands.into_iter().flatten().collect();
        let name = call.func_name.as_str();
        if !is_operator(name) {
            return self.function(name, target.is_some(), (known, count), at);
        }
        // A mistake in an operand is noted already.
        if known.len() < count {
            return None;
        }
        let made = |expr, r#type| Some(Checked { expr, r#type, words: None, at });
        match (name, <[Checked; 2]>::try_from(known)) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, Ok([a, b])) => {
                let both = [self.boolean(&a), self.boolean(&b)];
                let operands = flatten(name, [a.expr, b.expr]);
                let expr = if name == operators::LOGICAL_AND { Expr::All(operands) } else { Expr::Any(operands) };
                if both == [true, true] { made(expr, Type::Boolean) } else { None }
            }
            (operators::IN, Ok(operands)) => self.membership(operands, at),
            (_, Ok(operands)) => match (comparison(name), arithmetic(name)) {
                (Some(how), _) => self.compare(how, operands, at),
                (_, Some(how)) => self.compute(how, operands, at),
                _ => self.refuse(at, "uses an operator that rules do not have"),
            },
            (operators::CONDITIONAL, Err(operands)) => match <[Checked; 3]>::try_from(operands) {
                Ok([condition, yes, no]) => {
                    if !self.boolean(&condition) {
                        return None;
                    }
                    if yes.r#type != no.r#type {
                        let description =
                            format!("is {} or {}, must be the same either way", yes.r#type.noun(), no.r#type.noun());
                        return self.refuse(at, description);
                    }
                    made(Expr::Choose(Box::new([condition.expr, yes.expr, no.expr])), yes.r#type)
                }
                Err(_) => self.refuse(at, "uses an operator that rules do not have"),
            },
            (operators::LOGICAL_NOT, Err(mut operands)) => {
                let operand = operands.pop()?;
                if self.boolean(&operand) { made(Expr::Not(Box::new(operand.expr)), Type::Boolean) } else { None }
            }
            (operators::NEGATE, Err(mut operands)) => {
                let operand = operands.pop()?;
                if !operand.r#type.is_number() {
                    return self.refuse(operand.at, format!("changes the sign of {}", operand.r#type.noun()));
                }
                made(Expr::Negate(Box::new(operand.expr)), operand.r#type)
            }
            _ => self.refuse(at, "uses an operator that rules do not have"),
        }
    }

    fn boolean(&mut self, operand: &Checked) -> bool {
        let holds = operand.r#type == Type::Boolean;
        if !holds {
            let description = format!("has {} where true or false must stand", operand.r#type.noun());
            self.refuse::<()>(operand.at, description);
        }
        holds
    }

    fn compare(&mut self, how: Comparison, [a, b]: [Checked; 2], at: usize) -> Option<Checked> {
        if !a.r#type.compares_with(b.r#type) {
            let description = format!("compares {} with {}", a.r#type.noun(), b.r#type.noun());
            return self.refuse(at, description);
        }
        let orders = !matches!(how, Comparison::Equal | Comparison::NotEqual);
        if orders && matches!(a.r#type, Type::List(_)) {
            return self.refuse(at, "asks which of two lists is larger");
        }
        if !orders && !(self.word(&a, &b) & self.word(&b, &a)) {
            return None;
        }
        let expr = Expr::Compare(how, Box::new([a.expr, b.expr]));
        Some(Checked { expr, r#type: Type::Boolean, words: None, at })
    }

    /// Whether a text that is given is one that the other can be.
    fn word(&mut self, given: &Checked, other: &Checked) -> bool {
        let (Expr::Constant(value), Some(words)) = (&given.expr, &other.words) else { return true };
        let values = if let Value::List(values) = value { &values[..] } else { std::slice::from_ref(value) };
        let strange = |value: &&Value| matches!(value, Value::Text(text) if !words.contains(&**text));
        let Some(Value::Text(text)) = values.iter().find(strange) else { return true };
        let mut hint = did_you_mean(text, words.iter().map(String::as_str));
        if hint.is_empty() && !words.is_empty() {
            let shown: Vec<_> = words.iter().take(12).map(|word| quoted(word)).collect();
            hint = format!("; it can be: {}", shown.join(", "));
        }
        let description = format!("compares with {}, which it never is{hint}", quoted(text));
        self.refuse::<()>(given.at, description);
        false
    }

    fn membership(&mut self, [value, list]: [Checked; 2], at: usize) -> Option<Checked> {
        let Type::List(element) = list.r#type else {
            let hint = if list.r#type == Type::Text { ": a text is asked with contains" } else { "" };
            let description = format!("looks for something in {}{hint}", list.r#type.noun());
            return self.refuse(list.at, description);
        };
        if !value.r#type.compares_with(element.one()) {
            let description = format!("looks for {} in a list of others", value.r#type.noun());
            return self.refuse(at, description);
        }
        if !(self.word(&value, &list) & self.word(&list, &value)) {
            return None;
        }
        let expr = Expr::In(Box::new([value.expr, list.expr]));
        Some(Checked { expr, r#type: Type::Boolean, words: None, at })
    }

    fn compute(&mut self, how: Arithmetic, [a, b]: [Checked; 2], at: usize) -> Option<Checked> {
        if a.r#type == Type::Text && b.r#type == Type::Text {
            return self.refuse(at, "computes with texts, which rules do not");
        }
        if !a.r#type.is_number() || !b.r#type.is_number() {
            return self.refuse(at, format!("computes with {} and {}", a.r#type.noun(), b.r#type.noun()));
        }
        if a.r#type != b.r#type {
            let description = "computes with a whole number and a double: write the one as a double too, such as 2.0, \
                or make it one with double()";
            return self.refuse(at, description);
        }
        if how == Arithmetic::Remainder && a.r#type == Type::Double {
            return self.refuse(at, "asks for the remainder of doubles: make them whole with int()");
        }
        let r#type = a.r#type;
        Some(Checked { expr: Expr::Compute(how, Box::new([a.expr, b.expr])), r#type, words: None, at })
    }

    fn function(
        &mut self,
        name: &str,
        is_method: bool,
        (operands, count): (Vec<Checked>, usize),
        at: usize,
    ) -> Option<Checked> {
        const METHODS: [(&str, TextTest); 3] =
            [("startsWith", TextTest::StartsWith), ("endsWith", TextTest::EndsWith), ("contains", TextTest::Contains)];
        let test = METHODS.iter().find(|(method, _)| *method == name && is_method).map(|(_, test)| *test);
        let converts = matches!(name, "int" | "double") && !is_method;
        let wanted = match (test, name) {
            (Some(_), _) => 2,
            (None, "size") => 1,
            _ if converts => 1,
            (None, "matches") => {
                let description = "uses matches, but rules have no regular expressions: use startsWith, endsWith, \
                    contains or in";
                return self.refuse(at, description);
            }
            _ => {
                let functions = METHODS.map(|(name, _)| name).into_iter().chain(["size", "int", "double"]);
                let mut hint = match operator(name) {
                    Some(meant) => format!(" (did you mean {}?)", quoted(meant)),
                    None => did_you_mean(name, functions),
                };
                if hint.is_empty() {
                    hint =
                        "; there are: text.startsWith(), endsWith() and contains(), size(), int(), double()".to_owned();
                }
                return self.refuse(at, format!("calls {name}, which is no function of rules{hint}"));
            }
        };
        if count != wanted {
            let (given, wanted) = (count - usize::from(is_method), wanted - usize::from(is_method));
            return self.refuse(at, format!("calls {name} with {given} arguments, it takes {wanted}"));
        }
        if operands.len() < count {
            return None;
        }
        let fits = operands.iter().all(|operand| match test {
            Some(_) => operand.r#type == Type::Text,
            None if converts => operand.r#type.is_number(),
            None => matches!(operand.r#type, Type::Text | Type::List(_)),
        });
        if !fits {
            let nouns: Vec<_> = operands.iter().map(|operand| operand.r#type.noun()).collect();
            return self.refuse(at, format!("calls {name} with {}, which it does not take", nouns.join(" and ")));
        }
        let mut operands = operands.into_iter().map(|operand| operand.expr);
        let first = operands.next()?;
        let (expr, r#type) = match (test, name, operands.next()) {
            (Some(test), _, Some(second)) => (Expr::Test(test, Box::new([first, second])), Type::Boolean),
            (_, "size", _) => (Expr::Size(Box::new(first)), Type::Integer),
            (_, "int", _) => (Expr::ToInteger(Box::new(first)), Type::Integer),
            _ => (Expr::ToDouble(Box::new(first)), Type::Double),
        };
        Some(Checked { expr, r#type, words: None, at })
    }
}

fn is_operator(name: &str) -> bool {
    name.contains(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_')
}

/// `a && b && c` is one conjunction of three.
fn flatten(operator: &str, operands: [Expr; 2]) -> Vec<Expr> {
    let split = |operand| match operand {
        Expr::All(operands) if operator == operators::LOGICAL_AND => operands,
        Expr::Any(operands) if operator == operators::LOGICAL_OR => operands,
        operand => vec![operand],
    };
    operands.into_iter().flat_map(split).collect()
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(operator: &str) -> Option<Arithmetic> {
    Some(match operator {
        operators::ADD => Arithmetic::Add,
        operators::SUBSTRACT => Arithmetic::Subtract,
        operators::MULTIPLY => Arithmetic::Multiply,
        operators::DIVIDE => Arithmetic::Divide,
        operators::MODULO => Arithmetic::Remainder,
        _ => return None,
    })
}
