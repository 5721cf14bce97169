//! How a host of either kind is set up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Which stack a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// The one under test.
    Ustack,
    /// One by other people.
    Smoltcp,
}

/// Congestion control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// NewReno.
    Reno,
    /// CUBIC.
    #[default]
    Cubic,
    /// BBR; smoltcp then has none.
    Bbr,
}

/// When what is sent is paced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pacing {
    /// Never.
    Off,
    /// In slow start.
    #[default]
    SlowStart,
    /// Always.
    On,
}

/// Explicit congestion notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecn {
    /// Never.
    Off,
    /// When asked for.
    #[default]
    Passive,
    /// Asked for.
    On,
}

/// How a host is set up. smoltcp looks at the first group only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of the device, in bytes of IP packet.
    pub mtu: u16,
    /// Send buffer, in bytes; ustack's is tuned by itself if there is none here.
    pub send_buffer: Option<u32>,
    /// Receive buffer, likewise.
    pub recv_buffer: Option<u32>,
    /// Congestion control.
    pub congestion: Congestion,
    /// Nagle's algorithm.
    pub nagle: bool,
    /// ACKs may wait.
    pub delayed_ack: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: bool,

    /// The device cuts super-segments.
    pub offload: bool,
    /// Connections not yet accepted that a listener holds.
    pub backlog: u16,
    /// The listener accepts nothing before this many milliseconds have passed.
    pub accept_after: u64,
    /// SYN cookies when the backlog is full.
    pub syn_cookies: bool,
    /// Losses are found by time (RFC 8985), or by counting (RFC 6675).
    pub rack: bool,
    /// HyStart++.
    pub hystart: bool,
    /// Pacing.
    pub pacing: Pacing,
    /// Bytes per second at most.
    pub max_pacing_rate: Option<u32>,
    /// ECN.
    pub ecn: Ecn,
    /// Nagle in Minshall's variation.
    pub minshall: bool,
    /// Only full segments leave, for up to 200 ms.
    pub cork: bool,
    /// Segments at the start that are acknowledged at once.
    pub quick_acks: u8,
    /// `TCP_NOTSENT_LOWAT`.
    pub notsent_lowat: Option<u32>,
    /// `TCP_MAXSEG`.
    pub max_segment: Option<u16>,
    /// TIME-WAIT, in seconds.
    pub time_wait: u64,
    /// FIN-WAIT-2 of an orphan, in seconds.
    pub fin_timeout: u64,
    /// RST is ignored in TIME-WAIT.
    pub rfc1337: bool,
    /// RFC 4821.
    pub mtu_probing: bool,
    /// The initial RTO floor, in milliseconds.
    pub rto_min: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mtu: 1500,
            send_buffer: None,
            recv_buffer: None,
            congestion: Congestion::default(),
            nagle: true,
            delayed_ack: true,
            timestamps: true,
            offload: false,
            backlog: 1024,
            accept_after: 0,
            syn_cookies: true,
            rack: true,
            hystart: true,
            pacing: Pacing::default(),
            max_pacing_rate: None,
            ecn: Ecn::default(),
            minshall: false,
            cork: false,
            quick_acks: 0,
            notsent_lowat: None,
            max_segment: None,
            time_wait: 60,
            fin_timeout: 60,
            rfc1337: true,
            mtu_probing: true,
            rto_min: 200,
        }
    }
}

impl Settings {
    /// Settings of a host that uses IPv6 or not.
    pub(crate) fn generate(random: &mut Random, v6: bool) -> Self {
        let mut settings = Self::default();
        // Half of the settings are as they come, so that what differs stands out.
        if random.chance(15) {
            settings.offload = random.chance(50);
            return settings;
        }
        let mtus: &[u16] = if v6 {
            &[1280, 1400, 1500, 1500, 9000, 65_535]
        } else {
            &[168, 296, 576, 1280, 1400, 1500, 1500, 9000, 65_535]
        };
        settings.mtu = random.pick(mtus);
        settings.send_buffer = buffer(random);
        settings.recv_buffer = buffer(random);
        settings.congestion = random.pick(&[Congestion::Reno, Congestion::Cubic, Congestion::Bbr]);
        settings.nagle = random.chance(60);
        settings.delayed_ack = random.chance(80);
        settings.timestamps = random.chance(70);
        settings.offload = random.chance(50);
        Self::generate_more(random, settings)
    }

    /// What smoltcp does not have.
    fn generate_more(random: &mut Random, mut settings: Self) -> Self {
        if random.chance(25) {
            settings.backlog = random.pick(&[1, 2, 5, 16]);
            settings.syn_cookies = random.chance(50);
            settings.accept_after = random.pick(&[0, 0, 100, 3_000, 10_000]);
        }
        settings.rack = random.chance(75);
        settings.hystart = random.chance(75);
        settings.pacing = random.pick(&[
            Pacing::Off,
            Pacing::SlowStart,
            Pacing::SlowStart,
            Pacing::On,
        ]);
        let rate = random.scaled(50_000, 50_000_000) as u32;
        settings.max_pacing_rate = random.chance(10).then_some(rate);
        settings.ecn = random.pick(&[Ecn::Off, Ecn::Passive, Ecn::On]);
        settings.minshall = random.chance(15);
        settings.cork = random.chance(8);
        settings.quick_acks = random.pick(&[0, 0, 0, 4, 16]);
        let lowat = random.scaled(1, 1 << 18) as u32;
        settings.notsent_lowat = random.chance(15).then_some(lowat);
        // Below some 80 bytes no stack follows the peer: its packets would be all headers.
        let segment = random.scaled(100, 9_000) as u16;
        settings.max_segment = random.chance(15).then_some(segment);
        settings.time_wait = random.pick(&[1, 10, 60, 60]);
        settings.fin_timeout = random.pick(&[1, 10, 60, 60]);
        settings.rfc1337 = random.chance(75);
        settings.mtu_probing = random.chance(75);
        settings.rto_min = random.pick(&[200, 200, 200, 1_000, 20]);
        settings
    }

    /// The names of all settings.
    pub(crate) fn keys() -> Vec<String> {
        let all = Self {
            send_buffer: Some(1),
            recv_buffer: Some(1),
            max_pacing_rate: Some(1),
            notsent_lowat: Some(1),
            max_segment: Some(1),
            ..Self::default()
        };
        all.to_table().keys().cloned().collect()
    }

    /// The settings that are not what they are by default.
    pub(crate) fn differences(&self) -> toml::Table {
        let plain = Self::default().to_table();
        let differs = |(key, value): &(String, toml::Value)| plain.get(key) != Some(value);
        self.to_table().into_iter().filter(differs).collect()
    }

    /// These settings, but one as it is by default.
    pub(crate) fn without(&self, key: &str) -> Self {
        let mut table = self.differences();
        table.remove(key);
        table.try_into().expect("settings as they were")
    }

    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("plain values")
    }

    /// How long a connection may keep the host busy after its application has let go of it.
    pub(crate) fn lingers(&self) -> Duration {
        Duration::from_secs(self.time_wait + self.fin_timeout)
    }
}

fn buffer(random: &mut Random) -> Option<u32> {
    random
        .chance(60)
        .then(|| random.scaled(1_000, 1 << 20) as u32)
}
