//! The screen: a head, the list, the selected connection if it is wanted, a line of keys.

use std::net::SocketAddr;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row as TableRow, Sparkline, Table, Wrap};
use ustack::control::Connection;

use super::super::ss::{details, scaled};
use super::keys::HELP;
use super::model::{Column, Mode, Model, Row};

/// From this width on states and both addresses are written out.
const WIDE: u16 = 110;

/// The least that is shown of an address and its port.
const MIN_END: usize = 8;

/// What cwnd's past may have besides.
const MAX_SPARK: usize = 60;

/// Lines of the graph in a connection's detail.
const GRAPH: u16 = 4;

/// Lines that are never the detail's: head, foot and a little of the list.
const OTHERS: u16 = 6;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let room = frame.area();
    let detail = match model.current().filter(|_| model.detail) {
        Some(row) => detail_height(room, &row.connection),
        None => 0,
    };
    let [head, list, below, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(2),
        Constraint::Length(detail),
        Constraint::Length(1),
    ])
    .areas(room);
    draw_head(frame, head, model);
    draw_list(frame, list, model);
    if detail > 0 {
        draw_detail(frame, below, model);
    }
    draw_foot(frame, foot, model);
    if model.mode == Mode::Confirm
        && let Some(connection) = &model.doomed
    {
        draw_question(frame, room, connection);
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let about = &model.about;
    let width = usize::from(area.width);
    let name = format!("ustack {} · {}", about.version, about.device);
    let paused = if model.paused { "PAUSED · " } else { "" };
    let right = format!("{paused}up {}", uptime(about.uptime));
    let addresses = about.addresses.join(", ");
    let room = width.saturating_sub(name.chars().count() + right.chars().count() + 5);
    let addresses = cut(&addresses, room);
    let gap = room.saturating_sub(addresses.chars().count());
    let first = Line::from(vec![
        Span::from(name).bold(),
        Span::from(format!("   {addresses}{}  ", " ".repeat(gap))),
        Span::from(right),
    ]);
    let shown = match model.rows.len() {
        1 if model.count() == 1 => "1 connection".to_owned(),
        rows if rows == model.count() => format!("{rows} connections"),
        rows => format!("{rows} of {} connections", model.count()),
    };
    let totals = &model.totals;
    let bits = |bytes: f64| scaled(bytes * 8.0);
    let second = format!(
        "{shown} · in {}bit/s · out {}bit/s · retransmitted {}/s of {}/s · dropped {}/s",
        bits(totals.received),
        bits(totals.sent),
        scaled(totals.retransmitted),
        scaled(totals.segments),
        scaled(totals.dropped),
    );
    let second = Line::from(cut(&second, width));
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

/// A column as it is drawn.
struct Drawn {
    column: Column,
    title: &'static str,
    width: usize,
}

/// The columns that there is room for; addresses have as much as those on the screen need, what is
/// left shows more of cwnd's past.
fn columns(width: u16, rows: &[Row]) -> Vec<Drawn> {
    let is_wide = width >= WIDE;
    let size = |wide, narrow| if is_wide { wide } else { narrow };
    let mut all = vec![
        (Column::State, "STATE", size(10, 5)),
        (
            Column::Local,
            if is_wide { "LOCAL" } else { "PORT" },
            size(0, 6),
        ),
        (Column::Peer, "PEER", 0),
        (Column::Received, "IN", 6),
        (Column::Sent, "OUT", 6),
        (Column::Rtt, "RTT ms", size(9, 6)),
        (Column::Cwnd, "CWND", size(14, 11)),
        (Column::Retransmitted, "RETR", size(6, 5)),
        (Column::SendQueue, "SENDQ", size(6, 5)),
    ];
    if is_wide {
        all.push((Column::ReceiveQueue, "RECVQ", 6));
    }
    let fixed: usize = all.iter().map(|(.., width)| width + 1).sum();
    let left = usize::from(width).saturating_sub(fixed.saturating_sub(1));
    let needs = |end: fn(&Connection) -> SocketAddr| {
        let ends = rows
            .iter()
            .map(|row| end(&row.connection).to_string().len());
        ends.max().unwrap_or(0).max(MIN_END)
    };
    let needed = needs(|one| one.remote);
    let local = match needs(|one| one.local) {
        _ if !is_wide => 0,
        local => local.min((left / 2).max(left.saturating_sub(needed))),
    };
    let peer = needed.min(left.saturating_sub(local)).max(MIN_END);
    let spare = left.saturating_sub(local + peer).min(MAX_SPARK);
    let drawn = all.into_iter().map(|(column, title, width)| Drawn {
        column,
        title,
        width: match column {
            Column::Local if is_wide => local.max(MIN_END),
            Column::Peer => peer,
            Column::Cwnd => width + spare,
            _ => width,
        },
    });
    drawn.collect()
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let visible = usize::from(area.height.saturating_sub(1)).max(1);
    model.page = visible as isize;
    model.first = model.first.min(model.cursor);
    if model.cursor >= model.first + visible {
        model.first = model.cursor + 1 - visible;
    }
    let is_wide = area.width >= WIDE;
    let last = model.rows.len().min(model.first + visible);
    let columns = columns(area.width, &model.rows[model.first.min(last)..last]);
    let head = columns.iter().map(|drawn| {
        let is_sorted = drawn.column == model.sort;
        let arrow = match (is_sorted, model.descending) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        let title = cut(&format!("{}{arrow}", drawn.title), drawn.width);
        let cell = Cell::from(aligned(drawn, &title));
        if is_sorted { cell.bold() } else { cell }
    });
    let head = TableRow::new(head).style(Style::new().add_modifier(Modifier::REVERSED));
    let rows = model.rows.iter().enumerate();
    let rows = rows.skip(model.first).take(visible).map(|(index, row)| {
        let cells = columns.iter().map(|drawn| cell(model, row, drawn, is_wide));
        let style = if index == model.cursor {
            Style::new().bg(Color::Blue).fg(Color::White)
        } else {
            Style::new()
        };
        TableRow::new(cells).style(style)
    });
    let widths = columns.iter();
    let widths = widths.map(|drawn| Constraint::Length(drawn.width as u16));
    let table = Table::new(rows, widths).header(head).column_spacing(1);
    frame.render_widget(table, area);
}

fn aligned(drawn: &Drawn, text: &str) -> String {
    let width = drawn.width;
    match drawn.column {
        Column::State | Column::Local | Column::Peer | Column::Cwnd => format!("{text:<width$}"),
        _ => format!("{text:>width$}"),
    }
}

fn cell(model: &Model, row: &Row, drawn: &Drawn, is_wide: bool) -> Cell<'static> {
    let connection = &row.connection;
    let info = &connection.tcp_info;
    let text = match drawn.column {
        Column::State if is_wide => connection.state.clone(),
        Column::State => short_state(&connection.state).to_owned(),
        Column::Local if is_wide => end(&connection.local.to_string(), drawn.width),
        Column::Local => connection.local.port().to_string(),
        Column::Peer => end(&connection.remote.to_string(), drawn.width),
        Column::Received => scaled(row.received * 8.0),
        Column::Sent => scaled(row.sent * 8.0),
        Column::Rtt => info
            .rtt
            .map_or_else(String::new, |rtt| fit_millis(rtt, drawn.width)),
        Column::Cwnd if info.snd_mss == 0 => String::new(),
        Column::Cwnd => {
            let number = scaled(info.snd_cwnd.into());
            let room = drawn.width - 6;
            format!("{number:<5} {}", spark(model.cwnd(&connection.id), room))
        }
        Column::Retransmitted => scaled(info.total_retrans as f64),
        Column::SendQueue => scaled(connection.send_q.into()),
        Column::ReceiveQueue => scaled(connection.recv_q.into()),
    };
    let cell = Cell::from(aligned(drawn, &cut(&text, drawn.width)));
    if drawn.column == Column::Retransmitted && row.retransmitted > 0.0 {
        return cell.style(Style::new().fg(Color::Red));
    }
    cell
}

