//! Tables with aligned columns, made of the items of a listing.

use jiff::Timestamp;
use serde_json::Value;

use super::words;

/// A column: its title, where its value stands in an item, and how that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// The title.
    pub(super) title: &'static str,
    /// The JSON pointer of the value.
    pub(super) pointer: &'static str,
    /// How it is shown.
    pub(super) kind: Kind,
}

/// How a value is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// In a few words.
    Words,
    /// A moment, as how long ago it was.
    Age,
    /// A number of bytes.
    Size,
    /// How many items a list has.
    Count,
    /// The start of a digest.
    Digest,
    /// A state, with what it waits for.
    State,
}

impl Column {
    /// A column whose values are shown in a few words.
    pub(super) const fn new(title: &'static str, pointer: &'static str) -> Self {
        Self { title, pointer, kind: Kind::Words }
    }

    /// The column, with its values shown in another way.
    pub(super) const fn of(title: &'static str, pointer: &'static str, kind: Kind) -> Self {
        Self { title, pointer, kind }
    }

    fn cell(&self, item: &Value, now: Timestamp) -> String {
        let value = item.pointer(self.pointer).unwrap_or(&Value::Null);
        let text = match (self.kind, value) {
            (Kind::Age, Value::String(text)) => words::age(now, text),
            (Kind::Size, Value::Number(number)) => number.as_u64().map_or_else(|| number.to_string(), words::size),
            (Kind::Count, Value::Array(items)) => items.len().to_string(),
            (Kind::Digest, Value::String(text)) => text.chars().take(DIGEST_CHARS).collect(),
            (Kind::State, Value::String(text)) => state(text, item),
            (Kind::Words | Kind::Age | Kind::Size | Kind::Count | Kind::Digest | Kind::State, _) => words::brief(value),
        };
        words::cut(text, CELL_CHARS_MAX)
    }
}

/// How much of a digest is shown: enough to tell versions apart, and to search for the rest.
pub(super) const DIGEST_CHARS: usize = 12;
/// The widest cell; `-o json` shows the rest.
const CELL_CHARS_MAX: usize = 64;
/// What stands between columns.
const GAP: &str = "  ";

/// The lines of a table of items, its head first.
pub(super) fn of_items(columns: &[Column], items: &[Value], now: Timestamp) -> Vec<String> {
    let head = columns.iter().map(|column| column.title.to_owned()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|column| column.cell(item, now)).collect());
    align(std::iter::once(head).chain(rows).collect())
}

/// The rows as lines, each column as wide as its widest cell; no line ends in blanks.
pub(super) fn align(rows: Vec<Vec<String>>) -> Vec<String> {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; n_columns];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join(GAP).trim_end().to_owned()
    };
    rows.into_iter().map(line).collect()
}

/// A state's word, with what a waiting one waits for.
pub(super) fn state(word: &str, item: &Value) -> String {
    let reason = ["waiting_for", "reason"].iter().find_map(|name| item.get(name)?.as_str());
    match reason {
        Some(reason) => words::one_line(&format!("{word} ({reason})")),
        None => words::one_line(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned() {
        let columns = [
            Column::new("NAME", "/name"),
            Column::of("STATE", "/state", Kind::State),
            Column::of("SIZE", "/size", Kind::Size),
            Column::of("AGE", "/at", Kind::Age),
            Column::of("TASKS", "/tasks", Kind::Count),
            Column::of("DIGEST", "/digest", Kind::Digest),
        ];
        let items = [
            json!({"name": "grün", "state": "waiting", "waiting_for": "breaker", "size": 2048, "at": "2026-01-01T00:00:00Z", "tasks": [1, 2]}),
            json!({"name": "a-long-name", "state": "dead", "digest": "0123456789abcdef", "more": 1}),
        ];
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            of_items(&columns, &items, now),
            [
                "NAME         STATE              SIZE     AGE  TASKS  DIGEST",
                "grün         waiting (breaker)  2.0 KiB  5m   2      -",
                "a-long-name  dead               -        -    -      0123456789ab",
            ]
        );
    }

    #[test]
    fn cells_stay_on_their_line() {
        let columns = [Column::new("A", "/a")];
        let lines = of_items(&columns, &[json!({"a": "x\ny"}), json!({"a": "z".repeat(99)})], Timestamp::UNIX_EPOCH);
        assert_eq!(lines[1], "x\\ny");
        assert_eq!(lines[2].chars().count(), CELL_CHARS_MAX);
    }
}
