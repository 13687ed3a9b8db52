//! A whole world for the engine, in memory: a store, a clock, remotes and plugins, all simulated.

mod apply;
pub(crate) mod ends;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use trapjaw_engine::definition::{Connection, PluginStanding};
use trapjaw_engine::engine::{Engine, Parts, Settings};
use trapjaw_engine::event::Event;
use trapjaw_engine::intake::{Accepted, Batch, Refused};
use trapjaw_engine::plan::{ConnectionInput, Plan, PlanInput, PluginInput, TriggerInput, VersionInput};
use trapjaw_engine::ports::{Clock, Dice, RunView, TaskView};
use trapjaw_engine::record::{RunState, TaskState};
use trapjaw_engine::time::Time;

use ends::{Sent, SimPlugin, SimSink, Step};
use store::{SimStore, is_open};

/// Where the simulated clock begins.
pub(crate) const START: Time = Time(1_800_000_000_000_000);

/// Chance from a number: the same number, the same chance (SplitMix64).
#[derive(Clone)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The clock is the runtime's paused time: it moves when everybody waits.
struct SimClock(Instant);

impl Clock for SimClock {
    fn now(&self) -> Time {
        START + self.0.elapsed()
    }
}

/// Always the middle: a wait is exactly what the policy says.
struct Middle;

impl Dice for Middle {
    fn roll(&self) -> f64 {
        0.5
    }
}

/// One plugin: its versions, and what it may do.
struct PluginEntry {
    standing: PluginStanding,
    versions: Vec<(String, Arc<SimPlugin>)>,
}

/// An engine with everything around it.
pub(crate) struct World {
    pub(crate) store: Arc<SimStore>,
    pub(crate) settings: Settings,
    engine: Option<Arc<Engine>>,
    began: Instant,
    revision: i64,
    triggers: BTreeMap<String, (i64, Value)>,
    connections: BTreeMap<String, (i64, Value, Arc<SimSink>)>,
    plugins: BTreeMap<String, PluginEntry>,
    n_events: usize,
}

