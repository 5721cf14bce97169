//! Recordings as CSV (RFC 4180): one file a table, one for all series, one for all events, one for
//! all messages.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::recording::{Recording, Run};

/// Writes the files of `recording` into `directory`, which is made if need be; returns them.
pub fn write(directory: &Path, recording: &Recording) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let mut files = Vec::new();
    let mut save = |name: &str, text: String| {
        let path = directory.join(format!("{}-{name}.csv", recording.name));
        fs::write(&path, text)?;
        files.push(path);
        io::Result::Ok(())
    };
    for table in &recording.tables {
        let mut text = line(&table.columns);
        table.rows.iter().for_each(|row| text.push_str(&line(row)));
        save(&table.title.to_lowercase(), text)?;
    }
    save("links", links(recording))?;
    save("series", series(recording))?;
    save("events", events(recording))?;
    if recording
        .runs
        .iter()
        .any(|run| run.flows.iter().any(|flow| !flow.messages.is_empty()))
    {
        save("messages", messages(recording))?;
    }
    Ok(files)
}

fn links(recording: &Recording) -> String {
    let mut text = head(
        recording,
        "link,utilisation,packets,bytes,lost,overflowed,marked,queue_delay_mean_ms,queue_delay_p95_ms,queue_delay_max_ms",
    );
    for run in &recording.runs {
        for link in &run.links {
            let _ = writeln!(
                text,
                "{}{},{},{},{},{},{},{},{},{},{}",
                params(run),
                field(&link.name),
                link.utilisation,
                link.packets,
                link.bytes,
                link.lost,
                link.overflowed,
                link.marked,
                link.queue_delay_mean,
                link.queue_delay_p95,
                link.queue_delay_max
            );
        }
    }
    text
}

fn series(recording: &Recording) -> String {
    let mut text = head(recording, "subject,quantity,unit,seconds,value");
    for run in &recording.runs {
        let params = params(run);
        for series in &run.series {
            let (subject, name, unit) = (field(&series.subject), &series.name, series.unit);
            for (at, value) in &series.points {
                let _ = writeln!(text, "{params}{subject},{name},{unit},{at},{value}");
            }
        }
    }
    text
}

fn events(recording: &Recording) -> String {
    let mut text = head(recording, "seconds,subject,event");
    for run in &recording.runs {
        let params = params(run);
        for event in &run.events {
            let (subject, what) = (field(&event.flow), field(&event.what));
            let _ = writeln!(text, "{params}{},{subject},{what}", event.at);
        }
    }
    text
}

fn messages(recording: &Recording) -> String {
    let mut text = head(recording, "flow,number,sent,received");
    for run in &recording.runs {
        let params = params(run);
        for flow in &run.flows {
            let name = field(&flow.name);
            for (number, message) in flow.messages.iter().enumerate() {
                let received = message
                    .received
                    .map_or_else(String::new, |at| at.to_string());
                let _ = writeln!(text, "{params}{name},{number},{},{received}", message.sent);
            }
        }
    }
    text
}

/// The heading: the axes of the sweep, then `columns`.
fn head(recording: &Recording, columns: &str) -> String {
    let params = recording.runs.first().map(|run| run.params.as_slice());
    let axes = params.unwrap_or_default().iter();
    let axes: String = axes.map(|(name, _)| field(name) + ",").collect();
    format!("{axes}{columns}\n")
}

fn params(run: &Run) -> String {
    run.params
        .iter()
        .map(|(_, value)| field(value) + ",")
        .collect()
}

fn line(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| field(cell)).collect();
    cells.join(",") + "\n"
}

/// A field, quoted where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("plain"), "plain");
        assert_eq!(field("a,b"), "\"a,b\"");
        assert_eq!(field("say \"x\""), "\"say \"\"x\"\"\"");
    }
}
