//! The device `us0` of a test, made by ustack itself.

use std::time::{Duration, Instant};

use ustack::device::tun::{self, DeviceKind, OpenError, Opened, TunOptions};

use super::ip;

/// What most tests open.
pub(crate) fn options(kind: DeviceKind) -> TunOptions {
    TunOptions {
        name: "us0".into(),
        kind,
        host_addresses: vec![
            ("10.77.0.1".parse().unwrap(), 24),
            ("fd77::1".parse().unwrap(), 64),
        ],
        stack_addresses: vec!["10.77.0.2".parse().unwrap(), "fd77::2".parse().unwrap()],
        ..TunOptions::default()
    }
}

/// Opens a device with [`options`].
pub(crate) fn open(kind: DeviceKind) -> Opened {
    tun::open(&options(kind)).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`open`], for a device that was held a moment ago: see [`gone_soon`].
pub(crate) fn open_when_free(kind: DeviceKind) -> Opened {
    let begin = Instant::now();
    loop {
        match tun::open(&options(kind)) {
            Err(OpenError::Busy { .. }) if begin.elapsed() < Duration::from_secs(5) => {}
            result => return result.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

/// The device goes with its last descriptor. A process that another test is just starting holds a
/// copy of ours from its fork to its exec.
pub(crate) fn gone_soon() {
    let begin = Instant::now();
    while ip("-brief link").contains("us0") {
        assert!(begin.elapsed() < Duration::from_secs(5), "the device stays");
    }
}
