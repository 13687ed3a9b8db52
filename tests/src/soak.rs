//! How much a long test does: what every change has to pass, or what `make soak` asks for.

/// Set to `1` by `make soak`.
const VARIABLE: &str = "TRAPJAW_SOAK";

/// The usual amount, or the long one under `make soak`.
#[expect(clippy::disallowed_methods, reason = "the tests are no part of the daemon, whose help lists its variables")]
pub fn amount(usual: usize, long: usize) -> usize {
    if std::env::var(VARIABLE).is_ok_and(|value| value == "1") { long } else { usual }
}
