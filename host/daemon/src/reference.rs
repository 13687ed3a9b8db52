//! The reference in `docs/reference`: made of what the code says, and compared with what was reviewed.
//!
//! Names come from the readers themselves, descriptions from the comments beside them, defaults from what is built of
//! an empty definition; and each bound that a page names is tried on both of its sides. So a field that is not
//! described, and a description that is not true, are tests that fail. Nothing of this is in the product.

mod page;
mod names;
mod comments;

mod cli;
mod definitions;
mod errors;
mod metrics;
mod settings;
mod sinks;

use std::path::Path;

/// Compares a page with the one in `docs`, which was reviewed.
///
/// Run with `TRAPJAW_GOLDEN=write` to write the file anew, and read what changed before it is committed.
#[track_caller]
pub(crate) fn review(name: &str, now: &str) {
    let path = Path::new("../../docs").join(name);
    if option_env!("TRAPJAW_GOLDEN") == Some("write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let n_same = reviewed.lines().zip(now.lines()).take_while(|(old, new)| old == new).count();
    assert!(
        reviewed == now,
        "docs/{name} is not what the code says from line {} on: `make golden` writes it anew",
        n_same + 1
    );
}
