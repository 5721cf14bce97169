//! Everything of a run but its script: device, link, and both stacks' settings, from a seed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ustack::Config;
use ustack::device::ImpairSpec;
use ustack::device::tun::DeviceKind;
use ustack_tcp::{CongestionAlgorithm, EcnMode, Keepalive, LossDetection, Pacing};

use super::{faults, sysctl};
use crate::{End, Random};

/// One run's surroundings.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which end of the script ustack plays; the kernel plays the other.
    pub ustack: End,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// The TUN device.
    pub device: DeviceKind,
    /// Its MTU, in bytes.
    pub mtu: u16,
    /// ustack gets one frame at a time.
    pub one_by_one: bool,
    /// Faults on the way to ustack.
    pub to_ustack: Option<ImpairSpec>,
    /// Faults on the way to the kernel.
    pub to_kernel: Option<ImpairSpec>,
    /// The kernel's switches.
    pub sysctls: Vec<(&'static str, &'static str)>,
    /// Options of the kernel's sockets.
    pub kernel: Vec<KernelOption>,
    /// ustack's settings, by their names.
    pub choices: Vec<&'static str>,
    /// ustack's time in TIME-WAIT.
    pub time_wait: Duration,
    /// Whoever connects sends its first bytes with the SYN, where that may be.
    pub fast_open: bool,
}

/// An option of a kernel socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelOption {
    /// `TCP_NODELAY`.
    Nodelay,
    /// `TCP_QUICKACK`.
    Quickack,
    /// `SO_RCVBUF`, in bytes.
    Rcvbuf(u32),
    /// `SO_SNDBUF`, in bytes.
    Sndbuf(u32),
    /// `TCP_MAXSEG`, in bytes.
    Maxseg(u16),
}

type Choice = (&'static str, fn(&mut Config));

const CHOICES: &[Choice] = &[
    ("reno", |config| {
        config.tcp.congestion = CongestionAlgorithm::Reno;
    }),
    ("bbr", |config| {
        config.tcp.congestion = CongestionAlgorithm::Bbr;
    }),
    ("no-hystart", |config| config.tcp.hystart = false),
    ("pacing-off", |config| config.tcp.pacing = Pacing::Off),
    ("pacing-on", |config| config.tcp.pacing = Pacing::On),
    ("rfc6675", |config| {
        config.tcp.loss_detection = LossDetection::Rfc6675;
    }),
    ("ecn-off", |config| config.tcp.ecn = EcnMode::Off),
    ("ecn-on", |config| config.tcp.ecn = EcnMode::On),
    ("no-timestamps", |config| config.tcp.timestamps = false),
    ("lax-timestamps", |config| {
        config.tcp.timestamps_required = false;
    }),
    ("no-mtu-probing", |config| config.tcp.mtu_probing = false),
    ("quick-acks-16", |config| config.tcp.quick_acks = 16),
    ("no-rfc1337", |config| config.tcp.rfc1337 = false),
    ("backlog-cookies", |config| config.tcp.max_syn_backlog = 0),
    ("rmem-16k", |config| {
        config.tcp.recv_buffer_initial = 16 << 10;
    }),
    ("rmem-max-64k", |config| {
        config.tcp.recv_buffer_initial = 32 << 10;
        config.tcp.recv_buffer_max = 64 << 10;
    }),
    ("wmem-max-32k", |config| {
        config.tcp.send_buffer_initial = 16 << 10;
        config.tcp.send_buffer_max = 32 << 10;
    }),
    ("rcvbuf-2304", |config| {
        config.socket.recv_buffer = Some(2_304);
    }),
    ("rcvbuf-5000", |config| {
        config.socket.recv_buffer = Some(5_000);
    }),
    ("rcvbuf-100000", |config| {
        config.socket.recv_buffer = Some(100_000);
    }),
    ("sndbuf-4608", |config| {
        config.socket.send_buffer = Some(4_608);
    }),
    ("sndbuf-20000", |config| {
        config.socket.send_buffer = Some(20_000);
    }),
    ("nodelay", |config| config.socket.nodelay = true),
    ("quickack", |config| config.socket.quickack = true),
    ("minshall", |config| config.socket.minshall = true),
    ("cork", |config| config.socket.cork = true),
    ("maxseg-100", |config| config.socket.max_segment = Some(100)),
    ("maxseg-536", |config| config.socket.max_segment = Some(536)),
    ("notsent-lowat", |config| {
        config.socket.notsent_lowat = Some(4_096);
    }),
];

impl Setting {
    /// The setting of a seed.
    pub fn draw(seed: u64) -> Self {
        // Apart from the script of the same seed.
        let mut random = Random::new(!seed);
        let v6 = random.chance(40);
        let device = random.pick(&[DeviceKind::Plain, DeviceKind::Offload]);
        let mtu = random.pick(&[1500, 1500, 1500, 1280, 9000, 1492, 65_535, 576]);
        let mtu = if v6 { mtu.max(1280) } else { mtu };
        let mut setting = Self {
            ustack: random.pick(&End::BOTH),
            v6,
            device,
            mtu,
            one_by_one: random.chance(60),
            to_ustack: faults::draw(&mut random.fork(), mtu, v6),
            to_kernel: faults::draw(&mut random.fork(), mtu, v6),
            sysctls: sysctl::draw(&mut random.fork()),
            kernel: kernel_options(&mut random.fork()),
            choices: choices(&mut random.fork()),
            time_wait: Duration::from_millis(random.pick(&[50, 200, 1000])),
            fast_open: random.chance(20),
        };
        setting.leave_out_hopeless();
        setting
    }

    /// Takes out what cannot work, whoever the peer is.
    fn leave_out_hopeless(&mut self) {
        // With SYN cookies, a segment that overtakes the handshake's ACK, or survives it, is
        // answered by a RST (RFC 4987 §3.6).
        if self.to_kernel.is_some() {
            self.sysctls
                .retain(|switch| *switch != ("tcp_syncookies", "2"));
        }
        if self.to_ustack.is_some() {
            self.choices.retain(|choice| *choice != "backlog-cookies");
        }
        // A small buffer that is full of what came out of order closes the window for good before
        // the very segment that is missing, once the kernel may take it back (RFC 9293 §3.8.6).
        let is_small = self.sysctls.iter().any(|(name, _)| *name == "tcp_rmem")
            || self
                .kernel
                .iter()
                .any(|option| matches!(option, KernelOption::Rcvbuf(_)));
        if is_small {
            self.sysctls
                .retain(|(name, _)| *name != "tcp_shrink_window");
        }
    }

    /// The addresses of the kernel and of ustack.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [1, 2].map(|host| {
            if self.v6 {
                Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host).into()
            } else {
                Ipv4Addr::new(10, 77, 0, host as u8).into()
            }
        })
    }

    /// Bits of the network that both are in.
    pub fn prefix(&self) -> u8 {
        if self.v6 { 64 } else { 24 }
    }

    /// Whether packets may get lost.
    pub fn loses(&self) -> bool {
        self.to_ustack.is_some() || self.to_kernel.is_some()
    }

    /// ustack's configuration.
    pub fn config(&self) -> Config {
        let mut config = Config::new().address(self.addresses()[1], self.prefix());
        config.tcp.time_wait = self.time_wait;
        config.socket.keepalive = Some(KEEPALIVE);
        if self.fast_open {
            config.socket.fast_open = Some(16);
        }
        for (name, choose) in CHOICES {
            if self.choices.contains(name) {
                choose(&mut config);
            }
        }
        config
    }
}

