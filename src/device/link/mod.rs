//! What the kernel knows of links, addresses and routes, and setting up a link, by rtnetlink.

mod change;
mod conflict;
mod snapshot;

use std::io;
use std::net::IpAddr;

use rtnetlink::Handle;

pub(super) use self::change::{Changes, Refused, Restore, change};
pub(super) use self::conflict::Conflict;
#[cfg(test)]
use self::snapshot::Route;
pub(super) use self::snapshot::{Link, Snapshot, TunInfo, wait_local, wait_running};

/// An IP network or an address within it: address and prefix length.
pub(super) type Net = (IpAddr, u8);

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Runs netlink requests on a thread and a runtime of their own, so that callers need neither be
/// in a runtime nor outside of one. The thread shares the caller's network namespace.
fn with_netlink<T: Send, F>(requests: impl FnOnce(Handle) -> F + Send) -> io::Result<T>
where
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netlink".into())
            .spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()?;
                runtime.block_on(async {
                    let (connection, handle, _) = rtnetlink::new_connection()?;
                    tokio::spawn(connection);
                    requests(handle).await.map_err(io_error)
                })
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the netlink thread ended early")))
    })
}

/// For the tests of the parts.
#[cfg(test)]
fn net(text: &str) -> Net {
    let (address, prefix) = text.split_once('/').unwrap();
    (address.parse().unwrap(), prefix.parse().unwrap())
}
