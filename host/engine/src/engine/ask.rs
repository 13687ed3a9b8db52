//! Questions that people ask before anything happens: why, what would be sent, and do it now.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Engine;
use crate::append::{Acting, acting, evaluation};
use crate::evaluation::{Evaluation, VerdictWord, write_evaluations};
use crate::event::Event;
use crate::expr::Scope as ExprScope;
use crate::id::{EventId, RunId};
use crate::intake::{Batch, Refused, check, firing_key};
use crate::judge::{Question, judge};
use crate::pattern::Miss;
use crate::perform::render;
use crate::plan::{Act, ConditionPlan, TestPlan, TriggerPlan};
use crate::record::{NewEvent, NewRun};
use crate::route::subjects;
use crate::template::Scope;

/// Why a trigger matches an event, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// For each pattern, the field that keeps it from matching; none for a pattern that matches.
    pub patterns: Vec<Option<Miss>>,
    /// For each subject, the verdict, the condition that decided, and why. Empty where no pattern matches.
    pub evaluations: Vec<Evaluation>,
    /// The expressions of the conditions, with what they looked at.
    pub leaves: Vec<LeafView>,
    /// What went wrong before there was anything to judge.
    pub error: Option<String>,
}

/// An expression, and what it looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafView {
    /// Such as `when[0].any[1]`.
    pub path: String,
    /// The expression.
    pub expr: String,
    /// Whether it holds; none when that cannot be said.
    pub holds: Option<bool>,
    /// What it looked at: path and value, cut.
    pub operands: Vec<(String, String)>,
}

/// What an action would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The action.
    pub action: String,
    /// The connection that would be sent to.
    pub connection: Option<String>,
    /// The plugin that would be called.
    pub plugin: Option<String>,
    /// The body as text, or the plugin's configuration.
    pub body: Option<String>,
    /// The body's media type.
    pub content_type: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The options, without headers: those may hold secrets.
    pub options: Map<String, Value>,
    /// What is wrong with it.
    pub error: Option<String>,
}

impl Engine {
    /// Why the trigger matches the event, or does not. Asks plugins; nothing is kept or sent.
    pub async fn explain(&self, trigger: &TriggerPlan, event: &Arc<Event>) -> Explained {
        let patterns: Vec<_> = trigger.patterns.iter().map(|pattern| pattern.miss(event)).collect();
        let mut explained = Explained { evaluations: Vec::new(), leaves: Vec::new(), error: None, patterns };
        if explained.patterns.iter().all(Option::is_some) {
            return explained;
        }
        let now = self.shared.tools.clock.now();
        match subjects(trigger, event) {
            Err(reason) => explained.error = Some(reason),
            Ok(subjects) => {
                for subject in subjects {
                    let question = Question { event: Arc::clone(event), subject, now, past: self.past() };
                    if explained.leaves.is_empty() {
                        leaves(&trigger.when, &question, &mut explained.leaves);
                    }
                    explained.evaluations.push(judge(trigger, &question).await.1);
                }
            }
        }
        explained
    }

    /// What the trigger's actions would do with the event. Nothing is sent.
    pub fn preview(&self, trigger: &TriggerPlan, event: &Arc<Event>) -> Vec<Preview> {
        let mut scope = Scope::new(Arc::clone(event));
        scope.trigger = Arc::clone(&trigger.name);
        scope.now = self.shared.tools.clock.now();
        if let Ok(subjects) = subjects(trigger, event) {
            scope.subject = subjects.into_iter().next().unwrap_or_else(|| "".into());
        }
        trigger.actions.iter().map(|action| preview(&action.name, &action.act, &scope)).collect()
    }

