//! The program's device and addresses, in all combinations that matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::program::Ustack;

/// Which device the program makes and by which of its addresses a test reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The value of `--device`.
    pub(crate) device: &'static str,
    /// The program's default address of one IP version.
    pub(crate) address: IpAddr,
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));

impl Setting {
    /// Both devices, both IP versions.
    pub(crate) const ALL: [Self; 4] = [
        Self::new("offload", V4),
        Self::new("offload", V6),
        Self::new("plain", V4),
        Self::new("plain", V6),
    ];

    const fn new(device: &'static str, address: IpAddr) -> Self {
        Self { device, address }
    }

    /// Starts the program with further arguments.
    pub(crate) fn start(self, arguments: &[&str]) -> Ustack {
        Ustack::start(&[&["--device", self.device], arguments].concat())
    }

    /// One of the program's ports.
    pub(crate) fn port(self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// A URL of its web server.
    pub(crate) fn url(self, path: &str) -> String {
        format!("http://{}{path}", self.port(80))
    }

    /// A test's name with the setting in it.
    pub(crate) fn name(self, test: &str) -> String {
        let version = if self.address.is_ipv4() { 4 } else { 6 };
        format!("{test}::{}::ipv{version}", self.device)
    }

    /// A kernel socket connected to one of the program's UDP ports.
    pub(crate) fn udp_client(self, port: u16) -> UdpSocket {
        let any: SocketAddr = match self.address {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.connect(self.port(port)).expect("a route");
        let patience = Some(Duration::from_secs(5));
        socket.set_read_timeout(patience).expect("a timeout");
        socket
    }
}
