//! The event log: a line of JSON for each record, written by a thread of its own.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::{Events, NoteList, json};
use ustack_tcp::observe::Records;

/// What stands in the first line, and how much may wait to be written.
#[derive(Clone, Debug)]
pub struct EventLogOptions {
    /// Shards of the stack.
    pub shards: usize,
    /// Wall-clock time of the stack's [`Instant::ZERO`](ustack_tcp::time::Instant::ZERO).
    pub epoch: SystemTime,
    /// The command line, or what stands for it.
    pub command: String,
    /// The faults of either direction, with their seeds.
    pub impairment: [Option<String>; 2],
    /// Events that may wait to be written; what comes beyond is dropped and counted.
    pub queue: usize,
}

impl Default for EventLogOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            epoch: SystemTime::now(),
            command: String::new(),
            impairment: [None, None],
            queue: 65_536,
        }
    }
}

/// How a log goes.
#[derive(Debug, Default)]
pub struct EventLogCounters {
    /// Events written.
    pub written: AtomicU64,
    /// Events not written: the thread was behind, or the file could not be written.
    pub dropped: AtomicU64,
}

/// Writes events to a file as `docs/events.md` says. The stack never waits for it; a line in the
/// log says how many events are missing where.
#[derive(Debug)]
pub struct EventLog {
    /// `None` only while dropping.
    queue: Option<Sender<Batch>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    limit: usize,
    /// Events of each shard that were dropped since the last that were not.
    missing: Vec<AtomicU64>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Events that wait to be written.
    waiting: AtomicUsize,
    counters: Arc<EventLogCounters>,
}

/// Events of half a turn.
#[derive(Debug)]
struct Batch {
    shard: usize,
    records: Records,
    /// How many are missing before these.
    missing: u64,
}

impl EventLog {
    /// Writes to `file`, the first line at once, so that a file that cannot be written is found
    /// here.
    pub fn new(
        mut file: impl Write + Send + 'static,
        options: &EventLogOptions,
    ) -> io::Result<Self> {
        file.write_all(first_line(options).as_bytes())?;
        file.flush()?;
        let shared = Arc::<Shared>::default();
        let (queue, batches) = bounded(options.queue.max(1));
        let sink = Sink {
            file,
            shared: Arc::clone(&shared),
            text: String::new(),
            lines: json::Lines::default(),
            failed: false,
        };
        let writer = std::thread::Builder::new()
            .name("events".into())
            .spawn(move || sink.run(&batches))?;
        Ok(Self {
            queue: Some(queue),
            writer: Mutex::new(Some(writer)),
            shared,
            limit: options.queue,
            missing: (0..options.shards).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// How the log goes.
    pub fn counters(&self) -> Arc<EventLogCounters> {
        Arc::clone(&self.shared.counters)
    }
}

impl Events for EventLog {
    fn on_notes(&self, shard: usize, notes: &NoteList, dropped: u64) {
        let Some(missing) = self.missing.get(shard) else {
            return;
        };
        if dropped > 0 {
            self.shared
                .counters
                .dropped
                .fetch_add(dropped, Ordering::Relaxed);
            missing.fetch_add(dropped, Ordering::Relaxed);
        }
        let count = notes.records().len();
        if count == 0 {
            return;
        }
        let waiting = self.shared.waiting.fetch_add(count, Ordering::Relaxed);
        let batch = || Batch {
            shard,
            records: notes.records().clone(),
            missing: missing.swap(0, Ordering::Relaxed),
        };
        let refused = match &self.queue {
            Some(queue) if waiting + count <= self.limit => queue
                .try_send(batch())
                .map_err(|full| full.into_inner().missing),
            _ => Err(0),
        };
        if let Err(earlier) = refused {
            self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
            self.shared
                .counters
                .dropped
                .fetch_add(count as u64, Ordering::Relaxed);
            missing.fetch_add(earlier + count as u64, Ordering::Relaxed);
        }
    }
}

/// Writes what is still waiting, and how many of the last events are missing.
impl Drop for EventLog {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            for (shard, missing) in self.missing.iter().enumerate() {
                let missing = missing.load(Ordering::Relaxed);
                if missing > 0 {
                    // A writer that is gone has said why.
                    let _ = queue.send(Batch {
                        shard,
                        records: Records::default(),
                        missing,
                    });
                }
            }
        }
        if let Some(writer) = self.writer.lock().take() {
            // A writer that panicked has nothing more to tell.
            let _ = writer.join();
        }
    }
}

fn first_line(options: &EventLogOptions) -> String {
    let since_1970 = options.epoch.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut line = String::new();
    let _ = write!(
        line,
        r#"{{"event":"start","schema":{},"version":"{}","epoch_ns":{},"shards":{},"command":"#,
        json::SCHEMA,
        env!("CARGO_PKG_VERSION"),
        since_1970.as_nanos(),
        options.shards,
    );
    json::string(&options.command, &mut line);
    for (name, faults) in ["impair_in", "impair_out"].iter().zip(&options.impairment) {
        let _ = write!(line, r#","{name}":"#);
        match faults {
            Some(faults) => json::string(faults, &mut line),
            None => line.push_str("null"),
        }
    }
    line.push_str("}\n");
    line
}

/// What is taken off the writing thread's priority.
const NICE: i32 = 19;

/// Text is written at the latest when this much has been collected.
const BUFFER: usize = 256 << 10;

/// The writing thread's state.
struct Sink<W> {
    file: W,
    shared: Arc<Shared>,
    text: String,
    lines: json::Lines,
    /// The file failed; nothing more is written, everything is counted as dropped.
    failed: bool,
}

impl<W: Write> Sink<W> {
    fn run(mut self, batches: &Receiver<Batch>) {
        // The stack goes first, where there are not cores for both.
        let _ = rustix::process::nice(NICE);
        while let Ok(batch) = batches.recv() {
            let mut events = self.format(&batch);
            while self.text.len() < BUFFER
                && let Ok(batch) = batches.try_recv()
            {
                events += self.format(&batch);
            }
            self.write_out(events);
        }
    }

    /// Returns how many events that were.
    fn format(&mut self, batch: &Batch) -> u64 {
        if batch.missing > 0 {
            let at = batch.records.iter().next();
            let at = at.map_or(0, |record| record.at.as_nanos());
            json::write_dropped(batch.shard, at, batch.missing, &mut self.text);
        }
        for record in batch.records.iter() {
            self.lines.write(batch.shard, &record, &mut self.text);
        }
        let events = batch.records.len();
        self.shared.waiting.fetch_sub(events, Ordering::Relaxed);
        events as u64
    }

    fn write_out(&mut self, events: u64) {
        if !self.failed {
            let written = self.file.write_all(self.text.as_bytes());
            if let Err(error) = written.and_then(|()| self.file.flush()) {
                self.failed = true;
                tracing::error!(
                    %error,
                    "the event log cannot be written any more; free some space and start again"
                );
            }
        }
        self.text.clear();
        let counters = &self.shared.counters;
        let counter = if self.failed {
            &counters.dropped
        } else {
            &counters.written
        };
        counter.fetch_add(events, Ordering::Relaxed);
    }
}
