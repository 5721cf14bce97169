//! The services that every host offers: those with connections at each shard, those with datagrams
//! at the shard of their port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::debug;
use ustack::service::http::{self, HttpConfig};
use ustack::service::{self, IdleTimeout, Limits, Stop};
use ustack::{Stack, TcpListener, TcpStream, UdpSocket};

use super::settings::Settings;

/// What the small services grant at each shard; HTTP grants the defaults.
const SMALL: Limits = Limits {
    connections: 256,
    idle: Duration::from_secs(600),
};

/// Ports of the services (RFC 9110, 862, 863, 864).
const HTTP: u16 = 80;
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;

/// Listens on everything before anything runs. `handles`: where each shard's tasks go.
pub(super) fn start(
    settings: &Settings,
    stack: &Stack,
    handles: &[Handle],
    stop: &Stop,
) -> io::Result<JoinSet<()>> {
    let mut services = JoinSet::new();
    for (shard, handle) in stack.each_shard().zip(handles) {
        let listen = |port| TcpListener::bind(&shard, (Ipv6Addr::UNSPECIFIED, port).into());
        let (http, echo) = (listen(HTTP)?, listen(ECHO)?);
        let (discard, chargen) = (listen(DISCARD)?, listen(CHARGEN)?);
        services.spawn_on(pages(settings, stack, http, stop), handle);
        services.spawn_on(small("echo", echo, stop, service::echo), handle);
        services.spawn_on(small("discard", discard, stop, service::discard), handle);
        services.spawn_on(small("chargen", chargen, stop, service::chargen), handle);
    }
    let at = |port| &handles[stack.shard_of_port(port)];
    for any in [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ] {
        let bind = |port| UdpSocket::bind(stack, SocketAddr::new(any, port));
        let echo = service::udp_echo(bind(ECHO)?, stop.clone());
        let discard = service::udp_discard(bind(DISCARD)?, stop.clone());
        services.spawn_on(async { log_end("echo", echo.await) }, at(ECHO));
        services.spawn_on(async { log_end("discard", discard.await) }, at(DISCARD));
    }
    Ok(services)
}

fn pages(
    settings: &Settings,
    stack: &Stack,
    listener: TcpListener,
    stop: &Stop,
) -> impl Future<Output = ()> + use<> {
    let live = stack.clone();
    let router = http::router(HttpConfig {
        connections: Arc::new(move || live.connections()),
        root: settings.http_root.clone(),
    });
    let talk = move |io, _, stop| http::connection(io, router.clone(), stop);
    service::serve("http", listener, Limits::default(), stop.clone(), talk)
}

/// One of the services that talk to every client alike.
fn small<H, F>(
    name: &'static str,
    listener: TcpListener,
    stop: &Stop,
    talk: H,
) -> impl Future<Output = ()> + use<H, F>
where
    H: Fn(IdleTimeout<TcpStream>, Stop) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    service::serve(name, listener, SMALL, stop.clone(), move |io, _, stop| {
        talk(io, stop)
    })
}

fn log_end(service: &str, result: io::Result<()>) {
    if let Err(error) = result {
        debug!(service, %error, "the service ended");
    }
}