/// A state in five letters.
fn short_state(state: &str) -> &str {
    match state {
        "SYN-SENT" => "SYN-S",
        "SYN-RECV" => "SYN-R",
        "FIN-WAIT-1" => "FINW1",
        "FIN-WAIT-2" => "FINW2",
        "CLOSE-WAIT" => "CLOSW",
        "CLOSING" => "CLOSG",
        "LAST-ACK" => "LASTA",
        "TIME-WAIT" => "TIMEW",
        "UNCONN" => "CLOSD",
        other => other,
    }
}

/// Milliseconds with as many digits as there is room for.
fn fit_millis(micros: u64, width: usize) -> String {
    let exact = format!("{}.{:03}", micros / 1000, micros % 1000);
    if exact.len() <= width {
        return exact;
    }
    let rounded = format!("{:.1}", micros as f64 / 1000.0);
    if rounded.len() <= width {
        return rounded;
    }
    scaled((micros / 1000) as f64)
}

/// The latest values as a line of blocks, relative to the largest of them.
fn spark(values: impl DoubleEndedIterator<Item = u32>, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut values: Vec<u32> = values.rev().take(width).collect();
    values.reverse();
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let block = |value: u32| {
        let eighth = u64::from(value) * 8 / u64::from(most);
        BLOCKS[(eighth as usize).saturating_sub(1).min(7)]
    };
    values.into_iter().map(block).collect()
}

/// Text of at most `width` characters; what is missing is marked.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
}

