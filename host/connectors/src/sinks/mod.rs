//! The sinks: what Trapjaw can send to.
//!
//! A new sink is one file beside this one, and two lines here: its `mod` and its entry in [`ALL`]. Schemas, reference
//! pages, the CLI's list and the conformance tests come from the table.

mod config;
mod webhook;

use std::sync::Arc;

use schemars::Schema;
use serde_json::{Map, Value};
use trapjaw_engine::ports::{Clock, Refusal, Sink};
use trapjaw_engine::problem::Problem;

use crate::clients::{Clients, EgressPolicy, Resolve};

/// All sinks.
pub static ALL: &[SinkType] = &[webhook::TYPE];

/// The sink of a connection's `kind`.
pub fn find(kind: &str) -> Option<&'static SinkType> {
    ALL.iter().find(|sink| sink.name == kind)
}

/// A kind of sink.
pub struct SinkType {
    /// The `kind` of its connections.
    pub name: &'static str,
    /// What it sends to, in one sentence.
    pub description: &'static str,
    /// What becomes of a send, for people: what happened, and what it means; `None` for a confirmation.
    pub endings: &'static [(&'static str, Option<Refusal>)],
    /// How a receiver tells a send that is tried again from a new one, and what a message's key is for.
    pub identity: &'static str,
    /// The JSON Schema of a connection's config, without `kind`. What it marks as `writeOnly` is never to be shown;
    /// bounds that the standard has no word for stand in `x-bound`.
    pub config_schema: fn() -> Schema,
    /// The JSON Schema of what a trigger may add in `with:`.
    pub options_schema: fn() -> Schema,
    /// Builds the sink from a connection's config, without `kind` and with its secrets as plain strings. It does no
    /// I/O and spawns nothing. All problems are reported at once, with paths within the config and without any of its
    /// values.
    pub new: NewSink,
    /// What is wrong with a trigger's `with:` on a connection with this config, with paths within the options. The
    /// config's own problems are not reported, and its secrets need not be resolved. The sink checks again when it
    /// sends, because options are rendered for each send.
    pub check_options: fn(config: &Value, options: &Map<String, Value>) -> Vec<Problem>,
}

/// Builds a sink of a connection's config, or says all that is wrong with it.
pub type NewSink = fn(config: &Value, ctx: &SinkContext) -> Result<Arc<dyn Sink>, Vec<Problem>>;

/// What sinks are built with. One serves all connections: they share clients through it.
pub struct SinkContext {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) egress: EgressPolicy,
    pub(crate) clients: Clients,
}

impl SinkContext {
    /// A context with no clients yet.
    pub fn new(clock: Arc<dyn Clock>, resolver: Arc<dyn Resolve>, egress: EgressPolicy) -> Self {
        Self { clock, resolver, egress, clients: Clients::default() }
    }
}
