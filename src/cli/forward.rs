//! `--forward`: the settings of the forwarder, fitted to the process.

use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ustack::service::forward::{ForwardConfig, Rules};

use super::address::Prefix;
use super::settings::Settings;

/// What a forwarder gets; lifts this process's limit of open files for it.
pub(crate) fn config(settings: &Settings) -> ForwardConfig {
    let mut config = ForwardConfig::new(rules(settings));
    config.resolver = settings.resolver;
    // A connection takes one descriptor, and so does a mapping of either IP version; the rest is
    // for files, listeners and the runtime.
    let limit = raise_open_files();
    config.max_connections = config.max_connections.min(limit / 2);
    config.max_mappings = config.max_mappings.min(limit / 8);
    config
}

/// Which destinations `--forward` reaches.
pub(crate) fn rules(settings: &Settings) -> Rules {
    let nets = |prefixes: &[Prefix]| {
        let net = |prefix: &Prefix| IpNet::new(prefix.addr, prefix.len).ok();
        prefixes.iter().filter_map(net).collect()
    };
    Rules::new(
        nets(&settings.forward_allow),
        nets(&settings.host_addresses),
    )
}

/// Lifts the limit of open files to what the system allows, and returns it.
fn raise_open_files() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // What was granted before will have to do.
    let _ = setrlimit(Resource::Nofile, raised);
    let granted = getrlimit(Resource::Nofile).current;
    granted.map_or(1 << 20, |limit| usize::try_from(limit).unwrap_or(1 << 20))
}
