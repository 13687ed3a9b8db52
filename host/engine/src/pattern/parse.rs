//! From the JSON of a pattern to its compiled form, with every problem named by its path.

use serde_json::{Map, Value};

use super::test::Number;
use super::{Clause, Field, Pattern, Scalar, Test};
use crate::problem::Problem;

/// The most fields of one pattern, those of `$or` included.
const FIELDS_MAX: usize = 256;
/// The most values of one field.
const VALUES_MAX: usize = 1_000;
/// The most `*` of one wildcard.
const STARS_MAX: usize = 16;

/// Compiles a pattern.
pub fn parse(map: &Map<String, Value>) -> Result<Pattern, Vec<Problem>> {
    let mut parser = Parser { problems: Vec::new(), n_fields: 0 };
    let mut pattern = Pattern::default();
    parser.top(map, &mut pattern, "");
    if map.is_empty() {
        parser.problem("", "an empty pattern matches everything; say so with `source: [{exists: true}]`");
    }
    if parser.problems.is_empty() { Ok(pattern) } else { Err(parser.problems) }
}

/// Reads one alternative into a pattern; its path is given.
type Inner<'a> = dyn FnMut(&mut Parser, &Map<String, Value>, &mut Pattern, &str) + 'a;

struct Parser {
    problems: Vec<Problem>,
    n_fields: usize,
}

impl Parser {
    fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem::at(path, message));
    }

    fn top(&mut self, map: &Map<String, Value>, pattern: &mut Pattern, outer: &str) {
        for (name, value) in map {
            let path = join(outer, name);
            match name.as_str() {
                "$or" => self.alternatives(value, pattern, &path, &mut |parser, map, pattern, path| {
                    parser.top(map, pattern, path);
                }),
                "data" if value.is_object() => self.data(value, &mut Vec::new(), pattern, &path),
                _ => {
                    let field = match name.as_str() {
                        "id" => Field::Id,
                        "source" => Field::Source,
                        "type" => Field::Kind,
                        "subject" => Field::Subject,
                        "time" => Field::Time,
                        "data" => Field::Data(Vec::new()),
                        other => Field::Extension(other.into()),
                    };
                    if value.is_object() {
                        self.problem(&path, "an attribute is text: a list of values is wanted");
                    } else {
                        self.clause(field, value, pattern, &path);
                    }
                }
            }
        }
    }

    fn data(&mut self, value: &Value, names: &mut Vec<Box<str>>, pattern: &mut Pattern, path: &str) {
        let Value::Object(map) = value else {
            self.clause(Field::Data(names.clone()), value, pattern, path);
            return;
        };
        if map.is_empty() {
            self.problem(path, "an empty object matches nothing: name a field, or ask `[{exists: true}]`");
        }
        for (name, inner) in map {
            let path = join(path, name);
            if name == "$or" {
                let mut names = names.clone();
                self.alternatives(inner, pattern, &path, &mut |parser, map, pattern, path| {
                    parser.data(&Value::Object(map.clone()), &mut names, pattern, path);
                });
            } else {
                names.push(name.as_str().into());
                self.data(inner, names, pattern, &path);
                names.pop();
            }
        }
    }

    fn alternatives(&mut self, value: &Value, pattern: &mut Pattern, path: &str, inner: &mut Inner<'_>) {
        let Some(list) = value.as_array().filter(|list| list.len() >= 2) else {
            self.problem(path, "a list of at least two patterns is wanted");
            return;
        };
        let mut any = Vec::new();
        for (at, item) in list.iter().enumerate() {
            let path = format!("{path}[{at}]");
            match item {
                Value::Object(map) => {
                    let mut alternative = Pattern::default();
                    inner(self, map, &mut alternative, &path);
                    any.push(alternative);
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    self.problem(&path, "a pattern is wanted");
                }
            }
        }
        pattern.alternatives.push(any);
    }

    fn clause(&mut self, field: Field, value: &Value, pattern: &mut Pattern, path: &str) {
        self.n_fields += 1;
        if self.n_fields == FIELDS_MAX + 1 {
            self.problem(path, format!("more than {FIELDS_MAX} fields"));
        }
        let Some(list) = value.as_array() else {
            self.problem(path, format!("a list of values is wanted, such as [{value}]"));
            return;
        };
        if list.is_empty() || list.len() > VALUES_MAX {
            self.problem(path, format!("1 to {VALUES_MAX} values are wanted"));
            return;
        }
        let mut tests = Vec::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            match test(item) {
                Ok(test) => tests.push(test),
                Err(message) => self.problem(&format!("{path}[{at}]"), message),
            }
        }
        pattern.clauses.push(Clause { field, tests });
    }
}

