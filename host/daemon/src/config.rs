//! From what people wrote to what runs: settings of the daemon, and definitions as `File`, `Resolved` and plan.

pub(crate) mod document;
pub(crate) mod placeholder;
pub(crate) mod resolve;
pub(crate) mod settings;
pub(crate) mod unique;

use trapjaw_engine::problem::Problem;

/// The longest name of a trigger, connection, plugin, secret or token.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// Checks a name: a lower-case letter or digit, then those, dots, hyphens and underscores.
pub(crate) fn check_name(path: &str, name: &str) -> Result<(), Problem> {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: u8| edge(c) || matches!(c, b'.' | b'_' | b'-');
    check(path, name, edge, inner, "lower-case letters, digits, `.`, `_` and `-`, and begins with a letter or digit")
}

/// Checks the name of a secret, which by custom is in capitals.
pub(crate) fn check_secret_name(path: &str, name: &str) -> Result<(), Problem> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    check(
        path,
        name,
        |c| c.is_ascii_alphanumeric(),
        inner,
        "letters, digits, `.`, `_` and `-`, and begins with a letter or digit",
    )
}

/// The path of a value that could not be read, as problems show it: empty for the whole.
pub(crate) fn show_path(path: &serde_path_to_error::Path) -> String {
    let text = path.to_string();
    let known = text.strip_suffix('?').map_or(text.as_str(), |known| known.trim_end_matches('.'));
    if known == "." { String::new() } else { known.to_owned() }
}

fn check(
    path: &str,
    name: &str,
    first: impl Fn(u8) -> bool,
    inner: impl Fn(u8) -> bool,
    rule: &str,
) -> Result<(), Problem> {
    let sound = name.len() <= NAME_BYTES_MAX && name.bytes().next().is_some_and(first) && name.bytes().all(inner);
    if sound {
        Ok(())
    } else {
        Err(Problem::at(path, format!("a name has at most {NAME_BYTES_MAX} characters: {rule}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "shop.vip-order_1", "0", &"a".repeat(63)] {
            assert_eq!(check_name("p", good), Ok(()));
        }
        for bad in ["", "-a", ".a", "A", "a b", "ü", "a/b", &"a".repeat(64)] {
            assert!(check_name("p", bad).is_err(), "{bad}");
        }
        assert_eq!(check_secret_name("p", "CRM_key-1"), Ok(()));
        assert!(check_secret_name("p", "_x").is_err());
    }
}
