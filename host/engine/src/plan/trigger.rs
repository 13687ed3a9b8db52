//! One trigger, from its definition to its plan.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::build::{Plugins, TriggerInput};
use super::policy::{Reader, RetryPlan, TIMEOUT_MIN};
use super::{Act, ActionPlan, ConditionPlan, ConnectionPlan, PluginPlan, SendPlan, SubjectPlan, TestPlan, TriggerPlan};
use crate::definition::{Action, Condition, Switch};
use crate::expr::Expr;
use crate::limits::SUBJECTS_MAX;
use crate::pattern;
use crate::ports::World;
use crate::problem::Problem;
use crate::template::{Place, Template};

/// The most actions of one trigger.
const ACTIONS_MAX: usize = 64;
/// The most conditions of one trigger, nested ones included.
const CONDITIONS_MAX: usize = 64;
/// The deepest nesting of `any`, `all` and `not`.
const NESTING_MAX: usize = 8;
/// How long a plugin action may take where nothing else is said.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Builder<'a> {
    pub(super) connections: &'a BTreeMap<Arc<str>, Arc<ConnectionPlan>>,
    pub(super) plugins: &'a Plugins,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    /// Compiles a trigger. Where there are problems, what is returned is not to be used.
    pub(super) fn trigger(&mut self, input: TriggerInput) -> TriggerPlan {
        let path = format!("triggers.{}", input.name);
        let definition = input.definition;
        if definition.facts.is_some() {
            self.problem(format!("{path}.facts"), "facts are not offered by this version");
        }
        if definition.on.is_empty() {
            self.problem(format!("{path}.on"), "at least one pattern is wanted");
        }
        let mut patterns = Vec::new();
        for (at, map) in definition.on.iter().enumerate() {
            match pattern::parse(map) {
                Ok(pattern) => patterns.push(pattern),
                Err(problems) => self.gather(problems, &format!("{path}.on[{at}]")),
            }
        }
        let subject = self.subject(definition.subject.as_ref(), &format!("{path}.subject"));
        let mut n_conditions = 0;
        let when = self.conditions(&definition.when, &path, "when", &mut n_conditions, 0);
        let mut reader = Reader { path: format!("{path}.policy"), problems: self.problems };
        let policy = reader.policy(&definition.policy);
        let retry = reader.retry(definition.policy.retry.as_ref(), RetryPlan::default());
        let actions = self.actions(&definition.r#do, retry, &path);
        TriggerPlan {
            name: input.name,
            version: input.version,
            switch: definition.state.unwrap_or(Switch::Enabled),
            patterns,
            subject,
            when,
            actions,
            policy,
        }
    }

    fn problem(&mut self, path: String, message: impl Into<String>) {
        self.problems.push(Problem::at(path, message));
    }

    fn gather(&mut self, problems: Vec<Problem>, path: &str) {
        self.problems.extend(problems.into_iter().map(|problem| problem.within(path)));
    }

    fn template(&mut self, value: &Value, path: &str) -> Option<Template> {
        self.compiled(Template::compile(value, Place::Anywhere), path)
    }

    fn compiled(&mut self, template: Result<Template, Vec<Problem>>, path: &str) -> Option<Template> {
        match template {
            Ok(template) => Some(template),
            Err(problems) => {
                self.gather(problems, path);
                None
            }
        }
    }

    fn subject(&mut self, subject: Option<&Value>, path: &str) -> SubjectPlan {
        match subject {
            None => SubjectPlan::Event,
            Some(Value::Array(items)) if items.len() > SUBJECTS_MAX => {
                self.problem(path.to_owned(), format!("more than {SUBJECTS_MAX} subjects"));
                SubjectPlan::Event
            }
            Some(Value::Array(items)) => {
                let compiled =
                    items.iter().enumerate().filter_map(|(at, item)| self.template(item, &format!("{path}[{at}]")));
                SubjectPlan::Many(compiled.collect())
            }
            Some(one) => match self.template(one, path) {
                Some(template) => SubjectPlan::One(template),
                None => SubjectPlan::Event,
            },
        }
    }

    fn conditions(
        &mut self,
        list: &[Condition],
        trigger: &str,
        path: &str,
        count: &mut usize,
        depth: usize,
    ) -> Vec<ConditionPlan> {
        let mut plans = Vec::with_capacity(list.len());
        for (at, condition) in list.iter().enumerate() {
            plans.extend(self.condition(condition, trigger, &format!("{path}[{at}]"), count, depth));
        }
        plans
    }

    fn condition(
        &mut self,
        condition: &Condition,
        trigger: &str,
        path: &str,
        count: &mut usize,
        depth: usize,
    ) -> Option<ConditionPlan> {
        *count += 1;
        let at = format!("{trigger}.{path}");
        if *count > CONDITIONS_MAX || depth > NESTING_MAX {
            self.problem(at, format!("more than {CONDITIONS_MAX} conditions, or nested deeper than {NESTING_MAX}"));
            return None;
        }
        if condition.config.is_some() && condition.plugin.is_none() {
            self.problem(format!("{at}.config"), "only a plugin has a configuration");
        }
        let test = match condition {
            Condition { expr: Some(source), plugin: None, any: None, all: None, not: None, .. } => {
                match Expr::compile(source) {
                    Ok(expr) => TestPlan::Expr(expr),
                    Err(message) => {
                        self.problem(format!("{at}.expr"), message);
                        return None;
                    }
                }
            }
            Condition { expr: None, plugin: Some(name), any: None, all: None, not: None, config } => {
                let plugin = self.plugin(name, World::Condition, &format!("{at}.plugin"))?;
                let config = config.as_ref().map_or_else(|| "{}".into(), Value::to_string);
                TestPlan::Plugin { plugin, config: config.into() }
            }
            Condition { expr: None, plugin: None, any: Some(list), all: None, not: None, .. } => {
                if list.is_empty() {
                    self.problem(format!("{at}.any"), "of no conditions none can hold");
                }
                TestPlan::Any(self.conditions(list, trigger, &format!("{path}.any"), count, depth + 1))
            }
            Condition { expr: None, plugin: None, any: None, all: Some(list), not: None, .. } => {
                TestPlan::All(self.conditions(list, trigger, &format!("{path}.all"), count, depth + 1))
            }
            Condition { expr: None, plugin: None, any: None, all: None, not: Some(inner), .. } => {
                TestPlan::Not(Box::new(self.condition(inner, trigger, &format!("{path}.not"), count, depth + 1)?))
            }
            Condition { .. } => {
                self.problem(at, "exactly one of expr, plugin, any, all and not is wanted");
                return None;
            }
        };
        Some(ConditionPlan { path: path.to_owned(), test })
    }

    fn plugin(&mut self, name: &str, world: World, path: &str) -> Option<Arc<PluginPlan>> {
        let Some(plugin) = self.plugins.get(name) else {
            let message = match name.split_once('@') {
                None => format!("there is no plugin `{name}` with an active version"),
                Some((plugin, version)) => format!("the plugin `{plugin}` has no version `{version}`"),
            };
            self.problem(path.to_owned(), message);
            return None;
        };
        let plugin = Arc::clone(plugin);
        if plugin.plugin.world() != world {
            let (wanted, found) = (world.word(), plugin.plugin.world().word());
            self.problem(path.to_owned(), format!("a {wanted} is wanted here, and `{name}` is a {found}"));
            return None;
        }
        Some(plugin)
    }

    fn connection(&mut self, name: &str, path: &str) -> Option<Arc<ConnectionPlan>> {
        let connection = self.connections.get(name).map(Arc::clone);
        if connection.is_none() {
            self.problem(path.to_owned(), format!("there is no connection `{name}`"));
        }
        connection
    }

    fn actions(&mut self, list: &[Action], retry: RetryPlan, trigger: &str) -> Vec<ActionPlan> {
        if list.is_empty() || list.len() > ACTIONS_MAX {
            self.problem(format!("{trigger}.do"), format!("1 to {ACTIONS_MAX} actions are wanted"));
            return Vec::new();
        }
        let names: Vec<&str> = list.iter().map(name_of).collect();
        let mut seen = HashSet::new();
        let mut plans = Vec::with_capacity(list.len());
        for (at, action) in list.iter().enumerate() {
            let path = format!("{trigger}.do[{at}]");
            if !is_name(names[at]) {
                self.problem(format!("{path}.name"), "a name of letters, digits, `_` and `-` is wanted");
            }
            if !seen.insert(names[at]) {
                self.problem(format!("{path}.name"), format!("a second action is called `{}`", names[at]));
            }
            let needs = self.needs(action, at, &names, &path);
            let Some((act, timeout_max)) = self.act(action, &path) else { continue };
            let mut reader = Reader { path: path.clone(), problems: self.problems };
            let timeout = reader.span_from("timeout", action.timeout.as_deref(), TIMEOUT_MIN).unwrap_or(timeout_max);
            if timeout > timeout_max {
                let whose = match &act {
                    Act::Send(send) => format!("the connection `{}` allows", send.connection.name),
                    Act::Plugin { .. } => "a plugin may take".to_owned(),
                };
                reader.problem("timeout", format!("{whose} {} at most", crate::time::format_span(timeout_max)));
            }
            let retry = reader.retry(action.retry.as_ref(), retry);
            plans.push(ActionPlan { name: names[at].into(), act, needs, timeout, retry });
        }
        plans
    }

    /// An action may need those that stand before it, so that there is no way round in a circle.
    fn needs(&mut self, action: &Action, at: usize, names: &[&str], path: &str) -> Vec<usize> {
        let mut needs = Vec::new();
        for (place, name) in action.needs.iter().enumerate() {
            match names.iter().position(|known| known == name) {
                Some(other) if other < at => needs.push(other),
                Some(_) => {
                    self.problem(format!("{path}.needs[{place}]"), format!("`{name}` has to stand before this action"))
                }
                None => self.problem(format!("{path}.needs[{place}]"), format!("there is no action `{name}`")),
            }
        }
        needs
    }

    fn act(&mut self, action: &Action, path: &str) -> Option<(Act, Duration)> {
        match (&action.send, &action.plugin) {
            (Some(name), None) => {
                if action.config.is_some() || !action.connections.is_empty() {
                    self.problem(path.to_owned(), "`config` and `connections` are for plugins");
                }
                let connection = self.connection(name, &format!("{path}.send"))?;
                self.gather(connection.check_options(&action.with), &format!("{path}.with"));
                let key = action.key.as_ref().map(|key| Value::String(key.clone()));
                let key = key.and_then(|key| self.template(&key, &format!("{path}.key")));
                let with = self.compiled(Template::options(&action.with), &format!("{path}.with"))?;
                let body = match &action.body {
                    Some(body) => Some(self.template(body, &format!("{path}.body"))?),
                    None => None,
                };
                let timeout = connection.timeout;
                Some((Act::Send(Box::new(SendPlan { connection, key, with, body })), timeout))
            }
            (None, Some(name)) => {
                if action.body.is_some() || action.key.is_some() || !action.with.is_empty() {
                    self.problem(path.to_owned(), "`body`, `key` and `with` are for sends; a plugin has `config`");
                }
                let plugin = self.plugin(name, World::Action, &format!("{path}.plugin"))?;
                let connections = self.labels(action, &plugin, path);
                let config = action.config.clone().unwrap_or_else(|| Value::Object(Map::new()));
                let config = self.template(&config, &format!("{path}.config"))?;
                Some((Act::Plugin { plugin, config, connections }, PLUGIN_TIMEOUT))
            }
            (None, None) | (Some(_), Some(_)) => {
                self.problem(path.to_owned(), "exactly one of send and plugin is wanted");
                None
            }
        }
    }

    fn labels(&mut self, action: &Action, plugin: &PluginPlan, path: &str) -> BTreeMap<String, Arc<ConnectionPlan>> {
        let mut labels = BTreeMap::new();
        for (label, name) in &action.connections {
            let path = format!("{path}.connections.{label}");
            let Some(connection) = self.connection(name, &path) else { continue };
            if plugin.connections.contains(name) {
                labels.insert(label.clone(), connection);
            } else {
                self.problem(path, format!("`{name}` is not granted to the plugin `{}`", plugin.name));
            }
        }
        labels
    }
}

fn name_of(action: &Action) -> &str {
    let implied = action.send.as_deref().or(action.plugin.as_deref()).unwrap_or_default();
    action.name.as_deref().unwrap_or_else(|| implied.split('@').next().unwrap_or_default())
}

/// The names of actions are used in templates (`tasks.NAME.output`).
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
