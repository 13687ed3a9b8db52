//! Judging: whether a trigger's conditions hold for an event and a subject, and which of them decided.
//!
//! The verdict is a function of the event, the configuration, the plugins' versions, the time and what happened
//! before; asked again with the same, it is the same. Expressions come before plugins, whatever their order in the
//! definition: a cheap "no" saves an expensive question.

use std::pin::Pin;
use std::sync::Arc;

use crate::definition::OnError;
use crate::evaluation::{Evaluation, PluginAsked, VerdictWord, lines_of};
use crate::event::Event;
use crate::expr::Scope;
use crate::plan::{ConditionPlan, TestPlan, TriggerPlan};
use crate::ports::{CallError, FailureKind, JudgeCall, Past};
use crate::time::Time;

/// A boxed future: conditions nest, so the future of one holds that of another.
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What judging came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The conditions hold.
    Go,
    /// They do not.
    No,
    /// It went wrong for a reason that may pass.
    Again(String),
    /// It went wrong for good, and a person is to know.
    Dead(String),
}

/// What a condition looks at.
#[derive(Clone)]
pub struct Question {
    /// The event.
    pub event: Arc<Event>,
    /// Whom or what the run would be about; empty for no one.
    pub subject: Arc<str>,
    /// The time of the decision.
    pub now: Time,
    /// What happened before.
    pub past: Arc<dyn Past>,
}

/// Judges, and says why.
pub async fn judge(trigger: &TriggerPlan, question: &Question) -> (Judgement, Evaluation) {
    let mut court = Court { trigger, question, plugins: Vec::new() };
    let truth = court.all(&trigger.when).await;
    let mut evaluation = Evaluation {
        trigger: trigger.name.to_string(),
        version: trigger.version,
        subject: question.subject.to_string(),
        verdict: VerdictWord::Matched,
        leaf: None,
        reason: None,
        plugins: court.plugins,
    };
    let judgement = match truth {
        Truth::Yes(reason) => {
            evaluation.reason = reason;
            Judgement::Go
        }
        Truth::No { leaf, reason } => {
            evaluation.verdict = VerdictWord::NotMatched;
            evaluation.leaf = Some(leaf);
            evaluation.reason = reason;
            Judgement::No
        }
        Truth::Broken { leaf, reason, is_transient } => {
            evaluation.verdict = VerdictWord::Error;
            evaluation.leaf = Some(leaf.clone());
            evaluation.reason = Some(reason.clone());
            match (is_transient, trigger.policy.on_error) {
                (true, OnError::Dead | OnError::No) => Judgement::Again(format!("{leaf}: {reason}")),
                (false, OnError::Dead) => Judgement::Dead(format!("{leaf}: {reason}")),
                (false, OnError::No) => Judgement::No,
            }
        }
    };
    (judgement, evaluation)
}

/// Whether judging a trigger calls a plugin, so that it takes time.
pub fn asks_plugins(conditions: &[ConditionPlan]) -> bool {
    conditions.iter().any(|condition| match &condition.test {
        TestPlan::Expr(_) => false,
        TestPlan::Plugin { .. } => true,
        TestPlan::All(inner) | TestPlan::Any(inner) => asks_plugins(inner),
        TestPlan::Not(inner) => asks_plugins(std::slice::from_ref(inner)),
    })
}

enum Truth {
    Yes(Option<String>),
    No { leaf: String, reason: Option<String> },
    Broken { leaf: String, reason: String, is_transient: bool },
}

struct Court<'a> {
    trigger: &'a TriggerPlan,
    question: &'a Question,
    plugins: Vec<PluginAsked>,
}

