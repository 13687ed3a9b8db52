//! Routing: which triggers an event is for, and whom or what each run would be about.

use std::sync::Arc;

use serde_json::Value;

use crate::event::Event;
use crate::limits::{KEY_BYTES_MAX, SUBJECTS_MAX};
use crate::plan::{Order, Plan, SubjectPlan, TriggerPlan};
use crate::template::{Scope, Template};

/// The triggers whose patterns match, in the plan's order.
pub fn route(plan: &Plan, event: &Event) -> Vec<Arc<TriggerPlan>> {
    plan.matching(event)
}

/// Whom or what the trigger's runs are about, one run each; one empty subject for no one.
pub fn subjects(trigger: &TriggerPlan, event: &Arc<Event>) -> Result<Vec<Arc<str>>, String> {
    let one = |template: &Template| -> Result<Vec<Arc<str>>, String> {
        match template.render(&Scope::new(Arc::clone(event))).map_err(|reason| format!("subject: {reason}"))? {
            Value::Array(items) => items.into_iter().map(key_of).collect(),
            value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                Ok(vec![key_of(value)?])
            }
        }
    };
    let subjects = match &trigger.subject {
        SubjectPlan::Event => vec![event.subject.as_deref().unwrap_or_default().into()],
        SubjectPlan::One(template) => one(template)?,
        SubjectPlan::Many(templates) => {
            let lists: Vec<_> = templates.iter().map(one).collect::<Result<_, _>>()?;
            lists.concat()
        }
    };
    if subjects.len() > SUBJECTS_MAX {
        return Err(format!("subject: {} subjects are more than {SUBJECTS_MAX}", subjects.len()));
    }
    Ok(subjects)
}

/// What orders the run within its trigger, if anything does.
pub fn order_key(trigger: &TriggerPlan, event: &Arc<Event>, subject: &Arc<str>) -> Result<Option<Arc<str>>, String> {
    match &trigger.policy.order_by {
        None => Ok(None),
        Some(Order::Subject) => Ok(Some(Arc::clone(subject))),
        Some(Order::Key(template)) => {
            let mut scope = Scope::new(Arc::clone(event));
            scope.subject = Arc::clone(subject);
            let value = template.render(&scope).map_err(|reason| format!("policy.order_by: {reason}"))?;
            key_of(value).map(Some)
        }
    }
}

fn key_of(value: Value) -> Result<Arc<str>, String> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null => return Err("a subject or key is wanted, and there is null".into()),
        Value::Array(_) | Value::Object(_) => return Err("a subject or key is text, not a list or an object".into()),
    };
    if text.len() > KEY_BYTES_MAX {
        return Err(format!("a subject or key of {} bytes is longer than {KEY_BYTES_MAX}", text.len()));
    }
    Ok(text.into())
}
