//! Bytes to send: pseudo-random, so that a piece lost, repeated or moved changes the hash.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// `length` bytes that only the seed decides.
pub(crate) struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    /// A stream of `length` bytes.
    pub(crate) fn new(seed: u64, length: u64) -> Self {
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            left: length,
        }
    }

    /// All of it.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).expect("memory");
        bytes
    }
}

impl Read for Noise {
    /// Fills whole words (xorshift64); a short buffer ends within one and skips its rest.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        for word in buffer[..length].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// The first `length` bytes of what `GET /bytes/N` answers: a block of 1,000,003 bytes of
/// SplitMix64 from 0, again and again.
pub(crate) fn served_bytes(length: u64) -> impl Read {
    let mut state = 0_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    });
    let block = words.flat_map(u64::to_le_bytes).take(1_000_003).collect();
    Repeat { block, at: 0 }.take(length)
}

struct Repeat {
    block: Vec<u8>,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.block[self.at..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at = (self.at + length) % self.block.len();
        Ok(length)
    }
}

/// SHA-256 of what `source` holds, in hexadecimal, and its length.
pub(crate) fn sha256(mut source: impl Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok((hex(&hash.finalize()), length)),
            n => {
                hash.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