impl Court<'_> {
    /// All have to hold. One that does not decides, even where another is broken.
    async fn all(&mut self, conditions: &[ConditionPlan]) -> Truth {
        let mut broken = None;
        let mut reason = None;
        for condition in cheapest_first(conditions) {
            match self.ask(condition).await {
                Truth::Yes(why) => reason = why.or(reason),
                no @ Truth::No { .. } => return no,
                wrong @ Truth::Broken { .. } => broken = broken.or(Some(wrong)),
            }
        }
        broken.unwrap_or(Truth::Yes(reason))
    }

    /// One has to hold. One that does decides, even where another is broken.
    async fn any(&mut self, conditions: &[ConditionPlan], path: &str) -> Truth {
        let mut broken = None;
        let mut reason = None;
        for condition in cheapest_first(conditions) {
            match self.ask(condition).await {
                yes @ Truth::Yes(_) => return yes,
                Truth::No { reason: why, .. } => reason = why.or(reason),
                wrong @ Truth::Broken { .. } => broken = broken.or(Some(wrong)),
            }
        }
        broken.unwrap_or_else(|| Truth::No { leaf: path.to_owned(), reason })
    }

    fn ask<'b>(&'b mut self, condition: &'b ConditionPlan) -> BoxFuture<'b, Truth> {
        Box::pin(async move {
            let leaf = || condition.path.clone();
            match &condition.test {
                TestPlan::Expr(expr) => {
                    let scope = Scope {
                        event: &self.question.event,
                        subject: &self.question.subject,
                        now: self.question.now,
                        facts: &serde_json::Value::Null,
                    };
                    match expr.holds(scope) {
                        Ok(true) => Truth::Yes(None),
                        Ok(false) => Truth::No { leaf: leaf(), reason: None },
                        Err(reason) => Truth::Broken { leaf: leaf(), reason, is_transient: false },
                    }
                }
                TestPlan::Plugin { plugin, config } => {
                    let report = plugin.plugin.judge(self.call(config), Arc::clone(&self.question.past)).await;
                    let stderr = report.log.stderr.clone();
                    self.plugins.push(PluginAsked {
                        name: plugin.name.to_string(),
                        version: plugin.version.to_string(),
                        digest: plugin.digest.to_string(),
                        log: lines_of(report.log),
                    });
                    match report.answer {
                        Ok(verdict) if verdict.matched => Truth::Yes(verdict.reason),
                        Ok(verdict) => Truth::No { leaf: leaf(), reason: verdict.reason },
                        Err(err) => {
                            let is_transient = is_transient(&err);
                            Truth::Broken { leaf: leaf(), reason: in_full(err, &stderr), is_transient }
                        }
                    }
                }
                TestPlan::All(inner) => self.all(inner).await,
                TestPlan::Any(inner) => self.any(inner, &condition.path).await,
                TestPlan::Not(inner) => match self.ask(inner).await {
                    Truth::Yes(reason) => Truth::No { leaf: leaf(), reason },
                    Truth::No { reason, .. } => Truth::Yes(reason),
                    broken @ Truth::Broken { .. } => broken,
                },
            }
        })
    }

    fn call(&self, config: &Arc<str>) -> JudgeCall {
        JudgeCall {
            event: Arc::clone(&self.question.event),
            config: Arc::clone(config),
            trigger: Arc::clone(&self.trigger.name),
            subject: Arc::clone(&self.question.subject),
            now: self.question.now,
            facts: "{}".into(),
        }
    }
}

fn cheapest_first(conditions: &[ConditionPlan]) -> impl Iterator<Item = &ConditionPlan> {
    let is_dear = |condition: &&ConditionPlan| asks_plugins(std::slice::from_ref(*condition));
    let cheap = conditions.iter().filter(move |condition| !is_dear(condition));
    cheap.chain(conditions.iter().filter(is_dear))
}

/// A defect of the plugin is there at every try. What the host lacked for a moment may pass.
fn is_transient(err: &CallError) -> bool {
    match err {
        CallError::Failed(failure) => failure.kind == FailureKind::Transient,
        CallError::Host(_) => true,
        CallError::Limit { .. } | CallError::Trap { .. } => false,
    }
}

fn in_full(err: CallError, stderr: &str) -> String {
    let mut text = err.to_string();
    if let CallError::Trap { backtrace, .. } | CallError::Limit { backtrace, .. } = &err
        && !backtrace.is_empty()
    {
        text.push('\n');
        text.push_str(backtrace);
    }
    if !stderr.is_empty() {
        text.push('\n');
        text.push_str(stderr);
    }
    text.truncate(text.floor_char_boundary(crate::limits::DETAIL_BYTES_MAX));
    text
}
