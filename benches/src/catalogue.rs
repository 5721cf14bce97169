//! The rows: every workload by name, with the subjects that it is for.

use std::hint::black_box;

use crate::allocator;
use crate::peer::MSS;
use crate::subject::{Core, Host, Recorded, Smoltcp};
use crate::workload::{
    BulkIn, BulkOut, Close, Connect, EventLines, Open, Reordered, RequestResponse,
    RequestsTogether, Workload,
};

/// A workload with its subjects.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Units that one count of instructions or allocations takes.
    pub units: u64,
    /// It cannot go on for ever: each measurement begins with a new subject.
    pub is_fresh: bool,
    /// Who can do it, and how to set that up.
    pub subjects: &'static [(&'static str, Setup)],
}

/// Makes a workload.
pub type Setup = fn() -> Box<dyn Workload>;

/// Units before anything is measured: buffers have their size then, and the congestion window is
/// wide open.
const WARM_UP: u64 = 6_000;

/// Units more before allocations are counted, which costs nothing without valgrind: each of the timer
/// wheel's slots allocates once, and those of eight milliseconds come round in half a second.
const MORE_WARM_UP: u64 = 300_000;

macro_rules! row {
    ($name:literal, $unit:literal, $units:literal, fresh: $fresh:literal,
     $($subject:literal => $workload:expr),+) => {
        Row {
            name: $name,
            unit: $unit,
            units: $units,
            is_fresh: $fresh,
            subjects: &[$(($subject, || Box::new($workload))),+],
        }
    };
}

/// Every row. `tcp` is `ustack_tcp::Tcp` alone, `host` all of ustack from packet to packet,
/// `recorded` the same with the flight recorder.
pub const ROWS: &[Row] = &[
    row!("bulk-in", "segment", 10_000, fresh: false,
        "tcp" => BulkIn::<Core>::single(),
        "host" => BulkIn::<Host>::single(),
        "recorded" => BulkIn::<Recorded>::single(),
        "smoltcp" => BulkIn::<Smoltcp>::single()),
    row!("bulk-in-batch", "segment", 10_000, fresh: false,
        "tcp" => BulkIn::<Core>::batch(16),
        "host" => BulkIn::<Host>::batch(16),
        "recorded" => BulkIn::<Recorded>::batch(16),
        "smoltcp" => BulkIn::<Smoltcp>::batch(16)),
    row!("bulk-in-joined", "segment", 44_000, fresh: false,
        "tcp" => BulkIn::<Core>::joined(44),
        "host" => BulkIn::<Host>::joined(44),
        "recorded" => BulkIn::<Recorded>::joined(44)),
    row!("bulk-out", "segment", 10_000, fresh: false,
        "tcp" => BulkOut::<Core>::single(),
        "host" => BulkOut::<Host>::single(),
        "recorded" => BulkOut::<Recorded>::single(),
        "smoltcp" => BulkOut::<Smoltcp>::single()),
    row!("bulk-out-joined", "segment", 44_000, fresh: false,
        "tcp" => BulkOut::<Core>::joined(),
        "host" => BulkOut::<Host>::joined(),
        "recorded" => BulkOut::<Recorded>::joined()),
    row!("reordered-in", "segment", 4_096, fresh: false,
        "tcp" => Reordered::<Core>::new(),
        "host" => Reordered::<Host>::new(),
        "smoltcp" => Reordered::<Smoltcp>::new()),
    row!("request-response", "round trip", 5_000, fresh: false,
        "tcp" => RequestResponse::<Core>::new(1),
        "host" => RequestResponse::<Host>::new(1),
        "recorded" => RequestResponse::<Recorded>::new(1),
        "smoltcp" => RequestResponse::<Smoltcp>::new(1)),
    row!("request-response-1k", "round trip", 5_000, fresh: false,
        "tcp" => RequestResponse::<Core>::new(1_000),
        "host" => RequestResponse::<Host>::new(1_000),
        "smoltcp" => RequestResponse::<Smoltcp>::new(1_000)),
    row!("request-response-100k", "round trip", 5_000, fresh: false,
        "tcp" => RequestResponse::<Core>::new(100_000),
        "host" => RequestResponse::<Host>::new(100_000)),
    row!("request-response-1m", "round trip", 5_000, fresh: false,
        "tcp" => RequestResponse::<Core>::new(1_000_000),
        "host" => RequestResponse::<Host>::new(1_000_000)),
    row!("requests-16-1k", "round trip", 4_800, fresh: false,
        "tcp" => RequestsTogether::<Core>::new(1_000),
        "host" => RequestsTogether::<Host>::new(1_000)),
    row!("requests-16-1m", "round trip", 4_800, fresh: false,
        "tcp" => RequestsTogether::<Core>::new(1_000_000),
        "host" => RequestsTogether::<Host>::new(1_000_000)),
    row!("connect-fin", "connection", 2_000, fresh: false,
        "tcp" => Connect::<Core>::new(Close::Fin),
        "host" => Connect::<Host>::new(Close::Fin),
        "smoltcp" => Connect::<Smoltcp>::new(Close::Fin)),
    row!("connect-rst", "connection", 2_000, fresh: false,
        "tcp" => Connect::<Core>::new(Close::Rst),
        "host" => Connect::<Host>::new(Close::Rst),
        "recorded" => Connect::<Recorded>::new(Close::Rst),
        "smoltcp" => Connect::<Smoltcp>::new(Close::Rst)),
    row!("open-10k", "connection", 10_000, fresh: true,
        "tcp" => Open::<Core>::new(10_000),
        "host" => Open::<Host>::new(10_000)),
    row!("open-1m", "connection", 1_000_000, fresh: true,
        "tcp" => Open::<Core>::new(1_000_000),
        "host" => Open::<Host>::new(1_000_000)),
    row!("event-lines", "line", 10_000, fresh: false,
        "host" => EventLines::default()),
    row!("checksum-1460", "sum", 10_000, fresh: false,
        "host" => Checksum::ours(MSS as usize),
        "smoltcp" => Checksum::smoltcp(MSS as usize)),
];

