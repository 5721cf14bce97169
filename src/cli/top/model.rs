//! What is known of the host, and what the user wants to see of it.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};

use ustack::control::{About, Connection};

use super::source::Snapshot;

/// Values of cwnd that are kept of each connection.
const HISTORY: usize = 120;

/// What a connection can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    State,
    Local,
    Peer,
    Received,
    Sent,
    Rtt,
    Cwnd,
    Retransmitted,
    SendQueue,
    ReceiveQueue,
}

impl Column {
    /// As they stand on the screen.
    pub(super) const ALL: [Self; 10] = [
        Self::State,
        Self::Local,
        Self::Peer,
        Self::Received,
        Self::Sent,
        Self::Rtt,
        Self::Cwnd,
        Self::Retransmitted,
        Self::SendQueue,
        Self::ReceiveQueue,
    ];

    /// Whether the largest should come first.
    const fn is_quantity(self) -> bool {
        !matches!(self, Self::State | Self::Local | Self::Peer)
    }
}

/// What keys mean now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They move about in the list.
    List,
    /// They edit the filter.
    Filter,
    /// They answer whether a connection is to be reset.
    Confirm,
}

/// A connection on the screen.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) connection: Connection,
    /// Bytes per second received in order, since the last snapshot.
    pub(super) received: f64,
    /// Bytes per second acknowledged by the peer.
    pub(super) sent: f64,
    /// Segments sent again per second.
    pub(super) retransmitted: f64,
}

/// What earlier snapshots said of a connection.
#[derive(Debug, Default)]
struct Past {
    received: u64,
    acked: u64,
    retransmitted: u64,
    cwnd: VecDeque<u32>,
    seen: u64,
}

/// Rates of the whole host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Bytes per second from the device, and to it.
    pub(super) received: f64,
    pub(super) sent: f64,
    /// Segments sent and sent again per second.
    pub(super) segments: f64,
    pub(super) retransmitted: f64,
    /// Segments and packets dropped per second.
    pub(super) dropped: f64,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) about: About,
    /// What the filter lets through, in order.
    pub(super) rows: Vec<Row>,
    /// All of them.
    all: Vec<Row>,
    past: HashMap<String, Past>,
    pub(super) totals: Totals,
    last: Option<Snapshot>,
    pub(super) sort: Column,
    pub(super) descending: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) detail: bool,
    /// The connection that is selected, by its id, and where it stands.
    selected: Option<String>,
    pub(super) cursor: usize,
    /// The first that is on the screen, and how many are.
    pub(super) first: usize,
    pub(super) page: isize,
    pub(super) said: String,
    /// What a reset is asked for.
    pub(super) doomed: Option<Connection>,
}

impl Model {
    pub(super) fn new(about: About) -> Self {
        Self {
            about,
            rows: Vec::new(),
            all: Vec::new(),
            past: HashMap::new(),
            totals: Totals::default(),
            last: None,
            sort: Column::Sent,
            descending: true,
            filter: String::new(),
            mode: Mode::List,
            paused: false,
            detail: false,
            selected: None,
            cursor: 0,
            first: 0,
            page: 1,
            said: String::new(),
            doomed: None,
        }
    }

    /// How many there are, with what the filter hides.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// A new snapshot; while paused it is not shown.
    pub(super) fn take(&mut self, snapshot: Snapshot) {
        if self.paused {
            return;
        }
        let before = self.last.as_ref();
        let seconds = before.map_or(0.0, |before| {
            snapshot.time.saturating_sub(before.time) as f64 / 1e9
        });
        self.totals =
            before.map_or_else(Totals::default, |before| totals(before, &snapshot, seconds));
        self.about.uptime = snapshot.time;
        let time = snapshot.time;
        let past = &mut self.past;
        let connections = snapshot.connections.iter();
        self.all = connections
            .map(|connection| row(past, connection, seconds, time))
            .collect();
        past.retain(|_, past| past.seen == time);
        self.last = Some(Snapshot {
            connections: Vec::new(),
            ..snapshot
        });
        self.arrange();
    }

    /// Values of cwnd, the latest last.
    pub(super) fn cwnd(&self, id: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
        let past = self.past.get(id);
        past.into_iter().flat_map(|past| past.cwnd.iter().copied())
    }

