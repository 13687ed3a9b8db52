//! Turns host names into addresses.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Looks up the addresses of a host name. Tests bring a scripted one.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of the name, in the order in which they are to be tried. The caller sets the time limit and may
    /// drop the call. The answer is not trusted: every address passes the guard before it is used.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system, with its hosts file, search list and caches.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = tokio::net::lookup_host((name, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}
