//! What the fuzz targets do with an input: one function per target, `&[u8]` in, a panic when
//! something is wrong.
//!
//! The targets themselves (`fuzz/fuzz_targets`) only call them. Here they are part of the main
//! workspace, so that a test replays every committed input and coverage counts what they reach.

mod capture_reader;
mod fragments;
mod grammars;
mod host;
mod icmp;
mod input;
mod ip_input;
mod operations;
mod packet;
mod program;
mod segment;
mod tcp_endpoint;
mod tcp_options;
mod trace;
mod udp;
mod vnet_header;

pub use capture_reader::capture_reader;
pub use fragments::fragments;
pub use grammars::grammars;
pub use icmp::icmp;
pub use ip_input::ip_input;
pub use operations::operations;
pub use tcp_endpoint::tcp_endpoint;
pub use tcp_options::tcp_options;
pub use udp::udp;
pub use vnet_header::vnet_header;

/// A target: its name, which is also that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by name.
pub const TARGETS: [Target; 10] = [
    ("capture_reader", capture_reader),
    ("fragments", fragments),
    ("grammars", grammars),
    ("icmp", icmp),
    ("ip_input", ip_input),
    ("operations", operations),
    ("tcp_endpoint", tcp_endpoint),
    ("tcp_options", tcp_options),
    ("udp", udp),
    ("vnet_header", vnet_header),
];