fn join(outer: &str, name: &str) -> String {
    if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") }
}

fn test(item: &Value) -> Result<Test, String> {
    let Value::Object(map) = item else {
        return Scalar::of(item).map(Test::Exact).ok_or_else(|| "a list within a list is no value".into());
    };
    let mut entries = map.iter();
    let (Some((operator, argument)), None) = (entries.next(), entries.next()) else {
        return Err("one operator is wanted, such as {prefix: …}".into());
    };
    match operator.as_str() {
        "prefix" => affix(argument, Test::Prefix, Test::PrefixIgnoreCase),
        "suffix" => affix(argument, Test::Suffix, Test::SuffixIgnoreCase),
        "equals-ignore-case" => Ok(Test::EqualsIgnoreCase(text(argument)?.to_lowercase().into())),
        "wildcard" => wildcard(text(argument)?),
        "anything-but" => anything_but(argument),
        "numeric" => numeric(argument),
        "cidr" => text(argument)?.parse().map(Test::Cidr).map_err(|err| format!("cidr: {err}")),
        "exists" => argument.as_bool().map(Test::Exists).ok_or_else(|| "exists: true or false is wanted".into()),
        other => Err(format!(
            "unknown operator `{other}`: prefix, suffix, equals-ignore-case, wildcard, anything-but, numeric, cidr and \
             exists are known"
        )),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "text is wanted".into())
}

fn affix(argument: &Value, exact: fn(Box<str>) -> Test, ignore_case: fn(Box<str>) -> Test) -> Result<Test, String> {
    match argument {
        Value::String(text) => Ok(exact(text.as_str().into())),
        Value::Object(map) if map.len() == 1 => match map.get("equals-ignore-case") {
            Some(inner) => Ok(ignore_case(text(inner)?.to_lowercase().into())),
            None => Err("text or {equals-ignore-case: …} is wanted".into()),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("text or {equals-ignore-case: …} is wanted".into())
        }
    }
}

fn wildcard(pattern: &str) -> Result<Test, String> {
    let parts: Vec<Box<str>> = pattern.split('*').map(Into::into).collect();
    if parts.len() > STARS_MAX + 1 {
        return Err(format!("wildcard: more than {STARS_MAX} `*`"));
    }
    if parts.len() > 2 && parts[1..parts.len() - 1].iter().any(|part| part.is_empty()) {
        return Err("wildcard: `**` says no more than `*`".into());
    }
    Ok(Test::Wildcard(parts))
}

fn anything_but(argument: &Value) -> Result<Test, String> {
    let tests = match argument {
        Value::Array(list) if list.is_empty() || list.len() > VALUES_MAX => {
            return Err(format!("anything-but: 1 to {VALUES_MAX} values are wanted"));
        }
        Value::Array(list) => list
            .iter()
            .map(|item| Scalar::of(item).map(Test::Exact).ok_or("anything-but: texts and numbers are wanted"))
            .collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let mut tests = Vec::new();
            for (operator, inner) in map {
                if !matches!(operator.as_str(), "prefix" | "suffix" | "equals-ignore-case" | "wildcard") {
                    return Err(format!("anything-but: `{operator}` cannot stand here"));
                }
                let list = inner.as_array().cloned().unwrap_or_else(|| vec![inner.clone()]);
                for one in list.into_iter().take(VALUES_MAX) {
                    tests.push(test(&Value::Object(Map::from_iter([(operator.clone(), one)])))?);
                }
            }
            tests
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Scalar::of(argument).map(Test::Exact).into_iter().collect()
        }
    };
    Ok(Test::AnythingBut(tests))
}

fn numeric(argument: &Value) -> Result<Test, String> {
    const WANTED: &str = "numeric: a list such as [\">=\", 0, \"<\", 5] is wanted";
    let list = argument.as_array().ok_or(WANTED)?;
    if list.is_empty() || list.len() > 4 || list.len() % 2 == 1 {
        return Err(WANTED.into());
    }
    let (mut low, mut high) = (None, None);
    for pair in list.chunks_exact(2) {
        let number = pair[1].as_number().and_then(Number::of).ok_or(WANTED)?;
        let place = match pair[0].as_str() {
            Some("=") if list.len() == 2 => {
                return Ok(Test::Numeric { low: Some((number, true)), high: Some((number, true)) });
            }
            Some(">") => low.replace((number, false)),
            Some(">=") => low.replace((number, true)),
            Some("<") => high.replace((number, false)),
            Some("<=") => high.replace((number, true)),
            _ => return Err(WANTED.into()),
        };
        if place.is_some() {
            return Err("numeric: two bounds on the same side".into());
        }
    }
    Ok(Test::Numeric { low, high })
}
