//! Character generator (RFC 864): lines of 72 printable characters, each one further on.

use std::io;
use std::sync::LazyLock;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Stop;

const LINE: usize = 72;
const PRINTABLE: std::ops::RangeInclusive<u8> = b' '..=b'~';

/// All 95 lines, after which they repeat.
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let count = PRINTABLE.count();
    let line = |start| {
        let characters = PRINTABLE.cycle().skip(start).take(LINE);
        characters.chain(*b"\r\n")
    };
    (0..count).flat_map(line).collect()
});

/// Sends lines until the peer is done (its FIN or its reset), ignoring what it says.
pub async fn chargen<S: AsyncRead + AsyncWrite>(stream: S, stop: Stop) -> io::Result<()> {
    let mut stop = stop;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let talking = async {
        loop {
            writer.write_all(&LINES).await?;
        }
    };
    let listening = async {
        let mut ignored = vec![0; 4096];
        while reader.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    tokio::select! {
        failed = talking => return failed,
        over = listening => over?,
        () = stop.requested() => {}
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::stop;
    use super::*;
    use tokio::io::duplex;

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
