//! The text format of Prometheus.

use std::fmt::{Display, Write};

use super::table::{Histogram, Metric, Read, Reading};

/// Writes the metrics as they stand in the reading.
pub(super) fn write(metrics: &[Metric], reading: &Reading) -> String {
    let mut page = MetricsPage::default();
    for metric in metrics {
        page.head(metric);
        match metric.read {
            Read::Counter(read) | Read::Gauge(read) => page.line(metric.name, None, read(reading)),
            Read::CounterBy(ref label, read) | Read::GaugeBy(ref label, read) => {
                for (value, number) in read(reading) {
                    page.line(metric.name, Some((label.name, value)), number);
                }
            }
            Read::Histogram(read) => page.histogram(metric.name, &read(reading)),
        }
    }
    page.0
}

/// A page of metrics while it is written.
#[derive(Default)]
struct MetricsPage(String);

impl MetricsPage {
    fn head(&mut self, metric: &Metric) {
        let Metric { name, help, read, .. } = metric;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", read.word()));
    }

    fn line(&mut self, name: &str, label: Option<(&str, &str)>, number: impl Display) {
        match label {
            None => self.write(format_args!("{name} {number}\n")),
            Some((label, value)) => {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                self.write(format_args!("{name}{{{label}=\"{value}\"}} {number}\n"));
            }
        }
    }

    /// A histogram counts what is at most as long as each bound: its steps are added up.
    fn histogram(&mut self, name: &str, histogram: &Histogram<'_>) {
        let mut count = 0;
        for (place, (bound, n)) in histogram.steps.iter().enumerate() {
            count += n;
            let is_open = place + 1 == histogram.steps.len();
            let bound = if is_open { "+Inf".to_owned() } else { bound.as_secs_f64().to_string() };
            self.line(&format!("{name}_bucket"), Some(("le", &bound)), count);
        }
        self.line(&format!("{name}_sum"), None, histogram.sum.as_secs_f64());
        self.line(&format!("{name}_count"), None, count);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn labels_are_escaped() {
        let mut page = MetricsPage::default();
        page.line("m", Some(("a", "x\"\\\n")), 1);
        page.line("g", None, 2.5);
        assert_eq!(page.0, "m{a=\"x\\\"\\\\\\n\"} 1\ng 2.5\n");
    }

    #[test]
    fn the_steps_of_a_histogram_add_up() {
        let mut page = MetricsPage::default();
        let steps = [(Duration::from_millis(1), 2), (Duration::MAX, 3)];
        page.histogram("h", &Histogram { steps: &steps, sum: Duration::from_millis(1_500) });
        let expected = "h_bucket{le=\"0.001\"} 2\nh_bucket{le=\"+Inf\"} 5\nh_sum 1.5\nh_count 5\n";
        assert_eq!(page.0, expected);
    }
}
