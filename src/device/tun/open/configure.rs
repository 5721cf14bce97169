//! The settings of the link.

use std::io;

use rustix::io::Errno;

use super::{OpenError, TunOptions, system};
use crate::device::link::{self, Changes, Link, Net};

const DEFAULT_MTU: u32 = 1500;

/// Sets the link up; returns what undoes it, and warnings.
pub(super) fn configure(
    options: &TunOptions,
    link: &Link,
    attached: bool,
) -> Result<(Changes, Vec<String>), OpenError> {
    let wanted_mtu = options.mtu.or((!attached).then_some(DEFAULT_MTU));
    let changes = Changes {
        mtu: wanted_mtu.filter(|&mtu| mtu != link.mtu),
        txqueuelen: Some(options.txqueuelen).filter(|&len| len > link.txqueuelen),
        up: (!link.up).then_some(true),
        add: missing(&options.host_addresses, &link.addresses),
        remove: Vec::new(),
    };
    if changes.is_empty() {
        return Ok((changes, Vec::new()));
    }
    let mut undo = Changes {
        mtu: changes.mtu.map(|_| link.mtu),
        txqueuelen: changes.txqueuelen.map(|_| link.txqueuelen),
        up: changes.up.map(|_| false),
        add: Vec::new(),
        remove: changes.add.clone(),
    };
    let mut fatal = Changes::default();
    let mut warnings = Vec::new();
    let refused = link::change(link.index, &changes).map_err(system("setting the device up"))?;
    for link::Refused { change, error } in refused {
        undo.mtu = undo.mtu.filter(|_| change.mtu.is_none());
        undo.txqueuelen = undo.txqueuelen.filter(|_| change.txqueuelen.is_none());
        undo.up = undo.up.filter(|_| change.up.is_none());
        undo.remove.retain(|net| !change.add.contains(net));
        match judge(link, &change, &error) {
            Verdict::Warning(text) => warnings.push(text),
            Verdict::OnlyRoot => {
                fatal.mtu = fatal.mtu.or(change.mtu);
                fatal.up = fatal.up.or(change.up);
                fatal.add.extend(change.add);
            }
            Verdict::Error => {
                let commands = change.commands(&link.name).join(" && ");
                let what = format!("setting {} up (`{commands}`)", link.name);
                return Err(system(&what)(error));
            }
        }
    }
    // Some of the addresses are enough to work with.
    let present = |net: &Net| options.host_addresses.contains(net);
    if link.addresses.iter().any(present) && !fatal.add.is_empty() {
        let partial = Changes {
            add: std::mem::take(&mut fatal.add),
            ..Changes::default()
        };
        warnings.push(format!(
            "an address is missing, which only root can add: `{}`",
            partial.commands(&link.name).join(" && ")
        ));
    }
    if !fatal.is_empty() {
        return Err(not_configured(link, &fatal));
    }
    Ok((undo, warnings))
}

/// What a refused change means.
enum Verdict {
    Warning(String),
    OnlyRoot,
    Error,
}

fn judge(link: &Link, change: &Changes, error: &io::Error) -> Verdict {
    let privilege = Errno::from_io_error(error) == Some(Errno::PERM);
    let v6 = change.add.iter().any(|(address, _)| address.is_ipv6());
    if change.txqueuelen.is_some() {
        return Verdict::Warning(format!(
            "only {} frames may wait in the kernel, which drops silently beyond ({error}); \
             mend it with `{}`",
            link.txqueuelen,
            change.commands(&link.name).join(" && "),
        ));
    }
    if v6 && !privilege {
        return Verdict::Warning(format!(
            "IPv6 is off on this host ({error}); turn it on with \
             `sudo sysctl net.ipv6.conf.{}.disable_ipv6=0`, or use IPv4 only",
            link.name,
        ));
    }
    if privilege {
        Verdict::OnlyRoot
    } else {
        Verdict::Error
    }
}

fn not_configured(link: &Link, fatal: &Changes) -> OpenError {
    let mut missing = Vec::new();
    if fatal.up.is_some() {
        missing.push(String::from("its link is down"));
    }
    if let Some(mtu) = fatal.mtu {
        missing.push(format!("its MTU is {}, not {mtu}", link.mtu));
    }
    for (address, prefix) in &fatal.add {
        missing.push(format!("it lacks the address {address}/{prefix}"));
    }
    OpenError::NotConfigured {
        name: link.name.clone(),
        missing: missing.join(", "),
        commands: fatal.commands(&link.name).join("\n"),
    }
}

fn missing(wanted: &[Net], present: &[Net]) -> Vec<Net> {
    let missing = wanted.iter().filter(|net| !present.contains(net));
    missing.copied().collect()
}

pub(super) fn mtu(options: &TunOptions, link: &Link, attached: bool) -> u16 {
    let mtu = match options.mtu {
        Some(mtu) => mtu,
        None if attached => link.mtu,
        None => DEFAULT_MTU,
    };
    mtu.min(u32::from(u16::MAX)) as u16
}

pub(super) fn final_txqueuelen(options: &TunOptions, link: &Link, warnings: &[String]) -> u32 {
    let refused = warnings
        .iter()
        .any(|warning| warning.contains("txqueuelen"));
    if refused {
        link.txqueuelen
    } else {
        link.txqueuelen.max(options.txqueuelen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_root_can_set_is_named_with_its_commands() {
        let link = Link {
            name: "us0".into(),
            mtu: 1500,
            ..Link::default()
        };
        let fatal = Changes {
            mtu: Some(9000),
            up: Some(true),
            add: vec![("10.77.0.1".parse().unwrap(), 24)],
            ..Changes::default()
        };
        let text = not_configured(&link, &fatal).to_string();
        for part in [
            "its link is down",
            "its MTU is 1500, not 9000",
            "lacks the address 10.77.0.1/24",
            "sudo ip address add 10.77.0.1/24 dev us0\nsudo ip link set dev us0 mtu 9000 up",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
