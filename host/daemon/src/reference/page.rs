//! A page of the reference while it is written, in Markdown with one sentence a line.

/// A page.
pub(super) struct Page(String);

impl Page {
    /// A page with its title and what it is about.
    pub(super) fn new(title: &str, about: &str) -> Self {
        let mut page = Self(format!("# {title}\n"));
        page.text(about);
        page.text("This page is generated from the code by `make golden`, and a test compares the two.");
        page
    }

    /// A heading of the second level.
    pub(super) fn section(&mut self, title: &str) {
        self.block(&format!("## {title}"));
    }

    /// A heading of the third level.
    pub(super) fn part(&mut self, title: &str) {
        self.block(&format!("### {title}"));
    }

    /// A paragraph.
    pub(super) fn text(&mut self, text: &str) {
        let text = text.replace('\n', " ");
        let mut lines = String::new();
        let mut rest = text.as_str();
        while let Some(end) = sentence_end(rest) {
            lines.push_str(&rest[..end]);
            lines.push('\n');
            rest = &rest[end + 1..];
        }
        lines.push_str(rest);
        self.block(&lines);
    }

    /// Code.
    pub(super) fn code(&mut self, language: &str, code: &str) {
        self.block(&format!("```{language}\n{}\n```", code.trim_end()));
    }

    /// A table; columns that are empty in every row are left out.
    pub(super) fn table<const N: usize>(&mut self, heads: [&str; N], rows: &[[String; N]]) {
        let is_shown: Vec<bool> = (0..N).map(|column| rows.iter().any(|row| !row[column].is_empty())).collect();
        let line = |cells: Vec<String>| {
            let shown = cells.into_iter().zip(&is_shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell);
            format!("| {} |", shown.collect::<Vec<_>>().join(" | ").trim_end())
        };
        let mut lines = vec![line(heads.map(str::to_owned).into()), line(vec!["---".into(); N])];
        lines.extend(rows.iter().map(|row| line(row.iter().map(|cell| escape(cell)).collect())));
        self.block(&lines.join("\n"));
    }

    /// The page as text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn block(&mut self, text: &str) {
        self.0.push('\n');
        self.0.push_str(text);
        self.0.push('\n');
    }
}

/// Where the first of several sentences ends.
fn sentence_end(text: &str) -> Option<usize> {
    let begins = |rest: &str| rest.starts_with(|c: char| c.is_uppercase() || c == '`');
    text.match_indices(". ").map(|(at, _)| at + 1).find(|end| begins(&text[end + 1..]))
}

/// A cell stands on one line, and a bar in it does not end it.
fn escape(cell: &str) -> String {
    cell.replace('\n', " ").replace('|', "\\|")
}

/// A text as code, or nothing for nothing.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A number as people read it.
pub(super) fn number(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().map_or_else(|_| String::new(), |number: u64| number.to_string());
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number of bytes as people read it.
pub(super) fn bytes(number_of: usize) -> String {
    match number_of {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{} bytes", number(n)),
    }
}

#[test]
fn pages_have_one_sentence_a_line_and_no_empty_columns() {
    let mut page = Page::new("T", "One. Two, such as 1.5. `three` is a word.");
    page.table(["a", "b", "c"], &[["x".into(), String::new(), "y | z".into()]]);
    let text = page.finish();
    assert!(text.starts_with("# T\n\nOne.\nTwo, such as 1.5.\n`three` is a word.\n\nThis page"), "{text}");
    assert!(text.ends_with("\n\n| a | c |\n| --- | --- |\n| x | y \\| z |\n"), "{text}");
    assert_eq!(
        (number(1_234_567_u32), number(12_usize), bytes(64 << 10)),
        ("1,234,567".into(), "12".into(), "64 KiB".into())
    );
}
