//! The status page, as text for terminals and as HTML for browsers.

use std::fmt::Write as _;

use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use ustack_tcp::Summary;

use super::wants;

/// Rows the page shows; a host may have a million connections.
const MAX_ROWS: usize = 100;

const COLUMNS: [&str; 6] = [
    "State",
    "Local",
    "Remote",
    "Received",
    "Sent",
    "Retransmitted",
];

const WHAT: &str = "ustack: a TCP/UDP/IP stack in user space. \
    This page came through it, not through the kernel's.";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
    td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #8884}\
    td:nth-child(n+4),th:nth-child(n+4){text-align:right}:root{color-scheme:light dark}";

/// What there is to ask for, with what it does.
const PATHS: [(&str, &str); 3] = [
    ("GET /bytes/1GiB", "that many bytes, always the same"),
    ("PUT /discard", "length and SHA-256 of what you upload"),
    ("GET /status", "this page"),
];

const PORTS: &str = "Other ports: echo 7 and discard 9 (TCP and UDP), chargen 19 (TCP).";

pub(super) fn status(headers: &HeaderMap, connections: &[Summary]) -> Response {
    // The text depends on who asks and on the moment.
    let caching = [
        (header::VARY, "Accept"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    if wants(headers, "text/html") {
        (caching, Html(html(connections))).into_response()
    } else {
        (caching, text(connections)).into_response()
    }
}

fn text(connections: &[Summary]) -> String {
    let mut page = format!("{WHAT}\n\n");
    for (path, what) in PATHS {
        let _ = writeln!(page, "  {path:<17} {what}");
    }
    let _ = writeln!(page, "\n{PORTS}\n\n{}", heading(connections));
    let (rows, more) = rows(connections);
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut line = |cells: [&str; 6]| {
        let mut text = String::from("  ");
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let _ = match column {
                0..3 => write!(text, "{cell:<width$}  "),
                _ => write!(text, "{cell:>width$}  "),
            };
        }
        page.push_str(text.trim_end());
        page.push('\n');
    };
    if !rows.is_empty() {
        line(COLUMNS);
        for row in &rows {
            line(row.each_ref().map(String::as_str));
        }
    }
    page.push_str(&more);
    page
}

fn html(connections: &[Summary]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ustack</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n\
         <body><h1>ustack</h1>\n<p>{WHAT}</p>\n<ul>\n"
    );
    for (path, what) in PATHS {
        let shown = match path.strip_prefix("GET ") {
            Some(link) => format!("<a href=\"{link}\"><code>{path}</code></a>"),
            None => format!("<code>{path}</code>"),
        };
        let _ = writeln!(page, "<li>{shown} {what}</li>");
    }
    let _ = writeln!(
        page,
        "</ul>\n<p>{PORTS}</p>\n<h2>{}</h2>",
        heading(connections)
    );
    let (rows, more) = rows(connections);
    page.push_str("<table><tr>");
    for name in COLUMNS {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    let _ = writeln!(page, "</table>\n<p>{more}</p></body></html>");
    page
}

fn heading(connections: &[Summary]) -> String {
    match connections.len() {
        1 => "1 live connection".to_owned(),
        count => format!("{count} live connections"),
    }
}

/// Cells of the first rows in a steady order, and a line about the rest. No cell needs escaping:
/// they are numbers, addresses and states.
fn rows(connections: &[Summary]) -> (Vec<[String; 6]>, String) {
    let mut sorted: Vec<&Summary> = connections.iter().collect();
    sorted.sort_by_key(|summary| (summary.flow.local, summary.flow.remote));
    let cells = |summary: &&Summary| {
        [
            format!("{:?}", summary.state),
            summary.flow.local.to_string(),
            summary.flow.remote.to_string(),
            summary.bytes_received.to_string(),
            summary.bytes_acked.to_string(),
            summary.total_retrans.to_string(),
        ]
    };
    let more = match sorted.len().saturating_sub(MAX_ROWS) {
        0 => String::new(),
        more => format!("and {more} more\n"),
    };
    (sorted.iter().take(MAX_ROWS).map(cells).collect(), more)
}
