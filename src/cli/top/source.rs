//! Asks the host again and again, so that the screen never waits for it.

use std::io::{self, ErrorKind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::mpsc::{channel, sync_channel};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use ustack::control::{Client, Connection, Counters, Filter};

/// How long the program may take to end once it is asked to.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is new.
pub(super) enum Update {
    /// The connections and counters, as of now.
    Snapshot(Box<Snapshot>),
    /// A word for the user.
    Said(String),
    /// Somebody asked the program to end (SIGTERM, SIGHUP).
    Asked,
    /// The host does not answer any more.
    Gone(io::Error),
}

/// A host at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Its connections.
    pub(super) connections: Vec<Connection>,
    /// What it has counted.
    pub(super) counters: Counters,
    /// Its time, in nanoseconds.
    pub(super) time: u64,
}

/// The thread that asks.
pub(super) struct Source {
    updates: Receiver<Update>,
    resets: Sender<Connection>,
}

impl Source {
    /// Asks for what `filter` lets through, once per `interval`.
    pub(super) fn start(client: Client, filter: Filter, interval: Duration) -> io::Result<Self> {
        // Two at most: whoever shows them more slowly sees the latest.
        let (to, updates) = sync_channel(2);
        let (resets, from) = channel();
        listen(to.clone())?;
        let thread = std::thread::Builder::new().name("source".to_owned());
        thread.spawn(move || {
            let ended = follow(client, &filter, interval, &to, &from);
            if let Err(error) = ended {
                let _ = to.send(Update::Gone(error)); // or nobody listens any more
            }
        })?;
        Ok(Self { updates, resets })
    }

    /// What is new, if anything is.
    pub(super) fn next(&self) -> Option<Update> {
        self.updates.try_recv().ok()
    }

    /// Has a connection reset.
    pub(super) fn reset(&self, connection: Connection) {
        let _ = self.resets.send(connection); // its end is told by an update
    }
}

fn follow(
    mut client: Client,
    filter: &Filter,
    interval: Duration,
    to: &SyncSender<Update>,
    resets: &Receiver<Connection>,
) -> io::Result<()> {
    loop {
        let due = Instant::now() + interval;
        let (connections, time) = client.connections(filter)?;
        let (counters, _) = client.counters()?;
        let snapshot = Box::new(Snapshot {
            connections,
            counters,
            time,
        });
        if to.send(Update::Snapshot(snapshot)).is_err() {
            return Ok(());
        }
        loop {
            match resets.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(connection) => {
                    let said = reset(&mut client, &connection)?;
                    if to.send(Update::Said(said)).is_err() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

fn reset(client: &mut Client, connection: &Connection) -> io::Result<String> {
    let Connection { local, remote, .. } = connection;
    match client.reset(connection) {
        Ok(()) => Ok(format!("reset {remote} > {local}")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(format!("{remote} > {local} is gone already"))
        }
        Err(error) => Err(error),
    }
}

/// Hears signals, which would leave the terminal as it is. ^C is a key here.
fn listen(to: SyncSender<Update>) -> io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    let (mut terminate, mut hangup) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        let _ = to.try_send(Update::Asked);
        // A terminal that is gone keeps whoever reads it from ever returning.
        std::thread::sleep(PATIENCE);
        ratatui::restore();
        std::process::exit(1);
    })?;
    Ok(())
}
