//! `ustack plot`: recorded connections as pages, one each.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plot::page::Window;
use plot::{Log, ReadError, Trace};

use super::args::PlotArgs;
use super::error::{Error, ExitStatus, reason};

/// Draws what the arguments choose, and lists the files.
pub(crate) fn main(args: &PlotArgs) -> Result<ExitCode, Error> {
    let log = read(args)?;
    let chosen = choose(args, &log)?;
    fs::create_dir_all(&args.out).map_err(|error| {
        let out = args.out.display();
        let message = format!("cannot make the directory {out}: {}", reason(&error));
        Error::new(ExitStatus::File, message).hint("Say where the pages may go: --out DIR")
    })?;
    let mut text = notes(args, &log, chosen.len());
    for (number, trace) in chosen {
        for file in draw(args, number, trace)? {
            let _ = writeln!(text, "{}", file.display());
        }
    }
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `ustack plot FILE | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(
            ExitStatus::Other,
            format!("cannot print the list of files: {}", reason(&error)),
        )),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn read(args: &PlotArgs) -> Result<Log, Error> {
    let path = args.file.display();
    let unreadable = |error: &io::Error| {
        let message = format!("cannot read {path}: {}", reason(error));
        Error::new(ExitStatus::File, message)
    };
    let file = File::open(&args.file).map_err(|error| unreadable(&error))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let wanted = |local, remote| args.wants(local, remote);
    let beginning = file.fill_buf().map_err(|error| unreadable(&error))?;
    let log = if beginning.starts_with(&plot::annotated::MAGIC) {
        plot::annotated::read(file, wanted)
    } else {
        plot::events::read(&mut file, wanted)
    };
    log.map_err(|error| match error {
        ReadError::Io(error) => unreadable(&error),
        error => Error::new(ExitStatus::Usage, format!("cannot draw {path}: {error}"))
            .hint("Record with `ustack --events FILE`, or with `ustack --capture FILE --annotate`"),
    })
}

impl PlotArgs {
    fn wants(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let ends = [local, remote];
        self.port
            .is_none_or(|port| ends.iter().any(|end| end.port() == port))
            && self
                .host
                .is_none_or(|host| ends.iter().any(|end| end.ip() == host))
    }

    /// The part of time to draw of a trace; `None` for all of it.
    fn part(&self, trace: &Trace) -> Option<Window> {
        let (from, to) = trace.span();
        (self.from.is_some() || self.to.is_some()).then(|| Window {
            from: self.from.unwrap_or(from),
            to: self.to.unwrap_or(to),
        })
    }

    /// Whether something of a trace lies in the part of time.
    fn reaches(&self, trace: &Trace) -> bool {
        let (begun, ended) = trace.span();
        self.from.is_none_or(|from| from < ended) && self.to.is_none_or(|to| to > begun)
    }
}

/// The connections to draw, with their numbers.
fn choose<'a>(args: &PlotArgs, log: &'a Log) -> Result<Vec<(usize, &'a Trace)>, Error> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        let message = format!("--from {from} lies not before --to {to}");
        return Err(Error::new(ExitStatus::Usage, message));
    }
    let numbered = (1..).zip(&log.traces);
    let mut chosen: Vec<_> = numbered
        .filter(|&(number, _)| args.conversation.is_none_or(|chosen| chosen == number))
        .filter(|(_, trace)| args.reaches(trace))
        .collect();
    if chosen.is_empty() {
        let path = args.file.display();
        let count = log.traces.len();
        let message = match count {
            0 => format!("{path} has no TCP connection that is asked for"),
            _ => format!("none of the {count} connections of {path} is what is asked for"),
        };
        let hint = "Leave out --conversation, --port, --host, --from and --to to see what there is";
        return Err(Error::new(ExitStatus::Usage, message).hint(hint));
    }
    chosen.sort_by_key(|(number, trace)| (std::cmp::Reverse(carried(trace)), *number));
    chosen.truncate(args.most.max(1));
    chosen.sort_by_key(|(number, _)| *number);
    Ok(chosen)
}

fn carried(trace: &Trace) -> u64 {
    let segments = trace.sent.iter().chain(&trace.received);
    segments.map(|segment| u64::from(segment.len)).sum()
}

/// What is not in the pages.
fn notes(args: &PlotArgs, log: &Log, drawn: usize) -> String {
    let mut notes = String::new();
    let mut note = |text: String| notes = format!("{notes}note: {text}\n");
    if log.missing > 0 {
        note(format!(
            "{} events are not in it: its writer was behind",
            log.missing
        ));
    }
    if log.left_out > 0 {
        note(format!(
            "{} connections more were too many to be kept; choose with --port or --host",
            log.left_out
        ));
    }
    if log.is_cut {
        note("its end is missing: it was cut, or is being written".to_owned());
    }
    if args.conversation.is_none() && drawn == args.most && log.traces.len() > drawn {
        note(format!(
            "the {drawn} of {} connections that carried most; --most for more",
            log.traces.len()
        ));
    }
    notes
}

fn draw(args: &PlotArgs, number: usize, trace: &Trace) -> Result<Vec<PathBuf>, Error> {
    let stem = args
        .file
        .file_stem()
        .unwrap_or(OsStr::new("connection"))
        .to_string_lossy();
    let remote = trace.remote.to_string().replace([':', '[', ']'], "-");
    let name = format!(
        "{stem}-{number}-{}",
        remote.trim_matches('-').replace("--", "-")
    );
    let command = format!(
        "ustack plot {} --conversation {number}",
        args.file.display()
    );
    let page = plot::page(trace, args.part(trace), &command);
    if !args.svg {
        let path = args.out.join(format!("{name}.html"));
        write(&path, &page.to_html())?;
        return Ok(vec![path]);
    }
    let blocks = page.sections.iter().flat_map(|section| &section.blocks);
    let figures = blocks.filter_map(figures::Block::to_svg);
    (1..)
        .zip(figures)
        .map(|(figure, (_, svg))| {
            let path = args.out.join(format!("{name}-{figure}.svg"));
            write(&path, &svg)?;
            Ok(path)
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| {
        let message = format!("cannot write {}: {}", path.display(), reason(&error));
        Error::new(ExitStatus::File, message).hint("Say where the pages may go: --out DIR")
    })
}
