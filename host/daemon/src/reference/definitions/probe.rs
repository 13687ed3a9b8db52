//! Tries definitions on the readers and the compiler that the daemon uses.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::definition::{Connection, Grants, PluginStanding};
use trapjaw_engine::plan::{ConnectionInput, Plan, PlanInput, PluginInput, TriggerInput, VersionInput};
use trapjaw_engine::ports::{Hands, JudgeCall, Outcome, Past, PerformCall, Plugin, Report, Verdict, World};

use crate::clock::SystemClock;
use crate::config::document::{File, read_trigger};
use crate::config::placeholder::Exposed;
use crate::installation::{Body, Installation};

/// Compiles a trigger `t` that may use the connection `c`, the condition `holds` and the action `acts`.
pub(super) fn compile(trigger: &Value, connection: &Value) -> Result<Plan, String> {
    let triggers = match read_trigger("t", trigger.clone(), &Installation::default()) {
        Ok(Body::Trigger(definition)) => vec![TriggerInput { name: "t".into(), version: 1, definition: *definition }],
        Ok(_) => unreachable!("a trigger was read"),
        Err(problems) => return Err(text(problems)),
    };
    let connection = connect(connection)?;
    let plugins = vec![plugin("holds", World::Condition), plugin("acts", World::Action)];
    Plan::build(PlanInput { revision: 1, triggers, connections: vec![connection], plugins }, None).map_err(text)
}

/// Reads a document of definitions, as it would be applied.
pub(super) fn apply(document: &Value) -> Result<(), String> {
    let file = File::read(document.to_string().as_bytes(), false).map_err(text)?;
    file.drafts(&Installation::default(), &Exposed::default(), false).map(|_| ()).map_err(text)
}

/// The objects' fields together; those of the second go before those of the first.
pub(super) fn merged(one: &Value, other: &Value) -> Value {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    Value::Object(fields(one).into_iter().chain(fields(other)).collect())
}

fn text<T: ToString>(problems: Vec<T>) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn connect(connection: &Value) -> Result<ConnectionInput, String> {
    let basic = json!({"kind": "webhook", "url": "https://example.com/"});
    let Value::Object(map) = merged(&basic, connection) else { unreachable!("objects were merged") };
    let definition = Connection::read(map)?;
    let ctx = SinkContext::new(Arc::new(SystemClock), Arc::new(SystemResolver), EgressPolicy::OPEN);
    let config: Map<String, Value> = definition.config.clone();
    let (sink, check) = crate::sinks::build(&definition.kind, config, &ctx).map_err(text)?;
    Ok(ConnectionInput { name: "c".into(), version: 1, definition, sink, check, secrets: Vec::new() })
}

fn plugin(name: &str, world: World) -> PluginInput {
    let grants = Grants { connections: vec!["c".into()], ..Grants::default() };
    PluginInput {
        name: name.into(),
        standing: PluginStanding { active: Some("1".into()), grants },
        secrets: Vec::new(),
        versions: vec![VersionInput { version: "1".into(), digest: "".into(), plugin: Arc::new(Uncalled(world)) }],
    }
}

/// A plugin that definitions can name; nothing is run.
struct Uncalled(World);

#[async_trait]
impl Plugin for Uncalled {
    fn world(&self) -> World {
        self.0
    }

    fn reads_past(&self) -> bool {
        false
    }

    async fn judge(&self, _: JudgeCall, _: Arc<dyn Past>) -> Report<Verdict> {
        unreachable!("definitions are compiled, and not run")
    }

    async fn perform(&self, _: PerformCall, _: Arc<dyn Hands>) -> Report<Outcome> {
        unreachable!("definitions are compiled, and not run")
    }
}
