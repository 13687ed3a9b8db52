//! One index over the patterns of all triggers, so that the cost of an event barely grows with their number.
//!
//! A pattern is filed under its type, where it names types, and there under the value of one field: of the fields it
//! compares with whole values, the one that the fewest other patterns want the same value of. An event looks up its
//! type, then its value of each such field, and only the patterns found that way are tested in full. What compares no
//! field with whole values is tested for every event of its type.

use std::collections::HashMap;

use super::{Clause, Field, Leaf, Pattern, Scalar, Test};
use crate::event::Event;

/// The patterns of all triggers, each under the number of its trigger.
#[derive(Debug, Default)]
pub struct Index {
    by_kind: HashMap<Box<str>, Shelf>,
    any_kind: Shelf,
    patterns: Vec<(usize, Pattern)>,
}

/// The patterns that one type of event can match.
#[derive(Debug, Default)]
struct Shelf {
    fields: Vec<(Field, HashMap<Scalar, Vec<usize>>)>,
    always: Vec<usize>,
}

impl Index {
    /// Files the patterns: each with the number of its trigger.
    pub fn new(patterns: Vec<(usize, Pattern)>) -> Self {
        let mut rooms: HashMap<Option<Box<str>>, Vec<usize>> = HashMap::new();
        for (at, (_, pattern)) in patterns.iter().enumerate() {
            match pattern.exact(|field| *field == Field::Kind) {
                Some((_, kinds)) => {
                    for kind in kinds {
                        // A type is text; any other value matches no event and is filed nowhere.
                        if let Scalar::Text(text) = kind {
                            rooms.entry(Some(text.clone())).or_default().push(at);
                        }
                    }
                }
                None => rooms.entry(None).or_default().push(at),
            }
        }
        let any_kind = Shelf::new(&patterns, rooms.remove(&None).unwrap_or_default());
        let by_kind = rooms
            .into_iter()
            .filter_map(|(kind, members)| kind.map(|kind| (kind, Shelf::new(&patterns, members))))
            .collect();
        Self { by_kind, any_kind, patterns }
    }

    /// The numbers of the triggers with a pattern that matches, each once, in order.
    pub fn matches(&self, event: &Event) -> Vec<usize> {
        let mut triggers = Vec::new();
        let mut test = |at: usize| {
            let (trigger, pattern) = &self.patterns[at];
            if !triggers.contains(trigger) && pattern.matches(event) {
                triggers.push(*trigger);
            }
        };
        if let Some(shelf) = self.by_kind.get(&*event.kind) {
            shelf.candidates(event, &mut test);
        }
        self.any_kind.candidates(event, &mut test);
        triggers.sort_unstable();
        triggers
    }
}

impl Shelf {
    fn new(patterns: &[(usize, Pattern)], members: Vec<usize>) -> Self {
        // How many patterns want a field to have a value.
        let mut crowd: HashMap<(&Field, &Scalar), usize> = HashMap::new();
        for at in &members {
            for (field, values) in patterns[*at].1.exacts() {
                for value in values {
                    *crowd.entry((field, value)).or_default() += 1;
                }
            }
        }
        let mut shelf = Self::default();
        for at in members {
            let rarest = patterns[at].1.exacts().min_by_key(|(field, values)| {
                values.iter().map(|value| crowd.get(&(field, value)).copied().unwrap_or_default()).sum::<usize>()
            });
            let Some((field, values)) = rarest else {
                shelf.always.push(at);
                continue;
            };
            let place = match shelf.fields.iter().position(|(known, _)| known == field) {
                Some(place) => place,
                None => {
                    shelf.fields.push((field.clone(), HashMap::new()));
                    shelf.fields.len() - 1
                }
            };
            for value in values {
                shelf.fields[place].1.entry(value.clone()).or_default().push(at);
            }
        }
        shelf
    }

    fn candidates(&self, event: &Event, test: &mut dyn FnMut(usize)) {
        for (field, by_value) in &self.fields {
            field.values(event, &mut |leaf| {
                let value = match leaf {
                    Leaf::Text(text) => Some(Scalar::Text(text.into())),
                    Leaf::Json(value) => Scalar::of(value),
                };
                if let Some(members) = value.and_then(|value| by_value.get(&value)) {
                    members.iter().for_each(|at| test(*at));
                }
                false
            });
        }
        self.always.iter().for_each(|at| test(*at));
    }
}

