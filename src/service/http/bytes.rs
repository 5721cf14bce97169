//! `GET /bytes/N`: deterministic bytes, generated once and shared.

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

/// Length of the block that repeats: a prime, so that no power of two and no segment size hides
/// a misplaced piece.
const BLOCK: usize = 1_000_003;

/// More than any test wants, and little enough that `Content-Length` arithmetic stays far from
/// its limits.
const MAX_COUNT: u64 = 1 << 50;

static BLOCK_BYTES: LazyLock<Bytes> = LazyLock::new(|| {
    // SplitMix64: incompressible, and the same in any language in five lines.
    let mut state = 0_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    });
    words.flat_map(u64::to_le_bytes).take(BLOCK).collect()
});

/// Bytes `offset..offset + len` of what `/bytes` serves, in shared pieces; with offset 0 the
/// body of `/bytes/{len}`.
pub fn pattern(offset: u64, len: u64) -> impl Iterator<Item = Bytes> + Send {
    let end = offset.saturating_add(len);
    let mut at = offset;
    std::iter::from_fn(move || {
        let start = (at % BLOCK as u64) as usize;
        let piece = (end - at).min((BLOCK - start) as u64);
        at += piece;
        (piece > 0).then(|| BLOCK_BYTES.slice(start..start + piece as usize))
    })
}

pub(super) async fn download(Path(count): Path<String>) -> Response {
    match parse_count(&count) {
        Ok(count) => {
            let pieces = pattern(0, count).map(Ok::<_, Infallible>);
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, count.to_string()),
            ];
            (headers, Body::from_stream(stream::iter(pieces))).into_response()
        }
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

/// Reads `1000`, `20M`, `1GiB`.
fn parse_count(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => Some(1),
        "k" | "kB" => Some(1000),
        "M" | "MB" => Some(1000 * 1000),
        "G" | "GB" => Some(1000 * 1000 * 1000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let (Some(number), Some(factor)) = (number, factor) else {
        return Err(format!(
            "'{text}' is no number of bytes; try /bytes/1000, /bytes/20M or /bytes/1GiB\n"
        ));
    };
    match number.checked_mul(factor) {
        Some(count) if count <= MAX_COUNT => Ok(count),
        _ => Err(format!(
            "'{text}' is more than the {MAX_COUNT} bytes there are\n"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_with_and_without_unit() {
        for (text, count) in [
            ("0", 0),
            ("1000", 1000),
            ("20M", 20_000_000),
            ("3k", 3000),
            ("1GiB", 1 << 30),
            ("1125899906842624", MAX_COUNT),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1.5M",
            "1T",
            "0x10",
            "1125899906842625",
            "99999999999999999999",
        ] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pieces_of_the_pattern_agree_with_the_whole() {
        let whole: Vec<u8> = pattern(0, 2_500_000).flatten().collect();
        assert_eq!(whole.len(), 2_500_000);
        assert_eq!(whole[..8], 0xE220_A839_7B1D_CDAF_u64.to_le_bytes());
        for (offset, len) in [(0, 1), (999_999, 10), (1_234_567, 1_000_000), (7, 0)] {
            let piece: Vec<u8> = pattern(offset, len).flatten().collect();
            assert_eq!(
                piece,
                whole[offset as usize..][..len as usize],
                "{offset} {len}"
            );
        }
    }
}
