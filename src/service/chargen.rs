//! Character generator (RFC 864): lines of 72 printable characters, each one further on.

use std::future::poll_fn;
use std::io;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;

use super::{ChunkStream, Stop};

const LINE: usize = 72;
const PRINTABLE: std::ops::RangeInclusive<u8> = b' '..=b'~';

/// After 95 lines they repeat; as many rounds as a super-segment holds.
const ROUNDS: usize = 9;

/// What every client gets, over and over, without a copy.
static LINES: LazyLock<Bytes> = LazyLock::new(|| {
    let count = PRINTABLE.count();
    let line = |start| {
        let characters = PRINTABLE.cycle().skip(start).take(LINE);
        characters.chain(*b"\r\n")
    };
    (0..count * ROUNDS).flat_map(line).collect()
});

/// The most bytes that one read takes.
const CHUNK: usize = 4 << 10;

/// Reads between two looks at what can be sent.
const READS: usize = 16;

/// Sends lines until the peer is done (its FIN or its reset), ignoring what it says.
pub async fn chargen<S: ChunkStream>(mut stream: S, mut stop: Stop) -> io::Result<()> {
    let mut lines = LINES.clone();
    tokio::select! {
        over = poll_fn(|cx| poll_talk(&mut stream, cx, &mut lines)) => over?,
        () = stop.requested() => {}
    }
    stream.shutdown().await
}

/// Ready when the peer is done.
fn poll_talk(
    stream: &mut impl ChunkStream,
    cx: &mut Context<'_>,
    lines: &mut Bytes,
) -> Poll<io::Result<()>> {
    loop {
        let mut reads = 0;
        while reads < READS
            && let Poll::Ready(ignored) = stream.poll_read_chunk(cx, CHUNK)?
        {
            if ignored.is_none() {
                return Poll::Ready(Ok(()));
            }
            reads += 1;
        }
        while let Poll::Ready(taken) = stream.poll_write_chunk(cx, lines)? {
            lines.advance(taken);
            if lines.is_empty() {
                lines.clone_from(&LINES);
            }
        }
        if reads < READS {
            return Poll::Pending;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stop;
    use super::*;
    use tokio::io::{AsyncReadExt as _, duplex};

    #[tokio::test]
    async fn lines_shift_by_one_and_end_with_the_peers_fin() {
        let (ours, mut theirs) = duplex(500);
        let (_stopper, stop) = stop();
        let serving = tokio::spawn(chargen(ours, stop));
        let mut text = vec![0; 2 * 95 * 74];
        theirs.read_exact(&mut text).await.unwrap();
        let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        assert_eq!(
            lines[0],
            b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r"
        );
        assert_eq!(lines[1][..71], lines[0][1..72]);
        assert_eq!(lines[94][0], b'~');
        assert_eq!(lines[95], lines[0]);
        theirs.shutdown().await.unwrap();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        serving.await.unwrap().unwrap();
    }
}