/// A workload that is set up and warm.
pub struct Prepared {
    workload: Box<dyn Workload>,
    units: u64,
}

impl Prepared {
    /// The row's units once: where callgrind counts.
    #[inline(never)]
    pub fn run(&mut self) {
        self.workload.run(self.units);
    }

    /// So many units.
    pub fn run_units(&mut self, units: u64) {
        self.workload.run(units);
    }
}

impl Row {
    /// Sets the subject with this name up.
    pub fn prepare(&self, setup: Setup) -> Prepared {
        let mut workload = setup();
        if !self.is_fresh {
            workload.run(WARM_UP);
        }
        Prepared {
            workload,
            units: self.units,
        }
    }
}

/// Allocations per unit, in a program whose allocator counts and has been started.
pub fn allocations(row: &Row, setup: Setup) -> f64 {
    let mut prepared = row.prepare(setup);
    if !row.is_fresh {
        prepared.run_units(MORE_WARM_UP);
    }
    let before = allocator::counts().allocations;
    prepared.run();
    (allocator::counts().allocations - before) as f64 / row.units as f64
}

/// The row with this name, and its subject with that one.
pub fn find(name: &str, subject: &str) -> Option<(&'static Row, Setup)> {
    let row = ROWS.iter().find(|row| row.name == name)?;
    let (_, setup) = row.subjects.iter().find(|(name, _)| *name == subject)?;
    Some((row, *setup))
}

/// The Internet checksum over one buffer.
struct Checksum {
    sum: fn(&[u8]) -> u16,
    bytes: Vec<u8>,
}

impl Checksum {
    fn ours(len: usize) -> Self {
        let sum = |bytes: &[u8]| {
            let mut sum = ustack::checksum::Sum::new();
            sum.add(bytes);
            sum.fold()
        };
        Self::new(sum, len)
    }

    fn smoltcp(len: usize) -> Self {
        Self::new(smoltcp::wire::checksum::data, len)
    }

    fn new(sum: fn(&[u8]) -> u16, len: usize) -> Self {
        let bytes = (0..len).map(|n| n as u8).collect();
        Self { sum, bytes }
    }
}

impl Workload for Checksum {
    fn run(&mut self, units: u64) {
        for _ in 0..units {
            black_box((self.sum)(black_box(&self.bytes)));
        }
    }
}
