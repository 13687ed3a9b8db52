//! The comments of fields and variants, from the source where they stand.

use std::collections::BTreeMap;
use std::path::Path;

/// A source file whose types are described in the reference.
pub(super) struct Source(String);

impl Source {
    /// Reads a file, from the folder of this crate on.
    pub(super) fn read(path: &str) -> Self {
        Self(std::fs::read_to_string(Path::new(path)).unwrap())
    }

    /// The comments of a type's fields or variants, by name in lower case and without hyphens and underscores.
    #[track_caller]
    pub(super) fn of(&self, name: &str) -> Comments {
        let mut lines = self.0.lines();
        let begins = |line: &&str| {
            let line =
                line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            line == format!("struct {name} {{") || line == format!("enum {name} {{")
        };
        lines.find(begins).unwrap_or_else(|| panic!("there is no type {name}"));
        let (mut comments, mut comment) = (BTreeMap::new(), Vec::new());
        // The formatter puts each comment, attribute and field on lines of their own, and the end at the margin.
        for line in lines.take_while(|line| *line != "}") {
            let line = line.trim();
            if let Some(text) = line.strip_prefix("/// ") {
                comment.push(text);
            } else if !line.starts_with("#[") && !line.starts_with("//") {
                let line =
                    line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
                let name = line.split([':', ',', '(', ' ']).next().unwrap_or_default();
                comments.insert(plain(name.trim_start_matches("r#")), comment.join(" "));
                comment.clear();
            }
        }
        Comments { of: name.to_owned(), comments }
    }
}

/// The comments of one type.
pub(super) struct Comments {
    of: String,
    comments: BTreeMap<String, String>,
}

impl Comments {
    /// The comment of the field or variant that has this name on the wire.
    #[track_caller]
    pub(super) fn get(&self, name: &str) -> &str {
        let comment = self.comments.get(&plain(name)).map_or("", String::as_str);
        assert!(!comment.is_empty(), "{}.{name} has no comment", self.of);
        comment
    }
}

fn plain(name: &str) -> String {
    name.replace(['_', '-'], "").to_ascii_lowercase()
}

#[test]
fn comments_are_found_by_the_name_on_the_wire() {
    let source = Source("/// Not this.\npub(crate) struct A {\n    /// One.\n    /// More.\n    #[serde(default)]\n    pub(crate) r#in: B,\n    /// Two.\n    not_this: C,\n}\n\nenum E {\n    /// Three.\n    ThisOne,\n}\n".into());
    assert_eq!((source.of("A").get("in"), source.of("A").get("not-this")), ("One. More.", "Two."));
    assert_eq!(source.of("E").get("this-one"), "Three.");
}
