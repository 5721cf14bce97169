//! Keeping a case: itself, and what passed the link, as two files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Case, Outcome, known};
use crate::capture::write_capture;

/// A case that was played and kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What came of it.
    pub outcome: Outcome,
    /// The file with the case.
    pub file: PathBuf,
    /// The capture, with comments on the file and on the packets that are wrong.
    pub capture: PathBuf,
}

/// Plays a case and writes `name`.toml and `name`.pcapng, with at most `most` bytes of each packet,
/// into `folder`.
pub fn keep(case: &Case, name: &str, folder: &Path, most: usize) -> io::Result<Kept> {
    let (outcome, seen) = case.record();
    let (known, unexplained) = known::sort(case, &outcome);
    let about = |(known, _): &(&known::Known, _)| {
        format!("{}: {} ({})", known.name, known.reason, known.source)
    };
    let mut comment: Vec<_> = known.iter().map(about).collect();
    comment.dedup();
    comment.extend(unexplained.iter().map(ToString::to_string).take(20));
    comment.insert(0, format!("differential play {name}.toml"));
    let remarks = outcome.findings.iter();
    let remarks: Vec<_> = remarks
        .filter_map(|finding| Some((finding.packet?, finding.what.clone())))
        .collect();
    fs::create_dir_all(folder)?;
    let kept = Kept {
        file: folder.join(format!("{name}.toml")),
        capture: folder.join(format!("{name}.pcapng")),
        outcome,
    };
    fs::write(&kept.file, case.to_toml())?;
    let file = io::BufWriter::new(fs::File::create(&kept.capture)?);
    write_capture(file, &seen, most, &comment.join("\n"), &remarks)?;
    Ok(kept)
}