/// An address with its port, of at most `width` characters: what is left out is amid the address.
fn end(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let port = text.rfind(':').map_or("", |at| &text[at..]);
    let port = if port.chars().count() + 2 > width {
        ""
    } else {
        port
    };
    let room = width.saturating_sub(port.chars().count());
    cut(&text[..text.len() - port.len()], room) + port
}

/// Nanoseconds as hours, minutes, seconds.
fn uptime(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}", seconds % 60)
}

/// Lines for all words, the graph and a border; none where there is no room for them.
fn detail_height(room: Rect, connection: &Connection) -> u16 {
    let width = usize::from(room.width).saturating_sub(4).max(1);
    // A word more or less on each line.
    let words = details(connection).chars().count().div_ceil(width) + 1;
    let wanted = (words.max(5) as u16).saturating_add(GRAPH + 2);
    let most = room.height.saturating_sub(OTHERS);
    if most < GRAPH + 4 {
        0
    } else {
        wanted.min(most)
    }
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(row) = model.current() else {
        return;
    };
    let connection = &row.connection;
    let Connection { local, remote, .. } = connection;
    let title = cut(
        &format!(" {} {remote} > {local} ", connection.state),
        usize::from(area.width).saturating_sub(4),
    );
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [text, graph] =
        Layout::vertical([Constraint::Min(2), Constraint::Length(GRAPH)]).areas(inner);
    let words = match details(connection) {
        words if words.is_empty() => "No more is known of it in this state.".to_owned(),
        words => words,
    };
    frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), text);
    let [label, graph] =
        Layout::horizontal([Constraint::Length(12), Constraint::Min(1)]).areas(graph);
    let width = usize::from(graph.width);
    let mut values: Vec<u64> = model
        .cwnd(&connection.id)
        .rev()
        .take(width)
        .map(u64::from)
        .collect();
    values.reverse();
    let most = values.iter().max().copied().unwrap_or(0);
    let caption = Paragraph::new(vec![
        Line::from("cwnd"),
        Line::from("segments"),
        Line::from(format!("≤ {most}")),
    ]);
    frame.render_widget(caption, label);
    let bars = Sparkline::default()
        .data(&values)
        .style(Style::new().fg(Color::Green));
    frame.render_widget(bars, graph);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let width = usize::from(area.width);
    if model.mode == Mode::Filter {
        let text = format!("filter: {}▏ (⏎ keep, Esc clear)", model.filter);
        frame.render_widget(Paragraph::new(cut(&text, width)).bold(), area);
        return;
    }
    let mut spans = Vec::new();
    let mut used = 0;
    let key = Style::new().add_modifier(Modifier::REVERSED);
    let pad = if width < WIDE.into() { "" } else { " " };
    for (name, what) in HELP {
        let (name, what) = (format!("{pad}{name}{pad}"), format!(" {what} "));
        used += name.chars().count() + what.chars().count();
        if used > width {
            break;
        }
        spans.push(Span::styled(name, key));
        spans.push(Span::raw(what));
    }
    let said = match (model.filter.as_str(), model.said.as_str()) {
        ("", said) => said.to_owned(),
        (filter, "") => format!("filter: {filter}"),
        (filter, said) => format!("filter: {filter} · {said}"),
    };
    frame.render_widget(Line::from(spans), area);
    if !said.is_empty() {
        let text = format!(" {} ", cut(&said, width.saturating_sub(2)));
        let len = text.chars().count() as u16;
        let place = Rect {
            x: area.right().saturating_sub(len),
            width: len.min(area.width),
            ..area
        };
        frame.render_widget(Clear, place);
        frame.render_widget(Paragraph::new(text).fg(Color::Yellow), place);
    }
}

fn draw_question(frame: &mut Frame<'_>, room: Rect, connection: &Connection) {
    let lines = [
        format!("{} > {}", connection.remote, connection.local),
        String::new(),
        "The peer gets a RST, the application an error.".to_owned(),
        "y: reset it   n: leave it".to_owned(),
    ];
    let longest = lines.iter().map(|line| line.chars().count()).max();
    let width = (longest.unwrap_or(0) as u16 + 4).min(room.width);
    let height = 6.min(room.height);
    let place = Rect {
        x: room.x + (room.width - width) / 2,
        y: room.y + (room.height - height) / 2,
        width,
        height,
    };
    let inner = usize::from(width.saturating_sub(2));
    let lines = lines.iter().map(|line| Line::from(cut(line, inner)));
    let text = Paragraph::new(lines.collect::<Vec<_>>()).alignment(Alignment::Center);
    let block = Block::bordered().title(" Reset this connection? ");
    frame.render_widget(Clear, place);
    frame.render_widget(text.block(block.style(Style::new().fg(Color::Red))), place);
}

#[cfg(test)]
mod tests;
