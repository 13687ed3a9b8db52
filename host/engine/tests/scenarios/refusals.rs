//! Definitions that are refused when they are saved, each with the place that is wrong.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use trapjaw_engine::definition;
use trapjaw_engine::plan::{ConnectionInput, Plan, PlanInput, TriggerInput};
use trapjaw_engine::secret::Secret;

use crate::support::ends::{SimSink, Step};

fn problems(connection: Value, trigger: Value) -> Vec<(String, String)> {
    let Value::Object(connection) = connection else { panic!("a connection is an object") };
    let input = PlanInput {
        revision: 1,
        triggers: vec![TriggerInput {
            name: "t".into(),
            version: 1,
            definition: serde_json::from_value(trigger).unwrap(),
        }],
        connections: vec![ConnectionInput {
            name: "crm".into(),
            version: 1,
            definition: definition::Connection::read(connection).unwrap(),
            sink: SimSink::new(Instant::now(), Box::new(|_, _| Step::Ok)),
            check: Arc::new(|_| Vec::new()),
            secrets: vec![("KEY".into(), Secret::new("s3cr3t"))],
        }],
        plugins: Vec::new(),
    };
    let problems = Plan::build(input, None).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

/// One problem is expected at this path, with these words; none where they are empty.
fn check(connection: Value, trigger: Value, path: &str, words: &str) {
    let shown = format!("{connection} {trigger}");
    match problems(connection, trigger).as_slice() {
        [] => assert!(path.is_empty(), "{shown}: taken"),
        [(found, message)] => assert!(found == path && message.contains(words), "{shown}: {found}: {message}"),
        many => panic!("{shown}: {many:?}"),
    }
}

fn check_action(action: Value, path: &str, words: &str) {
    let mut action = action;
    action["send"] = json!("crm");
    let trigger = json!({"on": {"type": ["order"]}, "do": [action]});
    check(json!({"kind": "sim"}), trigger, path, words);
}

fn check_policy(policy: Value, path: &str, words: &str) {
    let trigger = json!({"on": {"type": ["order"]}, "do": [{"send": "crm"}], "policy": policy});
    check(json!({"kind": "sim"}), trigger, path, words);
}

#[test]
fn secrets_stand_in_headers_only() {
    check_action(json!({"with": {"headers": {"x": "{{ secret.KEY }}", "y": "k {{ secret['KEY'] }}"}}}), "", "");
    check_action(json!({"with": {"query": {"k": "see the secret.KEY of the house"}}}), "", "");
    for secret in ["{{ secret.KEY }}", "{{ secret['KEY'] }}", "k={{ secret['KEY'] }}", "{{ secret }}"] {
        check_action(json!({"with": {"query": {"k": secret}}}), "triggers.t.do[0].with.query.k", "headers only");
        check_action(json!({"with": {"headers": {}, "path": secret}}), "triggers.t.do[0].with.path", "headers only");
        check_action(json!({"body": {"a": [secret]}}), "triggers.t.do[0].body.a[0]", "headers only");
        check_action(json!({"key": secret}), "triggers.t.do[0].key", "headers only");
        check_policy(json!({"order_by": secret}), "triggers.t.policy.order_by", "headers only");
    }
}

#[test]
fn waits_and_time_limits_have_a_least() {
    for name in ["first", "max"] {
        for (span, is_taken) in [("0s", false), ("9ms", false), ("10ms", true)] {
            let (path, words) = if is_taken { ("", "") } else { (name, "at least 10ms") };
            let path_of = |whose: &str| if is_taken { String::new() } else { format!("{whose}.retry.{path}") };
            check_policy(json!({"retry": {name: span}}), &path_of("triggers.t.policy"), words);
            check_action(json!({"retry": {name: span}}), &path_of("triggers.t.do[0]"), words);
        }
    }
    check_action(json!({"timeout": "0s"}), "triggers.t.do[0].timeout", "at least 1ms");
    check_action(json!({"timeout": "1ms"}), "", "");
    let trigger = json!({"on": {"type": ["order"]}, "do": [{"send": "crm"}]});
    check(json!({"kind": "sim", "timeout": "0s"}), trigger, "connections.crm.timeout", "at least 1ms");
}

#[test]
fn on_unknown_is_accepted() {
    for word in ["hold", "no", "yes"] {
        check_policy(json!({"on_unknown": word}), "", "");
    }
}
