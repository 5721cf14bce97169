//! Results in rows: what a terminal, a page and a spreadsheet can show.

use crate::recording::{FlowResult, Run, Table, percentile};

/// A column of the table of flows.
struct Column {
    /// What files call it.
    name: &'static str,
    heading: &'static str,
    cell: fn(&Run, &FlowResult) -> String,
}

const COLUMNS: &[Column] = &[
    Column {
        name: "congestion",
        heading: "algorithm",
        cell: |_, flow| flow.algorithm.clone(),
    },
    Column {
        name: "goodput",
        heading: "goodput Mbit/s",
        cell: |_, flow| fixed(flow.goodput, 2),
    },
    Column {
        name: "share",
        heading: "share %",
        cell: |_, flow| fixed(flow.share * 100.0, 1),
    },
    Column {
        name: "jain",
        heading: "Jain",
        cell: |run, _| fixed(run.jain, 3),
    },
    Column {
        name: "utilisation",
        heading: "link %",
        cell: |run, _| fixed(busiest(run, |link| link.utilisation) * 100.0, 1),
    },
    Column {
        name: "queue_delay",
        heading: "queue ms",
        cell: |run, _| fixed(busiest(run, |link| link.queue_delay_mean), 2),
    },
    Column {
        name: "queue_delay_p95",
        heading: "queue p95 ms",
        cell: |run, _| fixed(busiest(run, |link| link.queue_delay_p95), 2),
    },
    Column {
        name: "lost",
        heading: "lost",
        cell: |run, _| {
            run.links
                .iter()
                .map(|link| link.lost)
                .sum::<u64>()
                .to_string()
        },
    },
    Column {
        name: "overflowed",
        heading: "overflowed",
        cell: |run, _| {
            let links = run.links.iter();
            links.map(|link| link.overflowed).sum::<u64>().to_string()
        },
    },
    Column {
        name: "marked",
        heading: "marked",
        cell: |run, _| {
            run.links
                .iter()
                .map(|link| link.marked)
                .sum::<u64>()
                .to_string()
        },
    },
    Column {
        name: "retransmits",
        heading: "sent again",
        cell: |_, flow| flow.retransmits.to_string(),
    },
    Column {
        name: "episodes",
        heading: "episodes",
        cell: |_, flow| flow.episodes.to_string(),
    },
    Column {
        name: "rtos",
        heading: "RTOs",
        cell: |_, flow| flow.rtos.to_string(),
    },
    Column {
        name: "undone",
        heading: "undone",
        cell: |_, flow| flow.undone.to_string(),
    },
    Column {
        name: "srtt",
        heading: "SRTT ms",
        cell: |_, flow| fixed(flow.srtt_mean, 1),
    },
    Column {
        name: "srtt_p95",
        heading: "SRTT p95 ms",
        cell: |_, flow| fixed(flow.srtt_p95, 1),
    },
    Column {
        name: "completed",
        heading: "time s",
        cell: |_, flow| {
            flow.completed
                .map_or_else(|| "-".into(), |time| fixed(time, 3))
        },
    },
    Column {
        name: "messages",
        heading: "messages",
        cell: |_, flow| flow.messages.len().to_string(),
    },
    Column {
        name: "arrived",
        heading: "arrived %",
        cell: |_, flow| {
            let all = flow.messages.len().max(1) as f64;
            fixed(flow.delays().len() as f64 / all * 100.0, 2)
        },
    },
    Column {
        name: "delay_p50",
        heading: "p50 ms",
        cell: |_, flow| delay(flow, 0.50),
    },
    Column {
        name: "delay_p95",
        heading: "p95 ms",
        cell: |_, flow| delay(flow, 0.95),
    },
    Column {
        name: "delay_p99",
        heading: "p99 ms",
        cell: |_, flow| delay(flow, 0.99),
    },
    Column {
        name: "delay_max",
        heading: "max ms",
        cell: |_, flow| delay(flow, 1.0),
    },
    Column {
        name: "late",
        heading: "late",
        cell: |_, flow| flow.late().to_string(),
    },
    Column {
        name: "first_byte",
        heading: "first byte ms",
        cell: |_, flow| {
            flow.first_byte()
                .map_or_else(|| "-".into(), |time| fixed(time, 1))
        },
    },
    Column {
        name: "failure",
        heading: "failure",
        cell: |_, flow| flow.failure.clone().unwrap_or_else(|| "-".into()),
    },
];

