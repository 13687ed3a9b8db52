//! Every metric, a row each: what `/metrics` shows and what the reference says are made of the same rows, so there is
//! no metric that is not described.

use std::time::Duration;

use trapjaw_engine::engine::Status;
use trapjaw_sandbox::LaneGauges;

use crate::api::health::connection_state;

/// A metric.
pub(crate) struct Metric {
    /// Its name. A counter's ends in `_total`; a unit that is not a mere number stands in it.
    pub(crate) name: &'static str,
    /// What is counted.
    #[cfg_attr(not(test), expect(dead_code, reason = "the generated reference shows it"))]
    pub(crate) unit: &'static str,
    /// What it says, in a sentence.
    pub(crate) help: &'static str,
    /// Its type, and where its values come from.
    pub(crate) read: Read,
}

/// The type of a metric, and where its values come from.
pub(crate) enum Read {
    /// It only grows.
    Counter(fn(&Reading) -> u64),
    /// It only grows, and there is one for each value of a label.
    CounterBy(Label, fn(&Reading) -> Vec<(&str, u64)>),
    /// It goes up and down.
    Gauge(fn(&Reading) -> u64),
    /// It goes up and down, and there is one for each value of a label.
    GaugeBy(Label, fn(&Reading) -> Vec<(&str, u64)>),
    /// How many durations were at most this long, by bound, and their sum.
    Histogram(fn(&Reading) -> Histogram<'_>),
}

impl Read {
    /// The word for the type.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::CounterBy(..) => "counter",
            Self::Gauge(_) | Self::GaugeBy(..) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What the lines of a metric are told apart by.
pub(crate) struct Label {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its values; none where they are names that users gave.
    #[cfg_attr(not(test), expect(dead_code, reason = "the generated reference shows it"))]
    pub(crate) values: &'static [&'static str],
}

/// Durations by how long they were.
pub(crate) struct Histogram<'a> {
    /// How many fell between the bound before and this one; the last bound is open.
    pub(crate) steps: &'a [(Duration, u64)],
    /// All of them together.
    pub(crate) sum: Duration,
}

/// What the daemon says of itself at one moment.
pub(crate) struct Reading {
    pub(crate) engine: Status,
    pub(crate) store: trapjaw_store::Gauges,
    pub(crate) sandbox: trapjaw_sandbox::Gauges,
    pub(crate) resident_bytes: u64,
    pub(crate) revision: i64,
}

