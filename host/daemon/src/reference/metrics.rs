//! `docs/reference/metrics.md`: the table that `/metrics` is made of.

use super::page::{Page, code};
use crate::api::metrics::table::{ALL, Metric, Read};

const ABOUT: &str = "What `GET /metrics` shows, in the text format of Prometheus; the call needs a token that may look, such as one of the scope `viewer`. \
    Counters begin at 0 with each start of the daemon. \
    What each of them means to whoever is on call is in [the operator's guide](../guides/operate.md#metrics-and-alarms).";

#[test]
fn the_metrics_are_as_they_were_reviewed() {
    super::review("reference/metrics.md", &page());
}

fn page() -> String {
    let mut page = Page::new("Metrics", ABOUT);
    page.section("All metrics");
    page.table(["Name", "Type", "Labels", "Unit", "Meaning"], &ALL.iter().map(row).collect::<Vec<_>>());
    page.text("A histogram has a line `_bucket` for each bound (label `le`), `_sum` and `_count`.");
    page.finish()
}

fn row(metric: &Metric) -> [String; 5] {
    let labels = match &metric.read {
        Read::Counter(_) | Read::Gauge(_) | Read::Histogram(_) => String::new(),
        Read::CounterBy(label, _) | Read::GaugeBy(label, _) => {
            let values: Vec<String> = label.values.iter().map(|value| code(value)).collect();
            format!("{}{}{}", code(label.name), if values.is_empty() { "" } else { ": " }, values.join(", "))
        }
    };
    [code(metric.name), metric.read.word().into(), labels, metric.unit.into(), metric.help.into()]
}

#[test]
fn the_names_follow_the_rules() {
    for metric in ALL {
        let is_counter = metric.read.word() == "counter";
        assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
        assert_eq!(ALL.iter().filter(|other| other.name == metric.name).count(), 1, "{}", metric.name);
        assert!(metric.name.starts_with("trapjaw_") && metric.help.ends_with('.'), "{}", metric.name);
        for unit in ["bytes", "seconds"] {
            let name = metric.name.trim_end_matches("_total");
            assert_eq!(name.ends_with(unit), metric.unit == unit, "{}", metric.name);
        }
    }
}
