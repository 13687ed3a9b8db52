//! Opens connections: looks up, checks, and connects to what was checked.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::Service;
use url::Host;

use super::guard::Guard;
use super::resolve::Resolve;
use super::wire::Wire;

/// How many of a name's addresses are tried. All of them are checked.
const ADDRESSES_MAX: usize = 4;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Opens TCP connections to what the guard lets pass.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) guard: Guard,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) limit: Duration,
}

impl Dialer {
    /// Connects to the authority of a URL.
    ///
    /// The socket is opened to an address that was checked, never to the name: a second look-up might answer
    /// differently. One bad address refuses them all, because a name with such an answer is not to be trusted.
    async fn dial(self, target: Uri) -> Result<Wire, BoxError> {
        let host = host_of(&target)?;
        self.guard.check_host(&host)?;
        let port = target.port_u16().unwrap_or(if target.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = match &host {
            Host::Domain(name) => {
                let found = self.resolver.resolve(name).await;
                found.map_err(|err| io::Error::new(err.kind(), format!("look up {name}: {err}")))?
            }
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        };
        for address in &addresses {
            self.guard.check_address(&host, *address)?;
        }
        let stream = self.connect(&alternate(&addresses), port).await?;
        stream.set_nodelay(true)?;
        Ok(Wire::new(stream))
    }

    /// Tries the addresses in turn. Each gets its share of what is left of the time, so that the first one, gone
    /// silent, does not use it all up.
    async fn connect(&self, addresses: &[IpAddr], port: u16) -> Result<TcpStream, BoxError> {
        let end = Instant::now() + self.limit;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let n_addresses = addresses.len().min(ADDRESSES_MAX);
        for (n_tried, address) in addresses.iter().take(n_addresses).enumerate() {
            let rest = end.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(n_addresses - n_tried).unwrap_or(1);
            let address = SocketAddr::new(*address, port);
            last = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(err)) => io::Error::new(err.kind(), format!("connect to {address}: {err}")),
                Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("connect to {address}: timed out")),
            };
        }
        Err(last.into())
    }
}

impl Service<Uri> for Dialer {
    type Response = Wire;
    type Error = BoxError;
    type Future = Connecting<Wire>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().dial(target))
    }
}

/// An operator's proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) address: Uri,
    pub(super) auth: Option<HeaderValue>,
}

/// The way to a target: directly, or by the operator's proxy.
#[derive(Clone)]
pub(super) struct Route {
    /// Opens the connection to the target, or to the proxy.
    pub(super) dialer: Dialer,
    pub(super) proxy: Option<Proxy>,
}

impl Route {
    async fn open(self, target: Uri) -> Result<Wire, BoxError> {
        let Some(proxy) = self.proxy else {
            return self.dialer.dial(target).await;
        };
        self.dialer.guard.check_name(&host_of(&target)?)?;
        if target.scheme_str() != Some("https") {
            let mut wire = self.dialer.dial(proxy.address).await?;
            wire.forwards = true;
            return Ok(wire);
        }
        let mut tunnel = Tunnel::new(proxy.address, self.dialer);
        if let Some(auth) = proxy.auth {
            tunnel = tunnel.with_auth(auth);
        }
        Ok(tunnel.call(target).await?)
    }
}

impl Service<Uri> for Route {
    type Response = Wire;
    type Error = BoxError;
    type Future = Connecting<Wire>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        Box::pin(self.clone().open(target))
    }
}

/// The connector of the pooled client: route, then TLS, all within the time limit.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) https: HttpsConnector<Route>,
    pub(super) limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Wire>;
    type Error = BoxError;
    type Future = Connecting<MaybeHttpsStream<Wire>>;

    fn poll_ready(&mut self, ctx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(ctx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.https.call(target);
        let limit = self.limit;
        Box::pin(async move {
            match timeout(limit, connecting).await {
                Ok(result) => result,
                Err(_) => {
                    let text = format!("no connection within {limit:?}");
                    Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
                }
            }
        })
    }
}

/// The addresses in their order, but with the two families in turn, so that a network without one of them reaches the
/// other among the first few.
fn alternate(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_first_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (mut one, mut other): (VecDeque<IpAddr>, VecDeque<IpAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == is_first_v4);
    let mut order = Vec::with_capacity(addresses.len());
    while !(one.is_empty() && other.is_empty()) {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

/// The host, read by the same rules that the config's URL was read by: whatever it was spelled as, the guard sees what
/// it means.
fn host_of(target: &Uri) -> Result<Host<String>, BoxError> {
    let host = target.host().unwrap_or_default();
    Host::parse(host).map_err(|err| format!("read host: {err}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &str, expected: &str) {
        let read = |text: &str| text.split_whitespace().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(alternate(&read(addresses)), read(expected));
    }

    #[test]
    fn families_take_turns() {
        check("", "");
        check("1.1.1.1 1.1.1.2", "1.1.1.1 1.1.1.2");
        check("::1 ::2 ::3 1.1.1.1 1.1.1.2", "::1 1.1.1.1 ::2 1.1.1.2 ::3");
        check("1.1.1.1 ::1 ::2", "1.1.1.1 ::1 ::2");
    }
}
