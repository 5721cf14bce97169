//! The page around tables and figures.

use std::fmt::Write as _;

use crate::{Block, Report, Section, Table, theme};

/// What the figures of one page may take together, in bytes, roughly.
const FIGURE_BYTES: f64 = 12e6;
/// Figures of one page that are drawn; a note stands for the rest.
const MAX_FIGURES: usize = 150;
/// Rows of one table that are shown; a note stands for the rest.
const MAX_ROWS: usize = 2_000;

pub(crate) fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\"/>\n<style>\n{}</style>\n\
         </head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        theme::page()
    );
    paragraphs(&mut html, &report.about);
    if !report.command.is_empty() {
        let _ = writeln!(html, "<pre>{}</pre>", escape(&report.command));
    }
    parameters(&mut html, &report.parameters);
    let mut figures = Figures::of(report);
    for section in &report.sections {
        self::section(&mut html, section, &mut figures);
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// How much of the page's room for figures is taken.
struct Figures {
    drawn: usize,
    column: f64,
}

impl Figures {
    /// Shares the room among all lines, so that a page of many has coarser ones.
    fn of(report: &Report) -> Self {
        let blocks = report.sections.iter().flat_map(|section| &section.blocks);
        let lines = blocks.filter_map(|block| match block {
            Block::Chart(chart) => Some(chart),
            _ => None,
        });
        let lines: usize = lines
            .take(MAX_FIGURES)
            .flat_map(|chart| &chart.panels)
            .map(|panel| panel.lines.len())
            .sum();
        Self {
            drawn: 0,
            column: super::draw::column(lines, FIGURE_BYTES),
        }
    }
}

fn section(html: &mut String, section: &Section, figures: &mut Figures) {
    let title = escape(&section.title);
    if section.collapsed {
        let _ = writeln!(html, "<details>\n<summary>{title}</summary>");
    } else if !title.is_empty() {
        let _ = writeln!(html, "<h2>{title}</h2>");
    }
    for block in &section.blocks {
        match block {
            Block::Text(text) => paragraphs(html, text),
            Block::Table(table) => self::table(html, table),
            Block::Chart(_) | Block::Waterfall(_) => figure(html, block, figures),
        }
    }
    if section.collapsed {
        html.push_str("</details>\n");
    }
}

fn figure(html: &mut String, block: &Block, figures: &mut Figures) {
    figures.drawn += 1;
    if figures.drawn > MAX_FIGURES {
        html.push_str(
            "<p class=\"note\">Not drawn, as the page has many figures already; its values are in \
             the CSV file.</p>\n",
        );
        return;
    }
    let element = match block {
        Block::Chart(chart) => chart.to_element(figures.column),
        Block::Waterfall(waterfall) => waterfall.to_element(),
        Block::Text(_) | Block::Table(_) => return,
    };
    let _ = writeln!(html, "<figure>\n{element}\n</figure>");
}

fn paragraphs(html: &mut String, text: &str) {
    for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let _ = writeln!(html, "<p>{}</p>", escape(paragraph.trim()));
    }
}

fn parameters(html: &mut String, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return;
    }
    html.push_str("<div class=\"scroll\"><table class=\"parameters\">\n");
    for (name, value) in parameters {
        let (name, value) = (escape(name), escape(value));
        let _ = writeln!(html, "<tr><td>{name}</td><td>{value}</td></tr>");
    }
    html.push_str("</table></div>\n");
}

fn table(html: &mut String, table: &Table) {
    html.push_str("<div class=\"scroll\"><table>\n");
    if !table.caption.is_empty() {
        let _ = writeln!(html, "<caption>{}</caption>", escape(&table.caption));
    }
    let classes: Vec<_> = (0..table.columns.len())
        .map(|column| {
            if table.is_numeric(column) {
                " class=\"n\""
            } else {
                ""
            }
        })
        .collect();
    html.push_str("<thead><tr>");
    for (name, class) in table.columns.iter().zip(&classes) {
        let _ = write!(html, "<th{class}>{}</th>", escape(name));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in table.rows.iter().take(MAX_ROWS) {
        html.push_str("<tr>");
        for (column, class) in classes.iter().enumerate() {
            let cell = row.get(column).map(|cell| escape(cell)).unwrap_or_default();
            let _ = write!(html, "<td{class}>{cell}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    if let Some(left_out) = table.rows.len().checked_sub(MAX_ROWS + 1) {
        let _ = writeln!(
            html,
            "<p class=\"note\">{} more rows are in the CSV file.</p>",
            left_out + 1
        );
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
