//! TLS secrets in the file: what an `SSLKEYLOGFILE` has, as decryption secrets blocks
//! (draft-ietf-opsawg-pcapng §4.7).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::path::PathBuf;

/// Bytes taken at a time: secrets of thousands of connections.
const MOST: u64 = 4 << 20;

const BLOCK_TYPE: u32 = 10;
/// "TLSK".
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// Follows a key log as it grows.
#[derive(Debug)]
pub(super) struct KeyLog {
    path: PathBuf,
    /// Bytes that were read.
    read: u64,
}

impl KeyLog {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The file of a capture is a new one, which has none of the secrets yet.
    pub(super) const fn restart(&mut self) {
        self.read = 0;
    }

    /// A block with what was added since the last time, if whole lines were. A file that is not
    /// there yet has none.
    pub(super) fn next_block(&mut self) -> Option<Vec<u8>> {
        let mut file = File::open(&self.path).ok()?;
        let len = file.metadata().ok()?.len();
        if len <= self.read {
            self.read = self.read.min(len); // it was begun anew
            return None;
        }
        file.seek(SeekFrom::Start(self.read)).ok()?;
        let mut secrets = Vec::new();
        let mut news: Take<File> = file.take(MOST);
        news.read_to_end(&mut secrets).ok()?;
        let end = secrets.iter().rposition(|&byte| byte == b'\n')? + 1;
        secrets.truncate(end);
        self.read += end as u64;
        Some(block(&secrets))
    }
}

fn block(secrets: &[u8]) -> Vec<u8> {
    let padded = secrets.len().next_multiple_of(4);
    let total = (20 + padded) as u32;
    let mut block = Vec::with_capacity(total as usize);
    for word in [BLOCK_TYPE, total, TLS_KEY_LOG, secrets.len() as u32] {
        block.extend_from_slice(&word.to_le_bytes());
    }
    block.extend_from_slice(secrets);
    block.resize(16 + padded, 0);
    block.extend_from_slice(&total.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn whole_lines_are_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut log = KeyLog::new(path.clone());
        assert_eq!(log.next_block(), None);
        let mut file = File::create(path).unwrap();
        file.write_all(b"CLIENT_RANDOM 00 11\nCLIENT").unwrap();
        let first = log.next_block().unwrap();
        assert_eq!(first.len() % 4, 0);
        assert_eq!(first[..4], [10, 0, 0, 0]);
        assert_eq!(&first[16..36], b"CLIENT_RANDOM 00 11\n");
        assert_eq!(log.next_block(), None);
        file.write_all(b"_RANDOM 22 33\n").unwrap();
        let second = log.next_block().unwrap();
        assert_eq!(&second[16..36], b"CLIENT_RANDOM 22 33\n");
    }
}