/// At both ends: a RST is sent once, and who waits for nothing but data hears of its loss by
/// keep-alive.
pub(super) const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(3),
    interval: Duration::from_secs(1),
    count: 12,
};

fn kernel_options(random: &mut Random) -> Vec<KernelOption> {
    let all = [
        KernelOption::Nodelay,
        KernelOption::Quickack,
        KernelOption::Rcvbuf(random.scaled(1, 200_000) as u32),
        KernelOption::Sndbuf(random.scaled(1, 200_000) as u32),
        KernelOption::Maxseg(random.pick(&[88, 100, 536, 1000, 1400])),
    ];
    all.into_iter().filter(|_| random.chance(15)).collect()
}

fn choices(random: &mut Random) -> Vec<&'static str> {
    let percent = random.pick(&[0, 5, 10, 20]);
    let names = CHOICES.iter().map(|(name, _)| *name);
    names.filter(|_| random.chance(percent)).collect()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.v6 { 6 } else { 4 };
        writeln!(
            f,
            "ustack is {:?}; {} device, MTU {}, IPv{version}{}{}",
            self.ustack,
            self.device,
            self.mtu,
            if self.one_by_one { "" } else { ", in batches" },
            if self.fast_open { ", Fast Open" } else { "" },
        )?;
        for (way, spec) in [("ustack", &self.to_ustack), ("kernel", &self.to_kernel)] {
            if let Some(spec) = spec {
                writeln!(f, "to {way}: {spec}")?;
            }
        }
        write!(f, "ustack: time-wait {:?}", self.time_wait)?;
        self.choices
            .iter()
            .try_for_each(|name| write!(f, " {name}"))?;
        write!(f, "\nkernel:")?;
        self.sysctls.iter().try_for_each(|(name, value)| {
            write!(f, " {}=\"{value}\"", name.trim_start_matches("tcp_"))
        })?;
        self.kernel
            .iter()
            .try_for_each(|option| write!(f, " {option:?}"))?;
        writeln!(f)
    }
}
