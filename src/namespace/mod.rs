//! A command in a network of its own, without root: `ustack run`.
//!
//! Two processes work together. The *outer* one stays where it is and runs the stack. It starts
//! itself again as the *inner* one, single-threaded, which moves into new user, mount and network
//! namespaces, makes the TUN device there, hands the device's file descriptor out over a socket
//! pair, and becomes the command.
//!
//! ```text
//! outer                          inner
//! spawn ───────────────────────▶ unshare(NEWUSER)
//! write uid_map, gid_map ◀────── Moved
//! Enter(Setup) ────────────────▶ unshare(NEWNET | NEWNS), device, lo, routes, resolv.conf
//! run the stack ◀─────────────── Device + file descriptor   (or Failed)
//! Exec ────────────────────────▶ exec(CMD)
//! ```
//!
//! Nothing has to be undone: the namespaces, the device and the mount go with the last process
//! and the last file descriptor.

mod channel;
mod inner;
mod network;
mod obstacle;
mod outer;
pub(crate) mod resolver;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub(crate) use inner::main_if_inner;
pub(crate) use obstacle::{Obstacle, Step};
pub(crate) use outer::{Device, Namespaces};

/// First argument of the inner process. Not for users.
const INNER: &str = "__ustack-run-inner";

/// What the inner process is to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Name of the device.
    pub(crate) name: String,
    /// Its MTU in bytes.
    pub(crate) mtu: u16,
    /// `auto`, `offload` or `plain`.
    pub(crate) mode: String,
    /// Addresses of the namespace's side, with prefix lengths.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// Text of the `resolv.conf` that the command sees.
    pub(crate) resolv_conf: String,
}