impl World {
    /// A world with one connection, `crm`, that confirms everything.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            store: SimStore::new(Seed(7)),
            settings: Settings::new([7; 16]),
            engine: None,
            began: Instant::now(),
            revision: 0,
            triggers: BTreeMap::new(),
            connections: BTreeMap::new(),
            plugins: BTreeMap::new(),
            n_events: 0,
        };
        world.connection("crm", json!({}), |_, _| Step::Ok);
        world
    }

    /// A world whose one trigger, `t`, sends on `crm` under this policy.
    pub(crate) fn sending(policy: Value) -> Self {
        let mut world = Self::new();
        world.trigger("t", json!({"do": [{"send": "crm"}], "policy": policy}));
        world
    }

    /// Defines or changes a trigger; what it is about is every event, unless the definition says otherwise.
    pub(crate) fn trigger(&mut self, name: &str, mut definition: Value) {
        let map = definition.as_object_mut().unwrap();
        map.entry("on").or_insert_with(|| json!({"type": ["order"]}));
        let version = self.triggers.get(name).map_or(1, |(version, _)| version + 1);
        self.triggers.insert(name.to_owned(), (version, definition));
    }

    pub(crate) fn remove_trigger(&mut self, name: &str) {
        self.triggers.remove(name);
    }

    /// Defines a connection whose remote answers as the script says: by message, and by how many came before it.
    pub(crate) fn connection(
        &mut self,
        name: &str,
        definition: Value,
        script: impl Fn(&Sent, usize) -> Step + Send + Sync + 'static,
    ) {
        let sink = SimSink::new(self.began, Box::new(script));
        self.connections.insert(name.to_owned(), (1, definition, sink));
    }

    /// Changes a connection; its remote stays the same.
    pub(crate) fn reconnect(&mut self, name: &str, definition: Value) {
        let (version, old, _) = self.connections.get_mut(name).unwrap();
        (*version, *old) = (*version + 1, definition);
    }

    /// What the remote of `crm` answers to the first messages; it confirms the rest.
    pub(crate) fn script(&mut self, steps: &[Step]) {
        let steps = steps.to_vec();
        self.connection("crm", json!({}), move |_, at| steps.get(at).cloned().unwrap_or(Step::Ok));
    }

    /// Uploads a version of a plugin and makes it the active one. It may do everything.
    pub(crate) fn plugin(&mut self, name: &str, plugin: SimPlugin) {
        let grants = json!({"connections": self.connections.keys().collect::<Vec<_>>(), "state": true});
        let entry = self
            .plugins
            .entry(name.to_owned())
            .or_insert_with(|| PluginEntry { standing: PluginStanding::default(), versions: Vec::new() });
        let version = format!("{}.0.0", entry.versions.len() + 1);
        entry.standing.active = Some(version.clone());
        entry.standing.grants = serde_json::from_value(grants).unwrap();
        entry.versions.push((version, Arc::new(plugin)));
    }

    /// The plan of what is defined now.
    pub(crate) fn plan(&mut self, previous: Option<&Plan>) -> Plan {
        self.revision += 1;
        let triggers = self.triggers.iter().map(|(name, (version, definition))| TriggerInput {
            name: name.as_str().into(),
            version: *version,
            definition: serde_json::from_value(definition.clone()).unwrap(),
        });
        let connections = self.connections.iter().map(|(name, (version, definition, sink))| {
            let Value::Object(mut map) = definition.clone() else { panic!("a connection is an object") };
            map.insert("kind".into(), "sim".into());
            ConnectionInput {
                name: name.as_str().into(),
                version: *version,
                definition: Connection::read(map).unwrap(),
                sink: Arc::clone(sink) as _,
                check: Arc::new(|_| Vec::new()),
                secrets: Vec::new(),
            }
        });
        let plugins = self.plugins.iter().map(|(name, entry)| PluginInput {
            name: name.as_str().into(),
            standing: entry.standing.clone(),
            secrets: Vec::new(),
            versions: entry
                .versions
                .iter()
                .map(|(version, plugin)| VersionInput {
                    version: version.as_str().into(),
                    digest: format!("{name}-{version}").into(),
                    plugin: Arc::clone(plugin) as _,
                })
                .collect(),
        });
        let (triggers, connections, plugins) = (triggers.collect(), connections.collect(), plugins.collect());
        Plan::build(PlanInput { revision: self.revision, triggers, connections, plugins }, previous)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// Starts an engine on the store, and lets an earlier one crash.
    pub(crate) async fn start(&mut self) {
        self.engine = None;
        let handle = self.store.take_over();
        let parts = Parts {
            store: handle,
            clock: Arc::new(SimClock(self.began)),
            dice: Arc::new(Middle),
            plan: Arc::new(self.plan(None)),
            settings: self.settings,
        };
        self.engine = Some(Engine::start(parts).await.unwrap());
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.engine.as_ref().expect("the engine was started"))
    }

    /// Puts what is defined now in place.
    pub(crate) async fn swap(&mut self) {
        let engine = self.engine();
        let plan = self.plan(Some(&engine.plan()));
        engine.swap(Arc::new(plan)).await;
    }

    /// The next event: its number is in its id and in its data.
    pub(crate) fn event(&mut self, subject: &str, data: Value) -> Event {
        self.n_events += 1;
        let mut event = Event::new("shop", "order", self.n_events.to_string(), self.now());
        event.subject = (!subject.is_empty()).then(|| subject.into());
        event.data = data.to_string().into();
        event
    }

    /// Takes events in at once.
    pub(crate) async fn accept(&self, events: Vec<Event>) -> Result<Accepted, Refused> {
        self.engine().accept(Batch { source: "http".into(), events }).await
    }

    /// Takes in an event about this subject.
    pub(crate) async fn happen(&mut self, subject: &str) {
        let event = self.event(subject, json!({"n": self.n_events + 1}));
        self.accept(vec![event]).await.unwrap();
    }

    /// Starts the engine, and takes in an event.
    pub(crate) async fn go(mut self) -> Self {
        self.start().await;
        self.happen("").await;
        self
    }

    pub(crate) fn now(&self) -> Time {
        START + self.began.elapsed()
    }

    /// Since the world began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Lets simulated time pass.
    pub(crate) async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    pub(crate) async fn pass_s(&self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// Lets simulated time pass until every run is over, ten days at most.
    pub(crate) async fn finish(&self) {
        for round in 0..10_000u32 {
            if !self.store.all_runs().iter().any(is_open) {
                return self.check_store();
            }
            self.pass(Duration::from_millis(if round < 2_000 { 20 } else { 100_000 })).await;
        }
        let runs = self.store.all_runs();
        let open: Vec<_> = runs.iter().filter(|run| is_open(run)).take(5).map(|run| (run.id, shape(run))).collect();
        panic!("still open after ten days: {open:?}");
    }

    /// Nothing that the engine wrote broke what a store may rely on.
    pub(crate) fn check_store(&self) {
        assert_eq!(self.store.violations(), Vec::<String>::new());
        for run in self.runs().iter().filter(|run| !run.tasks.is_empty()) {
            let is = RunState::of_tasks(run.tasks.iter().map(|task| task.progress.state));
            assert_eq!(run.state, is, "{} by its tasks {:?}", run.id, shape(run).1);
        }
    }

    pub(crate) fn runs(&self) -> Vec<RunView> {
        self.store.all_runs()
    }

    /// The state of each run, oldest first.
    pub(crate) fn states(&self) -> Vec<RunState> {
        self.runs().iter().map(|run| run.state).collect()
    }

    /// The states of the tasks of one run.
    pub(crate) fn tasks(&self, run: usize) -> Vec<TaskState> {
        shape(&self.runs()[run]).1
    }

    pub(crate) fn task(&self, run: usize, task: usize) -> TaskView {
        self.runs()[run].tasks[task].clone()
    }

    /// What came to a remote.
    pub(crate) fn sent(&self, connection: &str) -> Vec<Sent> {
        self.connections[connection].2.sent()
    }

    /// When what came to `crm`, and at which try.
    pub(crate) fn tries(&self) -> Vec<(u64, u32)> {
        self.sent("crm").iter().map(|sent| (sent.at_ms, sent.message.attempt)).collect()
    }

    /// The most sends that were under way at one time.
    pub(crate) fn sent_at_once(&self, connection: &str) -> usize {
        self.connections[connection].2.most_at_once()
    }
}

fn shape(run: &RunView) -> (RunState, Vec<TaskState>) {
    (run.state, run.tasks.iter().map(|task| task.progress.state).collect())
}