/// What the table of flows shows when a file does not say.
const DEFAULT: [&str; 7] = [
    "congestion",
    "goodput",
    "share",
    "utilisation",
    "retransmits",
    "rtos",
    "srtt",
];

/// Names of all columns.
pub fn column_names() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().map(|column| column.name)
}

/// The tables of an experiment: its flows, and the steps of its requests.
pub fn of(runs: &[Run], columns: Option<&[String]>) -> Vec<Table> {
    let mut tables = vec![flows(runs, columns)];
    tables.extend(steps(runs));
    tables
}

fn flows(runs: &[Run], columns: Option<&[String]>) -> Table {
    let wanted: Vec<&str> = match columns {
        Some(columns) => columns.iter().map(String::as_str).collect(),
        None => DEFAULT.to_vec(),
    };
    let columns: Vec<&Column> = wanted
        .iter()
        .filter_map(|name| COLUMNS.iter().find(|column| column.name == *name))
        .collect();
    let mut headings = axes(runs);
    headings.push("flow".into());
    headings.extend(columns.iter().map(|column| column.heading.to_owned()));
    let mut rows = Vec::new();
    for run in runs {
        for flow in &run.flows {
            let mut row: Vec<_> = values(run).collect();
            row.push(flow.name.clone());
            row.extend(columns.iter().map(|column| (column.cell)(run, flow)));
            rows.push(row);
        }
    }
    Table {
        title: "Flows".into(),
        columns: headings,
        rows,
    }
}

fn steps(runs: &[Run]) -> Option<Table> {
    let mut rows = Vec::new();
    for run in runs {
        for flow in &run.flows {
            for step in &flow.steps {
                let mut row: Vec<_> = values(run).collect();
                row.extend([flow.name.clone(), step.label.clone()]);
                let times = [step.start, step.first_byte, step.end];
                row.extend(times.map(|time| fixed(time * 1e3, 1)));
                rows.push(row);
            }
        }
    }
    let mut columns = axes(runs);
    columns.extend(["flow", "step", "begins ms", "first byte ms", "ends ms"].map(String::from));
    (!rows.is_empty()).then(|| Table {
        title: "Steps".into(),
        columns,
        rows,
    })
}

/// The axes of the sweep.
fn axes(runs: &[Run]) -> Vec<String> {
    let params = runs.first().map(|run| run.params.as_slice());
    let params = params.unwrap_or_default().iter();
    params.map(|(name, _)| name.clone()).collect()
}

/// A run's place on them.
fn values(run: &Run) -> impl Iterator<Item = String> + '_ {
    run.params.iter().map(|(_, value)| value.clone())
}

fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

fn delay(flow: &FlowResult, share: f64) -> String {
    fixed(percentile(&flow.delays(), share), 1)
}

/// A value of the link that is used the most.
fn busiest(run: &Run, value: impl Fn(&crate::recording::LinkResult) -> f64) -> f64 {
    let links = run.links.iter();
    let busiest = links.max_by(|a, b| a.utilisation.total_cmp(&b.utilisation));
    busiest.map_or(0.0, value)
}

/// The table for a terminal: numbers to the right, all else to the left.
pub fn to_text(table: &Table) -> String {
    let width = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.get(column));
        let cells = cells.chain(table.columns.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..table.columns.len()).map(width).collect();
    let numeric: Vec<_> = (0..table.columns.len())
        .map(|column| {
            let mut cells = table.rows.iter().filter_map(|row| row.get(column));
            cells.all(|cell| cell == "-" || cell.parse::<f64>().is_ok())
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&table.columns).chain(&table.rows) {
        let cells = row.iter().zip(&widths).zip(&numeric);
        let cells = cells.map(|((cell, &width), numeric)| {
            if *numeric {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let cells = |row: [&str; 2]| row.map(String::from).to_vec();
        let table = Table {
            title: "Flows".into(),
            columns: cells(["flow", "goodput"]),
            rows: vec![cells(["a", "1.25"]), cells(["longer", "100.00"])],
        };
        assert_eq!(
            to_text(&table),
            "flow    goodput\na          1.25\nlonger   100.00\n"
        );
    }

    #[test]
    fn names_of_columns_are_unique_and_defaults_exist() {
        let names: Vec<_> = column_names().collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
        assert!(DEFAULT.iter().all(|name| names.contains(name)));
    }
}
