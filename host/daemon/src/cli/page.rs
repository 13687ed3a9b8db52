//! What all listings share: how many rows, and from where on.

use clap::Args;

use super::client::Call;

/// Which part of a listing. Newest first.
#[derive(Clone, Debug, Args)]
pub(crate) struct PageArgs {
    /// At most this many rows, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    limit: u32,
    /// From where the last listing ended.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

/// The most rows of a page; what a person defines by hand fits one.
pub(super) const ROWS_MAX: u32 = 1_000;

impl PageArgs {
    /// The call, for this part.
    pub(super) fn of(&self, call: Call) -> Call {
        call.query("limit", Some(self.limit)).query("cursor", self.after.as_ref())
    }
}
