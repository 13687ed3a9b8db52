//! How explanations and previews are shown.

use serde::Serialize;
use serde_json::{Map, Value};
use trapjaw_engine::engine::{Explained, LeafView, Preview};
use trapjaw_engine::evaluation::{Evaluation, VerdictWord};
use utoipa::ToSchema;

/// Why a trigger matches an event, or does not.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainedBody {
    /// The verdict in a word.
    #[schema(value_type = String)]
    pub(crate) verdict: VerdictWord,
    /// What decided: a condition, or the field of a pattern.
    pub(crate) leaf: Option<String>,
    /// Why, in words.
    pub(crate) reason: Option<String>,
    /// For each pattern, the field that keeps it from matching; null for a pattern that matches.
    patterns: Vec<Option<MissBody>>,
    /// The verdict for each subject.
    #[schema(value_type = Vec<Object>)]
    evaluations: Vec<Evaluation>,
    /// The expressions of the conditions, with what they looked at.
    leaves: Vec<LeafBody>,
}

/// The field that keeps a pattern from matching.
#[derive(Serialize, ToSchema)]
pub(crate) struct MissBody {
    /// The field, such as `data.new.status`.
    field: String,
    /// What the event has there; null when there is nothing.
    found: Option<String>,
}

/// An expression, and what it looked at.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeafBody {
    /// Such as `when[0].any[1]`.
    path: String,
    /// The expression.
    expr: String,
    /// Whether it holds; null when that cannot be said.
    holds: Option<bool>,
    /// What it looked at: path and value.
    operands: Vec<(String, String)>,
}

/// What an action would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewBody {
    /// The action.
    action: String,
    /// The connection that would be sent to.
    connection: Option<String>,
    /// The plugin that would be called.
    plugin: Option<String>,
    /// The body, or the plugin's configuration.
    body: Option<String>,
    /// The body's media type.
    content_type: Option<String>,
    /// The key.
    key: Option<String>,
    /// The options, without headers.
    #[schema(value_type = Object)]
    options: Map<String, Value>,
    /// What is wrong with it.
    error: Option<String>,
}

impl From<Explained> for ExplainedBody {
    fn from(explained: Explained) -> Self {
        let verdict = explained.verdict();
        let decided = explained.evaluations.iter().find(|one| one.verdict == verdict);
        let missed = explained.patterns.iter().flatten().next().filter(|_| explained.evaluations.is_empty());
        let shown = |miss: &trapjaw_engine::pattern::Miss| {
            let found = miss.found.as_deref().unwrap_or("nothing");
            format!("the event has {found} there, which the pattern does not want")
        };
        Self {
            verdict,
            leaf: decided.and_then(|one| one.leaf.clone()).or(missed.map(|miss| format!("on.{}", miss.field))),
            reason: explained.error.or(decided.and_then(|one| one.reason.clone())).or(missed.map(shown)),
            patterns: explained
                .patterns
                .into_iter()
                .map(|miss| miss.map(|miss| MissBody { field: miss.field, found: miss.found }))
                .collect(),
            evaluations: explained.evaluations,
            leaves: explained.leaves.into_iter().map(LeafBody::from).collect(),
        }
    }
}

impl From<LeafView> for LeafBody {
    fn from(view: LeafView) -> Self {
        Self { path: view.path, expr: view.expr, holds: view.holds, operands: view.operands }
    }
}

impl From<Preview> for PreviewBody {
    fn from(preview: Preview) -> Self {
        Self {
            action: preview.action,
            connection: preview.connection,
            plugin: preview.plugin,
            body: preview.body,
            content_type: preview.content_type,
            key: preview.key,
            options: preview.options,
            error: preview.error,
        }
    }
}
