//! The flight recorder of this program, and what makes it write.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};
use tokio::signal::unix::{SignalKind, signal};
use ustack::device::{Device, FlightRecorder, ImpairSpec, RecorderOptions};

use super::capture::about;
use super::recorder::RecorderSettings;

/// Records all queues.
pub(crate) fn record(
    settings: &RecorderSettings,
    queues: Vec<Box<dyn Device>>,
    interface: String,
    impairment: &[Option<ImpairSpec>],
) -> (Vec<Box<dyn Device>>, FlightRecorder) {
    let options = RecorderOptions {
        directories: match &settings.directory {
            Some(directory) => vec![directory.clone()],
            None => state_directories(),
        },
        size: settings.size,
        interface,
        comment: Some(about(impairment)),
        ..RecorderOptions::default()
    };
    let recorder = FlightRecorder::new(options);
    recorder.write_on_panic();
    let recorded = queues.into_iter();
    let recorded = recorded.map(|queue| Box::new(recorder.record(queue)) as _);
    (recorded.collect(), recorder)
}

/// Where a user's programs keep their state (XDG Base Directory), or else where anybody can write.
fn state_directories() -> Vec<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // Under sudo, variables are those of root or of the caller, depending on its settings.
    let home = if named("SUDO_UID").is_some() {
        let user = User::from_uid(geteuid()).ok().flatten();
        user.map(|user| user.dir)
    } else {
        named("HOME").map(PathBuf::from)
    };
    let state = named("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| home.map(|home| home.join(".local/state")));
    let own = state.map(|state| state.join("ustack"));
    let shared = std::env::temp_dir().join(format!("ustack-{}", geteuid()));
    let shared = Some(shared).filter(|shared| is_ours_or_absent(shared));
    own.into_iter().chain(shared).collect()
}

/// Where anybody can write, somebody else may have made a directory of that name, or a link.
fn is_ours_or_absent(directory: &Path) -> bool {
    match std::fs::symlink_metadata(directory) {
        Ok(found) => found.is_dir() && found.uid() == geteuid().as_raw(),
        Err(_) => true,
    }
}

/// Has a file written at each SIGUSR1.
pub(crate) fn write_on_signal(recorder: FlightRecorder) -> std::io::Result<()> {
    let mut asked = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            recorder.order("SIGUSR1");
        }
    });
    Ok(())
}
