//! Where answers go: tables for people, the API's body for scripts.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::args::Format;
use super::client::Answer;
use super::table::{self, Column};

/// Where answers go, and how they are shown.
pub(super) struct Output {
    format: Format,
    color: bool,
    now: Timestamp,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

/// The output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("print the answer")]
pub(super) struct Unprinted(#[source] pub(super) io::Error);

/// A colour with a meaning. The words say the same, for those who see no colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    /// It holds, it worked.
    Green,
    /// It did not, and need not.
    Grey,
    /// A person should look.
    Red,
}

impl Output {
    /// The process's own output.
    pub(super) fn of_process(format: Format, no_color: bool) -> Self {
        let color = !no_color && io::stdout().is_terminal();
        Self { format, color, now: Timestamp::now(), out: Box::new(io::stdout()), err: Box::new(io::stderr()) }
    }

    /// The moment that ages are told from.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// How answers are shown.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Unprinted> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(Unprinted)
    }

    /// Prints lines.
    pub(super) fn lines(&mut self, lines: impl IntoIterator<Item = String>) -> Result<(), Unprinted> {
        lines.into_iter().try_for_each(|line| self.line(&line))
    }

    /// The text in a colour, where colours are shown.
    pub(super) fn paint(&self, color: Color, text: &str) -> String {
        let code = match color {
            Color::Green => 32,
            Color::Grey => 90,
            Color::Red => 31,
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Says something beside the answer, which scripts do not read.
    pub(super) fn note(&mut self, text: &str) {
        // What cannot be said on the error stream can be said nowhere; the exit code still speaks.
        let _ = writeln!(self.err, "{text}");
    }

    /// Says what went wrong.
    pub(super) fn complain(&mut self, text: &str) {
        self.note(&format!("error: {text}"));
    }

    /// Shows an answer: its body for scripts, or what `show` makes of it for people.
    pub(super) fn answer(
        &mut self,
        answer: &Answer,
        show: impl FnOnce(&mut Self, &Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => show(self, &answer.value()?),
            // As it came: a number that no float can hold stays what it is.
            Format::Json => Ok(self.line(answer.text.trim_end())?),
            Format::Yaml => Ok(self.line(yaml(&answer.value()?)?.trim_end())?),
        }
    }

    /// Shows a value that is made here and not by the API.
    pub(super) fn value(
        &mut self,
        value: &Value,
        show: impl FnOnce(&mut Self) -> Result<(), Unprinted>,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => Ok(show(self)?),
            Format::Json => Ok(self.line(&format!("{value:#}"))?),
            Format::Yaml => Ok(self.line(yaml(value)?.trim_end())?),
        }
    }

    /// Shows a listing, and how to see more of it.
    pub(super) fn listing(&mut self, answer: &Answer, columns: &[Column], nothing: &str) -> anyhow::Result<()> {
        self.answer(answer, |output, value| {
            let items = items_of(value);
            if items.is_empty() {
                output.note(nothing);
                return Ok(());
            }
            output.lines(table::of_items(columns, items, output.now))?;
            if let Some(next) = value.get("next").and_then(Value::as_str) {
                output.note(&format!("more with `--after {next}`"));
            }
            Ok(())
        })
    }

    #[cfg(test)]
    pub(super) fn captured(format: Format) -> (Self, Captured) {
        let captured = Captured::default();
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let (out, err) = (Box::new(captured.clone()), Box::new(captured.clone()));
        (Self { format, color: false, now, out, err }, captured)
    }
}

/// The items of a listing.
pub(super) fn items_of(listing: &Value) -> &[Value] {
    listing.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value as YAML.
pub(super) fn yaml(value: &Value) -> anyhow::Result<String> {
    yaml_serde::to_string(value).context("write YAML")
}

/// What was printed, for tests.
#[cfg(test)]
#[derive(Clone, Default)]
pub(super) struct Captured(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, body: &str, expected: &str) {
        let (mut output, captured) = Output::captured(format);
        let answer = Answer { text: body.into() };
        output.listing(&answer, &[Column::new("NAME", "/name")], "nothing here").unwrap();
        assert_eq!(captured.text(), expected);
    }

    #[test]
    fn listings_are_shown_as_asked() {
        let exact = r#"{"items":[{"name":"a","n":1e400}]}"#;
        check(Format::Json, exact, &format!("{exact}\n"));
        let body = r#"{"items":[{"name":"a","n":0.10}],"next":"c1"}"#;
        check(Format::Table, body, "NAME\na\nmore with `--after c1`\n");
        check(Format::Json, body, &format!("{body}\n"));
        check(Format::Yaml, body, "items:\n- n: 0.1\n  name: a\nnext: c1\n");
        check(Format::Table, r#"{"items":[],"next":null}"#, "nothing here\n");
    }

    #[test]
    fn colours_are_for_terminals() {
        let (mut output, _) = Output::captured(Format::Table);
        assert_eq!(output.paint(Color::Green, "matched"), "matched");
        output.color = true;
        assert_eq!(output.paint(Color::Green, "matched"), "\u{1b}[32mmatched\u{1b}[0m");
    }
}
