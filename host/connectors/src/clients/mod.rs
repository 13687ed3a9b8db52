//! Network clients that several sinks share, and the guard that bounds where they may go.

mod dial;
mod guard;
mod http;
mod resolve;
mod tls;
mod wire;

pub use guard::{EgressPolicy, HostPattern, Network};
pub use resolve::{Resolve, SystemResolver};

pub(crate) use guard::Guard;
pub(crate) use http::{ClientKey, Clients, HttpClient, HttpError, ProxyKey};
pub(crate) use tls::{TlsKey, client_config};
