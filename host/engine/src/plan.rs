//! The plan: everything that users defined, compiled, validated and immutable. It is swapped whole.
//!
//! An attempt pins the plan that it began with; the next attempt takes the one that is current then.

mod build;
mod policy;
mod trigger;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use build::{ConnectionInput, OptionsCheck, PlanInput, PluginInput, TriggerInput, VersionInput};
pub use policy::{GuardPlan, Order, PolicyPlan, RETRY_WAIT_MIN, Rate, RetryPlan, TIMEOUT_MIN};

use crate::definition::Switch;
use crate::event::Event;
use crate::expr::Expr;
use crate::pattern::{Index, Pattern};
use crate::ports::{Plugin, Sink};
use crate::secret::Secret;
use crate::template::Template;

/// Everything that is defined, as of one revision.
pub struct Plan {
    revision: i64,
    index: Index,
    triggers: Vec<Arc<TriggerPlan>>,
    trigger_at: HashMap<Arc<str>, usize>,
    connections: BTreeMap<Arc<str>, Arc<ConnectionPlan>>,
}

/// A trigger, compiled.
pub struct TriggerPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: i64,
    /// Whether it works.
    pub switch: Switch,
    /// Any of these has to match.
    pub patterns: Vec<Pattern>,
    /// Whom or what its runs are about.
    pub subject: SubjectPlan,
    /// All of these have to hold; cheapest first is the judge's to arrange.
    pub when: Vec<ConditionPlan>,
    /// What is done.
    pub actions: Vec<ActionPlan>,
    /// How it is carried out.
    pub policy: PolicyPlan,
}

/// Whom or what a trigger's runs are about.
pub enum SubjectPlan {
    /// The event's own subject.
    Event,
    /// One template; a list that it gives fans out.
    One(Template),
    /// One run for each.
    Many(Vec<Template>),
}

/// One condition, with the place it was written at.
pub struct ConditionPlan {
    /// Such as `when[0].any[1]`.
    pub path: String,
    /// What it asks.
    pub test: TestPlan,
}

/// What a condition asks.
pub enum TestPlan {
    /// An expression.
    Expr(Expr),
    /// A plugin.
    Plugin {
        /// The plugin.
        plugin: Arc<PluginPlan>,
        /// Its configuration, JSON text.
        config: Arc<str>,
    },
    /// All of these.
    All(Vec<ConditionPlan>),
    /// One of these.
    Any(Vec<ConditionPlan>),
    /// Not this.
    Not(Box<ConditionPlan>),
}

/// One action.
pub struct ActionPlan {
    /// Its name within the trigger.
    pub name: Arc<str>,
    /// What is done.
    pub act: Act,
    /// The places of the actions that have to succeed first.
    pub needs: Vec<usize>,
    /// The longest that an attempt may take.
    pub timeout: Duration,
    /// How it is tried again.
    pub retry: RetryPlan,
}

/// What an action does.
pub enum Act {
    /// Sends one message.
    Send(Box<SendPlan>),
    /// Calls a plugin.
    Plugin {
        /// The plugin.
        plugin: Arc<PluginPlan>,
        /// Its configuration.
        config: Template,
        /// Its labels, each with its connection.
        connections: BTreeMap<String, Arc<ConnectionPlan>>,
    },
}

/// A message to be rendered.
pub struct SendPlan {
    /// Where it goes.
    pub connection: Arc<ConnectionPlan>,
    /// Its key.
    pub key: Option<Template>,
    /// Options of the connection's kind.
    pub with: Template,
    /// Its body; the event itself when absent.
    pub body: Option<Template>,
}

/// A connection, built.
pub struct ConnectionPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its version.
    pub version: i64,
    /// Its live end.
    pub sink: Arc<dyn Sink>,
    /// Whether its sends wait.
    pub is_paused: bool,
    /// The most sends in a time.
    pub rate: Option<Rate>,
    /// The most sends at one time.
    pub concurrency: Option<u32>,
    /// The longest that a send may take.
    pub timeout: Duration,
    /// The secrets that triggers may name in headers.
    pub secrets: Arc<Value>,
    check: OptionsCheck,
}

impl TriggerPlan {
    /// The action of this name.
    pub fn action(&self, name: &str) -> Option<&ActionPlan> {
        self.actions.iter().find(|action| &*action.name == name)
    }
}

impl ConnectionPlan {
    /// What is wrong with options that a trigger or a plugin adds to the connection's own.
    pub fn check_options(&self, options: &Map<String, Value>) -> Vec<crate::problem::Problem> {
        (self.check)(options)
    }
}

/// A version of a plugin with what it may do.
pub struct PluginPlan {
    /// Its name.
    pub name: Arc<str>,
    /// The version's name.
    pub version: Arc<str>,
    /// SHA-256 of the component, in hex.
    pub digest: Arc<str>,
    /// The compiled component.
    pub plugin: Arc<dyn Plugin>,
    /// The connections that its labels may be bound to.
    pub connections: Vec<String>,
    /// The secrets that it may have put into headers.
    pub secrets: Vec<(String, Secret)>,
    /// Whether it may keep state.
    pub has_state: bool,
}

impl Plan {
    /// Nothing is defined.
    pub fn empty() -> Self {
        Self {
            revision: 0,
            index: Index::default(),
            triggers: Vec::new(),
            trigger_at: HashMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// Compiles and validates; `Err` has every problem, not the first one.
    ///
    /// What has not changed since `previous` is taken from there: connections keep their pools.
    pub fn build(input: PlanInput, previous: Option<&Self>) -> Result<Self, Vec<crate::problem::Problem>> {
        build::build(input, previous)
    }

    /// The revision of the configuration that this is.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The trigger of this name.
    pub fn trigger(&self, name: &str) -> Option<&Arc<TriggerPlan>> {
        self.trigger_at.get(name).map(|at| &self.triggers[*at])
    }

    /// All triggers.
    pub fn triggers(&self) -> &[Arc<TriggerPlan>] {
        &self.triggers
    }

    /// The connection of this name.
    pub fn connection(&self, name: &str) -> Option<&Arc<ConnectionPlan>> {
        self.connections.get(name)
    }

    /// All connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<ConnectionPlan>> {
        self.connections.values()
    }

    /// The triggers that are not disabled and have a pattern that matches.
    pub fn matching(&self, event: &Event) -> Vec<Arc<TriggerPlan>> {
        self.index.matches(event).into_iter().map(|at| Arc::clone(&self.triggers[at])).collect()
    }
}