impl Pattern {
    /// The fields that are compared with whole values only, with those values. The type comes first of all, and is
    /// left out here.
    fn exacts(&self) -> impl Iterator<Item = (&Field, Vec<&Scalar>)> {
        self.clauses
            .iter()
            .filter(|clause| clause.field != Field::Kind)
            .filter_map(|clause| clause.exact().map(|values| (&clause.field, values)))
    }

    fn exact(&self, wanted: impl Fn(&Field) -> bool) -> Option<(&Field, Vec<Scalar>)> {
        let clause = self.clauses.iter().find(|clause| wanted(&clause.field))?;
        Some((&clause.field, clause.exact()?.into_iter().cloned().collect()))
    }
}

impl Clause {
    fn exact(&self) -> Option<Vec<&Scalar>> {
        self.tests.iter().map(|test| if let Test::Exact(value) = test { Some(value) } else { None }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::time::Time;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn event(kind: &str, data: &Value) -> Event {
        let mut event = Event::new("shop", kind, "1", Time(0));
        event.data = data.to_string().into();
        event
    }

    fn pattern(value: Value) -> Pattern {
        let Value::Object(map) = value else { panic!("a pattern is an object") };
        parse(&map).unwrap()
    }

    fn check(on: Value, data: Value, expected: bool) {
        let pattern = pattern(json!({"data": on}));
        let event = event("t", &data);
        assert_eq!(pattern.matches(&event), expected, "{on} on {data}");
        assert_eq!(pattern.miss(&event).is_none(), expected, "{on} on {data}");
        assert_eq!(Index::new(vec![(7, pattern)]).matches(&event), if expected { vec![7] } else { vec![] });
    }

    #[test]
    fn operators() {
        check(json!({"a": ["x", "y"]}), json!({"a": "y"}), true);
        check(json!({"a": ["x"]}), json!({"a": ["z", "x"]}), true);
        check(json!({"a": [1]}), json!({"a": 1.0}), true);
        check(json!({"a": ["1"]}), json!({"a": 1}), false);
        check(json!({"a": [9_007_199_254_740_993_i64]}), json!({"a": 9_007_199_254_740_992_i64}), false);
        check(json!({"a": [null]}), json!({"a": null}), true);
        check(json!({"a": [null]}), json!({}), false);
        check(json!({"a": {"b": [true]}}), json!({"a": [{"b": false}, {"b": true}]}), true);
        check(json!({"a": [{"prefix": "or"}]}), json!({"a": "order"}), true);
        check(json!({"a": [{"suffix": {"equals-ignore-case": "DER"}}]}), json!({"a": "Order"}), true);
        check(json!({"a": [{"equals-ignore-case": "ÄB"}]}), json!({"a": "äb"}), true);
        check(json!({"a": [{"wildcard": "a*b*c"}]}), json!({"a": "aXbYc"}), true);
        check(json!({"a": [{"wildcard": "a*b*c"}]}), json!({"a": "acb"}), false);
        check(json!({"a": [{"wildcard": "ab*ba"}]}), json!({"a": "aba"}), false);
        check(json!({"a": [{"anything-but": ["x", 1]}]}), json!({"a": "y"}), true);
        check(json!({"a": [{"anything-but": ["x", 1]}]}), json!({"a": 1}), false);
        check(json!({"a": [{"anything-but": "x"}]}), json!({}), false);
        check(json!({"a": [{"anything-but": {"prefix": ["x", "y"]}}]}), json!({"a": "yes"}), false);
        check(json!({"a": [{"numeric": [">", 0, "<=", 5]}]}), json!({"a": 5}), true);
        check(json!({"a": [{"numeric": [">", 0, "<=", 5]}]}), json!({"a": 0}), false);
        check(json!({"a": [{"numeric": [">=", 100]}]}), json!({"a": "100.50"}), true);
        check(json!({"a": [{"numeric": ["=", 0.1]}]}), json!({"a": 0.1}), true);
        check(json!({"a": [{"cidr": "10.0.0.0/8"}]}), json!({"a": "10.1.2.3"}), true);
        check(json!({"a": [{"cidr": "10.0.0.0/8"}]}), json!({"a": "11.1.2.3"}), false);
        check(json!({"a": [{"exists": true}]}), json!({"a": []}), true);
        check(json!({"a": [{"exists": false}]}), json!({"b": 1}), true);
        check(json!({"a": {"b": [{"exists": false}]}}), json!({"a": {"b": null}}), false);
        check(json!({"a": [{"exists": false}, "x"]}), json!({"a": "x"}), true);
        check(json!({"$or": [{"a": [1]}, {"b": [2]}]}), json!({"b": 2}), true);
        check(json!({"$or": [{"a": [1]}, {"b": [2]}], "c": [3]}), json!({"b": 2}), false);
    }

    #[test]
    fn attributes_and_types() {
        let index = Index::new(vec![
            (0, pattern(json!({"type": ["a", "b"], "source": ["shop"]}))),
            (1, pattern(json!({"type": [{"prefix": "a"}]}))),
            (1, pattern(json!({"source": ["shop"], "time": [{"prefix": "1970-01-01"}]}))),
            (2, pattern(json!({"type": ["a"], "tenant": ["x"]}))),
        ]);
        assert_eq!(index.matches(&event("a", &json!({}))), [0, 1]);
        let mut tenant = event("a", &json!({}));
        tenant.extensions.push(("tenant".into(), "x".into()));
        assert_eq!(index.matches(&tenant), [0, 1, 2]);
        assert_eq!(index.matches(&event("c", &json!({}))), [1]);
    }

    #[test]
    fn bad_patterns_are_refused_with_their_place() {
        for (value, path) in [
            (json!({}), ""),
            (json!({"type": "a"}), "type"),
            (json!({"type": []}), "type"),
            (json!({"type": {"a": ["b"]}}), "type"),
            (json!({"data": {}}), "data"),
            (json!({"data": {"a": {"b": [["c"]]}}}), "data.a.b[0]"),
            (json!({"data": {"a": [{"nope": 1}]}}), "data.a[0]"),
            (json!({"data": {"a": [1, {"prefix": 1}]}}), "data.a[1]"),
            (json!({"data": {"a": [{"numeric": [">", "1"]}]}}), "data.a[0]"),
            (json!({"data": {"a": [{"numeric": [">", 1, ">=", 2]}]}}), "data.a[0]"),
            (json!({"data": {"a": [{"cidr": "10.0.0.0/40"}]}}), "data.a[0]"),
            (json!({"$or": [{"type": ["a"]}]}), "$or"),
            (json!({"$or": [{"type": ["a"]}, {"type": "b"}]}), "$or[1].type"),
        ] {
            let Value::Object(map) = &value else { panic!("a pattern is an object") };
            let problems = parse(map).unwrap_err();
            assert_eq!(problems[0].path, path, "{value}: {problems:?}");
        }
    }

    #[test]
    fn a_miss_names_the_field_and_what_is_there() {
        let pattern = pattern(json!({"type": ["t"], "data": {"new": {"status": ["paid"]}}}));
        let miss = pattern.miss(&event("t", &json!({"new": {"status": "open"}}))).unwrap();
        assert_eq!((miss.field.as_str(), miss.found.as_deref()), ("data.new.status", Some("\"open\"")));
        assert_eq!(pattern.miss(&event("t", &json!({}))).unwrap().found, None);
    }

    proptest! {
        /// The index finds what testing every pattern finds.
        #[test]
        fn the_index_agrees_with_the_patterns(
            patterns in proptest::collection::vec((0usize..6, 0u8..3, 0i64..3, 0u8..4), 1..20),
            kind in 0u8..3, a in 0i64..3, b in 0i64..3,
        ) {
            let patterns: Vec<_> = patterns.into_iter().map(|(trigger, kind, wanted, shape)| {
                (trigger, pattern(match shape {
                    0 => json!({"type": [kind.to_string()], "data": {"a": [wanted]}}),
                    1 => json!({"data": {"a": [wanted], "b": [wanted, 0]}}),
                    2 => json!({"type": [{"anything-but": kind.to_string()}], "data": {"b": [{"numeric": [">=", wanted]}]}}),
                    _ => json!({"$or": [{"type": [kind.to_string()]}, {"data": {"b": [wanted]}}]}),
                }))
            }).collect();
            let event = event(&kind.to_string(), &json!({"a": a, "b": [b, "x"]}));
            let mut expected: Vec<usize> =
                patterns.iter().filter(|(_, pattern)| pattern.matches(&event)).map(|(trigger, _)| *trigger).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(Index::new(patterns).matches(&event), expected);
        }
    }
}
