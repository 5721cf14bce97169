//! Changing a link, and changing it back.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use super::{Net, Snapshot, io_error, with_netlink};

/// What to change of a link; `None` and empty leave things alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) mtu: Option<u32>,
    pub(crate) txqueuelen: Option<u32>,
    pub(crate) up: Option<bool>,
    pub(crate) add: Vec<Net>,
    pub(crate) remove: Vec<Net>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The commands that do the same.
    pub(crate) fn commands(&self, name: &str) -> Vec<String> {
        let up = self.up.map(|up| if up { " up" } else { " down" });
        let set = [
            self.mtu.map(|mtu| format!(" mtu {mtu}")),
            self.txqueuelen.map(|len| format!(" txqueuelen {len}")),
            up.map(str::to_owned),
        ];
        let set: String = set.into_iter().flatten().collect();
        let mut commands = Vec::new();
        for (verb, nets) in [("add", &self.add), ("del", &self.remove)] {
            for (address, prefix) in nets {
                commands.push(format!(
                    "sudo ip address {verb} {address}/{prefix} dev {name}"
                ));
            }
        }
        if !set.is_empty() {
            commands.push(format!("sudo ip link set dev {name}{set}"));
        }
        commands
    }
}

/// What could not be changed.
pub(crate) struct Refused {
    pub(crate) change: Changes,
    pub(crate) error: io::Error,
}

/// Makes the changes, as far as the kernel allows; returns those it refused.
///
/// The link goes up last, so that nobody sees it half set up.
pub(crate) fn change(index: u32, changes: &Changes) -> io::Result<Vec<Refused>> {
    let mut steps = Vec::new();
    let step = Changes::default;
    steps.extend(changes.mtu.map(|mtu| Changes {
        mtu: Some(mtu),
        ..step()
    }));
    steps.extend(changes.txqueuelen.map(|len| Changes {
        txqueuelen: Some(len),
        ..step()
    }));
    steps.extend(changes.remove.iter().map(|&net| Changes {
        remove: vec![net],
        ..step()
    }));
    steps.extend(changes.add.iter().map(|&net| Changes {
        add: vec![net],
        ..step()
    }));
    steps.extend(changes.up.map(|up| Changes {
        up: Some(up),
        ..step()
    }));
    with_netlink(async |handle: Handle| {
        let mut refused = Vec::new();
        for change in steps {
            if let Err(error) = change_one(&handle, index, &change).await {
                refused.push(Refused {
                    change,
                    error: io_error(error),
                });
            }
        }
        Ok(refused)
    })
}

async fn change_one(handle: &Handle, index: u32, change: &Changes) -> Result<(), rtnetlink::Error> {
    for (address, prefix) in &change.remove {
        let mut addresses = std::pin::pin!(
            handle
                .address()
                .get()
                .set_link_index_filter(index)
                .set_address_filter(*address)
                .set_prefix_length_filter(*prefix)
                .execute()
        );
        if let Some(message) = addresses.try_next().await? {
            handle.address().del(message).execute().await?;
        }
    }
    for (address, prefix) in &change.add {
        let mut request = handle.address().add(index, *address, *prefix);
        if address.is_ipv6() {
            // Nobody else is on the link; an address that is still being probed cannot be used.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await?;
    }
    let mut message: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(index);
    if let Some(mtu) = change.mtu {
        message = message.mtu(mtu);
    }
    if let Some(len) = change.txqueuelen {
        message = message.txqueuelen(len);
    }
    match change.up {
        Some(true) => message = message.up(),
        Some(false) => message = message.down(),
        None => {}
    }
    if change.mtu.is_some() || change.txqueuelen.is_some() || change.up.is_some() {
        handle.link().change(message.build()).execute().await?;
    }
    Ok(())
}

/// Gives a persistent device its settings back when it is dropped: the device and what its owner
/// set belong to the owner, what we set does not.
///
/// A process that has dropped its privileges may not change it back any more. The settings then
/// stay, which is harmless (they are what the next start would set) and is said in the log with
/// the commands that undo it. A device that ustack created needs none of this: the kernel removes
/// it, addresses and all, with its last descriptor.
#[derive(Debug)]
pub(crate) struct Restore {
    is_forgotten: AtomicBool,
    name: String,
    index: u32,
    changes: Changes,
}

impl Restore {
    /// `changes` undoes what was changed of link `index`.
    pub(crate) fn new(name: &str, index: u32, changes: Changes) -> Self {
        Self {
            is_forgotten: AtomicBool::new(false),
            name: name.to_owned(),
            index,
            changes,
        }
    }

    /// Leaves the settings as they are.
    pub(crate) fn forget(&self) {
        self.is_forgotten.store(true, Ordering::Relaxed);
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if self.changes.is_empty() || self.is_forgotten.load(Ordering::Relaxed) {
            return;
        }
        // Somebody may have removed the device, and the number may be another's by now.
        let still_ours = Snapshot::read().is_ok_and(|snapshot| {
            let link = snapshot.link(&self.name);
            link.is_some_and(|link| link.index == self.index)
        });
        if !still_ours {
            return;
        }
        let left = change(self.index, &self.changes).unwrap_or_default();
        for refused in left {
            for command in refused.change.commands(&self.name) {
                tracing::info!(
                    device = self.name,
                    error = %refused.error,
                    "a setting of the persistent device stays; undo it with `{command}`"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::net;
    use super::*;

    #[test]
    fn commands_say_what_netlink_would_do() {
        let changes = Changes {
            mtu: Some(9000),
            txqueuelen: Some(10_000),
            up: Some(true),
            add: vec![net("10.77.0.1/24")],
            remove: vec![],
        };
        assert_eq!(
            changes.commands("us0"),
            [
                "sudo ip address add 10.77.0.1/24 dev us0",
                "sudo ip link set dev us0 mtu 9000 txqueuelen 10000 up",
            ]
        );
    }
}
