//! From root to the user who called `sudo`, for good.

use std::env;
use std::ffi::CString;

use nix::unistd::{self, Gid, Uid, User};

use super::error::{Error, ExitStatus};

/// The user who called `sudo`, if that is how we became root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    uid: Uid,
    gid: Gid,
}

impl Caller {
    /// Reads `SUDO_UID` and `SUDO_GID`; `None` unless we are root and they name somebody else.
    pub(crate) fn from_env() -> Option<Self> {
        if !unistd::geteuid().is_root() {
            return None;
        }
        let id = |name| env::var(name).ok()?.parse::<u32>().ok();
        let caller = Self {
            uid: Uid::from_raw(id("SUDO_UID")?),
            gid: Gid::from_raw(id("SUDO_GID")?),
        };
        (!caller.uid.is_root()).then_some(caller)
    }

    /// Becomes the caller in every thread: supplementary groups, group, user, in this order, as
    /// each step needs what the next gives up. Returns the caller's name for messages.
    pub(crate) fn become_them(self) -> Result<String, Error> {
        let Self { uid, gid } = self;
        let user = User::from_uid(uid).ok().flatten();
        let name = user.map_or_else(|| format!("user {uid}"), |user| user.name);
        let groups = match CString::new(name.as_str()) {
            Ok(login) => unistd::initgroups(&login, gid),
            Err(_) => unistd::setgroups(&[gid]),
        };
        groups
            .and_then(|()| unistd::setresgid(gid, gid, gid))
            .and_then(|()| unistd::setresuid(uid, uid, uid))
            .map_err(|errno| {
                Error::new(
                    ExitStatus::Other,
                    format!("cannot give up root for {name}: {}", errno.desc()),
                )
                .hint("ustack --keep-root stays root")
            })?;
        Ok(name)
    }
}