    /// Runs the trigger for the event now, whatever its patterns, conditions, caps and delays say; once for each
    /// `once` that is given. A repeated one has the id of the first one's event, and no run.
    pub async fn fire(
        &self,
        trigger: &str,
        event: Event,
        actor: &str,
        once: Option<&str>,
    ) -> Result<(EventId, Option<RunId>), Refused> {
        let plan = self.plan();
        let trigger = plan.trigger(trigger).ok_or_else(|| Refused::Unknown(format!("trigger `{trigger}`")))?;
        let now = self.shared.tools.clock.now();
        let batch = Batch { source: "manual".into(), events: vec![event] };
        check(&batch, now).map_err(Refused::Bad)?;
        let bad = |reason: String| Refused::Bad(vec![crate::problem::Problem::at("", reason)]);
        let mut runs = Vec::new();
        let mut evaluations = Vec::new();
        let event = Arc::new(batch.events.into_iter().next().ok_or_else(|| bad("no event".into()))?);
        for (number, subject) in (0u32..).zip(subjects(trigger, &event).map_err(bad)?) {
            let fired = format!("fired by {actor}");
            evaluations.push(Evaluation { reason: Some(fired), ..evaluation(trigger, &subject) });
            let question =
                Question { event: Arc::clone(&event), subject: Arc::clone(&subject), now, past: self.past() };
            let Acting { state, tasks, order_key, .. } = acting(trigger, &question, None).map_err(bad)?;
            runs.push(NewRun {
                trigger: Arc::clone(&trigger.name),
                trigger_version: trigger.version,
                subject,
                subject_no: number,
                order_key,
                state,
                guard: None,
                tasks,
            });
        }
        let evaluations = write_evaluations(&evaluations);
        let dedup = once.map(|once| firing_key(&self.shared.settings.ids_key, &trigger.name, once));
        let draft = NewEvent { event, received: now, dedup, evaluations, runs };
        let (accepted, run) = self.append(vec![Arc::new(draft)]).await?;
        Ok((accepted.ids.first().copied().ok_or(Refused::Stopping)?, run))
    }
}

fn leaves(conditions: &[ConditionPlan], question: &Question, views: &mut Vec<LeafView>) {
    for condition in conditions {
        match &condition.test {
            TestPlan::Expr(expr) => {
                let scope = ExprScope {
                    event: &question.event,
                    subject: &question.subject,
                    now: question.now,
                    facts: &Value::Null,
                };
                views.push(LeafView {
                    path: condition.path.clone(),
                    expr: expr.source().to_owned(),
                    holds: expr.holds(scope).ok(),
                    operands: expr.operands(scope),
                });
            }
            TestPlan::Plugin { .. } => {}
            TestPlan::All(inner) | TestPlan::Any(inner) => leaves(inner, question, views),
            TestPlan::Not(inner) => leaves(std::slice::from_ref(inner), question, views),
        }
    }
}

fn preview(name: &str, act: &Act, scope: &Scope) -> Preview {
    let mut preview = Preview {
        action: name.to_owned(),
        connection: None,
        plugin: None,
        body: None,
        content_type: None,
        key: None,
        options: Map::new(),
        error: None,
    };
    match act {
        Act::Send(send) => {
            preview.connection = Some(send.connection.name.to_string());
            match render(send, scope) {
                Ok(rendered) => {
                    preview.body = Some(String::from_utf8_lossy(&rendered.body).into_owned());
                    preview.content_type = Some(rendered.content_type);
                    preview.key = rendered.key;
                    preview.options = rendered.options;
                }
                Err(reason) => preview.error = Some(reason),
            }
        }
        Act::Plugin { plugin, config, .. } => {
            preview.plugin = Some(format!("{}@{}", plugin.name, plugin.version));
            match config.render(scope) {
                Ok(config) => preview.body = Some(config.to_string()),
                Err(reason) => preview.error = Some(reason),
            }
        }
    }
    preview
}

impl Explained {
    /// The verdict in a word: that of the first subject that matched, or of the last one.
    pub fn verdict(&self) -> VerdictWord {
        if self.error.is_some() {
            return VerdictWord::Error;
        }
        let matched = self.evaluations.iter().find(|one| one.verdict == VerdictWord::Matched);
        matched.or(self.evaluations.last()).map_or(VerdictWord::NotMatched, |one| one.verdict)
    }
}