    /// Filters and sorts anew; the selection stays with its connection.
    pub(super) fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let matches = |row: &&Row| {
            let Connection {
                state,
                local,
                remote,
                congestion,
                ..
            } = &row.connection;
            let text = format!("{state} {local} {remote} {congestion}").to_lowercase();
            wanted.split_whitespace().all(|word| text.contains(word))
        };
        self.rows = self.all.iter().filter(matches).cloned().collect();
        let (sort, descending) = (self.sort, self.descending);
        self.rows.sort_by(|one, other| {
            let order = compare(sort, one, other);
            let order = if descending { order.reverse() } else { order };
            let ends = |row: &Row| (row.connection.local, row.connection.remote);
            order.then_with(|| ends(one).cmp(&ends(other)))
        });
        let place = self.selected.as_ref().and_then(|id| {
            let mut rows = self.rows.iter();
            rows.position(|row| row.connection.id == *id)
        });
        self.cursor = place.unwrap_or(self.cursor.min(self.rows.len().saturating_sub(1)));
        self.note_selected();
    }

    /// Moves the selection.
    pub(super) fn move_by(&mut self, steps: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(steps).min(last);
        self.note_selected();
    }

    fn note_selected(&mut self) {
        self.selected = self.current().map(|row| row.connection.id.clone());
    }

    /// The selected connection.
    pub(super) fn current(&self) -> Option<&Row> {
        self.rows.get(self.cursor)
    }

    /// Sorts by another column.
    pub(super) fn sort_by_next(&mut self, steps: isize) {
        let count = Column::ALL.len() as isize;
        let mut columns = Column::ALL.iter();
        let at = columns.position(|column| *column == self.sort);
        let next = (at.unwrap_or(0) as isize + steps).rem_euclid(count);
        self.sort = Column::ALL[next as usize];
        self.descending = self.sort.is_quantity();
        self.arrange();
    }

    /// Turns the order round.
    pub(super) fn reverse(&mut self) {
        self.descending = !self.descending;
        self.arrange();
    }

    /// Holds the picture, or lets it go on.
    pub(super) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    /// Asks whether the selected connection is to be reset.
    pub(super) fn ask_for_reset(&mut self) {
        self.doomed = self.current().map(|row| row.connection.clone());
        if self.doomed.is_some() {
            self.mode = Mode::Confirm;
        }
    }

    /// The user said yes.
    pub(super) fn confirmed(&mut self) -> Option<Connection> {
        self.mode = Mode::List;
        self.doomed.take()
    }

    /// Shows a word until the next one.
    pub(super) fn say(&mut self, text: String) {
        self.said = text;
    }
}

fn row(past: &mut HashMap<String, Past>, connection: &Connection, seconds: f64, time: u64) -> Row {
    let info = &connection.tcp_info;
    let is_known = past.contains_key(&connection.id);
    let past = past.entry(connection.id.clone()).or_default();
    let rate = |now: u64, before: u64| {
        if is_known && seconds > 0.0 {
            now.saturating_sub(before) as f64 / seconds
        } else {
            0.0
        }
    };
    let row = Row {
        connection: connection.clone(),
        received: rate(info.bytes_received, past.received),
        sent: rate(info.bytes_acked, past.acked),
        retransmitted: rate(info.total_retrans, past.retransmitted),
    };
    past.received = info.bytes_received;
    past.acked = info.bytes_acked;
    past.retransmitted = info.total_retrans;
    past.seen = time;
    if past.cwnd.len() == HISTORY {
        past.cwnd.pop_front();
    }
    past.cwnd.push_back(info.snd_cwnd);
    row
}

fn totals(before: &Snapshot, now: &Snapshot, seconds: f64) -> Totals {
    let value = |snapshot: &Snapshot, group: &str, name: &str| {
        let group = snapshot.counters.get(group);
        group
            .and_then(|group| group.get(name))
            .copied()
            .unwrap_or(0)
    };
    let rate = |group: &str, name: &str| {
        let grown = value(now, group, name).saturating_sub(value(before, group, name));
        if seconds > 0.0 {
            grown as f64 / seconds
        } else {
            0.0
        }
    };
    Totals {
        received: rate("device", "rx_bytes"),
        sent: rate("device", "tx_bytes"),
        segments: rate("Tcp", "OutSegs"),
        retransmitted: rate("Tcp", "RetransSegs"),
        dropped: rate("tcp", "dropped"),
    }
}

fn compare(by: Column, one: &Row, other: &Row) -> Ordering {
    let (a, b) = (&one.connection, &other.connection);
    match by {
        Column::State => a.tcp_info.state.cmp(&b.tcp_info.state),
        Column::Local => a.local.cmp(&b.local),
        Column::Peer => a.remote.cmp(&b.remote),
        Column::Received => one.received.total_cmp(&other.received),
        Column::Sent => one.sent.total_cmp(&other.sent),
        Column::Rtt => a.tcp_info.rtt.cmp(&b.tcp_info.rtt),
        Column::Cwnd => a.tcp_info.snd_cwnd.cmp(&b.tcp_info.snd_cwnd),
        Column::Retransmitted => a.tcp_info.total_retrans.cmp(&b.tcp_info.total_retrans),
        Column::SendQueue => a.send_q.cmp(&b.send_q),
        Column::ReceiveQueue => a.recv_q.cmp(&b.recv_q),
    }
}