/// All metrics, in the order in which they are shown.
pub(crate) const ALL: &[Metric] = &[
    Metric {
        name: "trapjaw_events_accepted_total",
        unit: "events",
        help: "Events that were taken.",
        read: Read::Counter(|now| now.engine.n_accepted),
    },
    Metric {
        name: "trapjaw_events_duplicate_total",
        unit: "events",
        help: "Events that were there already.",
        read: Read::Counter(|now| now.engine.n_duplicates),
    },
    Metric {
        name: "trapjaw_runs_total",
        unit: "runs",
        help: "Runs that began.",
        read: Read::Counter(|now| now.engine.n_runs),
    },
    Metric {
        name: "trapjaw_judged_later_total",
        unit: "judgements",
        help: "Judgements that were made after the event was on stable storage.",
        read: Read::Counter(|now| now.engine.n_judged_later),
    },
    Metric {
        name: "trapjaw_tasks_dead_total",
        unit: "tasks",
        help: "Tasks that became dead letters.",
        read: Read::Counter(|now| now.engine.n_dead),
    },
    Metric {
        name: "trapjaw_attempts_total",
        unit: "attempts",
        help: "Attempts by what they came to.",
        read: Read::CounterBy(Label { name: "result", values: &RESULTS }, attempts),
    },
    Metric {
        name: "trapjaw_open_runs",
        unit: "runs",
        help: "Runs with open work that are in memory.",
        read: Read::Gauge(|now| now.engine.n_open_in_memory),
    },
    Metric {
        name: "trapjaw_open_bytes",
        unit: "bytes",
        help: "About how many bytes the runs in memory hold.",
        read: Read::Gauge(|now| now.engine.open_bytes_in_memory),
    },
    Metric {
        name: "trapjaw_connection_sending",
        unit: "sends",
        help: "Sends under way, of each connection that was used.",
        read: Read::GaugeBy(CONNECTION, sending),
    },
    Metric {
        name: "trapjaw_connection_open",
        unit: "1 or 0",
        help: "Whether sends may go out: 0 while the breaker holds them back or the remote refuses our credentials.",
        read: Read::GaugeBy(CONNECTION, open),
    },
    Metric {
        name: "trapjaw_store_queued_calls",
        unit: "calls",
        help: "Calls that wait for the store's writer.",
        read: Read::Gauge(|now| now.store.queued),
    },
    Metric {
        name: "trapjaw_store_commits_total",
        unit: "transactions",
        help: "Transactions on stable storage.",
        read: Read::Counter(|now| now.store.commits),
    },
    Metric {
        name: "trapjaw_store_calls_total",
        unit: "calls",
        help: "Calls that the transactions carried.",
        read: Read::Counter(|now| now.store.calls),
    },
    Metric {
        name: "trapjaw_store_commands_total",
        unit: "commands",
        help: "Commands that the transactions carried.",
        read: Read::Counter(|now| now.store.commands),
    },
    Metric {
        name: "trapjaw_store_checkpoints_total",
        unit: "checkpoints",
        help: "Checkpoints of the store.",
        read: Read::Counter(|now| now.store.checkpoints),
    },
    Metric {
        name: "trapjaw_store_dedup_keys_dropped_total",
        unit: "keys",
        help: "Keys of events that were forgotten before their 72 hours, because there were too many: such an event is not known when it comes again.",
        read: Read::Counter(|now| now.store.dedup_keys_dropped),
    },
    Metric {
        name: "trapjaw_store_wal_bytes",
        unit: "bytes",
        help: "Bytes of the log that are not yet in the database.",
        read: Read::Gauge(|now| now.store.wal_bytes),
    },
    Metric {
        name: "trapjaw_store_commit_seconds",
        unit: "seconds",
        help: "How long commits took.",
        read: Read::Histogram(|now| Histogram { steps: &now.store.commit_times, sum: now.store.commit_time }),
    },
    Metric {
        name: "trapjaw_plugin_calls_running",
        unit: "calls",
        help: "Calls of plugins under way.",
        read: Read::GaugeBy(Label { name: "world", values: &WORLDS }, |now| by_world(now, |lane| lane.n_running)),
    },
    Metric {
        name: "trapjaw_plugin_calls_waiting",
        unit: "calls",
        help: "Calls of plugins that wait for a place.",
        read: Read::GaugeBy(Label { name: "world", values: &WORLDS }, |now| by_world(now, |lane| lane.n_waiting)),
    },
    Metric {
        name: "trapjaw_plugins_loaded",
        unit: "components",
        help: "Components that can be called.",
        read: Read::Gauge(|now| now.sandbox.n_plugins as u64),
    },
    Metric {
        name: "trapjaw_plugin_instances",
        unit: "instances",
        help: "Instances in the pool.",
        read: Read::Gauge(|now| now.sandbox.n_instances),
    },
    Metric {
        name: "trapjaw_plugin_warm_bytes",
        unit: "bytes",
        help: "Bytes that free memories of the pool still hold.",
        read: Read::Gauge(|now| now.sandbox.warm_bytes as u64),
    },
    Metric {
        name: "trapjaw_plugin_verdicts_total",
        unit: "calls",
        help: "Calls of conditions, in a fresh instance or in a warm one, which was called before; repeats are not among them.",
        read: Read::CounterBy(Label { name: "instance", values: &INSTANCES }, verdicts),
    },
    Metric {
        name: "trapjaw_plugin_repeats_total",
        unit: "calls",
        help: "Calls in a warm instance that were repeated in a fresh one, to compare.",
        read: Read::Counter(|now| now.sandbox.warm.n_repeats),
    },
    Metric {
        name: "trapjaw_plugin_warm_off_total",
        unit: "versions",
        help: "Versions of conditions whose repeats differed, so that each of their calls has a fresh instance since.",
        read: Read::Counter(|now| now.sandbox.warm.n_switched_off),
    },
    Metric {
        name: "trapjaw_plugin_idle_instances",
        unit: "instances",
        help: "Instances of conditions that wait for another call.",
        read: Read::Gauge(|now| now.sandbox.warm.n_idle as u64),
    },
    Metric {
        name: "trapjaw_process_resident_bytes",
        unit: "bytes",
        help: "Memory that the process holds.",
        read: Read::Gauge(|now| now.resident_bytes),
    },
    Metric {
        name: "trapjaw_config_revision",
        unit: "revision",
        help: "Revision of the configuration in force.",
        read: Read::Gauge(|now| u64::try_from(now.revision).unwrap_or(0)),
    },
];

const CONNECTION: Label = Label { name: "connection", values: &[] };
const RESULTS: [&str; 6] = ["succeeded", "skipped", "failed", "dead", "cancelled", "resumed"];
const WORLDS: [&str; 2] = ["condition", "action"];
const INSTANCES: [&str; 2] = ["fresh", "warm"];

fn attempts(now: &Reading) -> Vec<(&str, u64)> {
    let Status { n_succeeded, n_skipped, n_failed, n_dead, n_cancelled, n_resumed, .. } = now.engine;
    RESULTS.into_iter().zip([n_succeeded, n_skipped, n_failed, n_dead, n_cancelled, n_resumed]).collect()
}

fn sending(now: &Reading) -> Vec<(&str, u64)> {
    now.engine.connections.iter().map(|door| (&*door.name, u64::from(door.n_sending))).collect()
}

fn open(now: &Reading) -> Vec<(&str, u64)> {
    let is_open = |door| u64::from(connection_state(false, Some(door)) == "enabled");
    now.engine.connections.iter().map(|door| (&*door.name, is_open(door))).collect()
}

fn verdicts(now: &Reading) -> Vec<(&str, u64)> {
    let warm = &now.sandbox.warm;
    INSTANCES.into_iter().zip([warm.n_fresh_calls, warm.n_warm_calls]).collect()
}

fn by_world(now: &Reading, count: fn(LaneGauges) -> usize) -> Vec<(&str, u64)> {
    WORLDS.into_iter().zip([now.sandbox.conditions, now.sandbox.actions].map(|lane| count(lane) as u64)).collect()
}
