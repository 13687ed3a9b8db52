//! The names that a reader knows, from what it says of one that it does not.

/// A name that no reader knows.
pub(super) const UNKNOWN: &str = "no-such-name";

/// The names in a reader's complaint: "unknown field `x`, expected one of `a`, `b`".
#[track_caller]
pub(super) fn known(complaint: &str) -> Vec<String> {
    let (_, expected) = complaint.split_once(", expected ").unwrap_or_else(|| panic!("no names: {complaint}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn names_are_read_out_of_complaints() {
    assert_eq!(known("a: unknown field `x`, expected one of `a`, `b-c`, `d`"), ["a", "b-c", "d"]);
    assert_eq!(known("unknown field `x`, expected `a` or `b` at line 1"), ["a", "b"]);
}
