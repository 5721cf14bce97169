//! `PUT /discard`: reads a body of any size and says how long it was and what it hashed to.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use super::wants;

pub(super) async fn upload(headers: HeaderMap, body: Body) -> Response {
    let mut body = body;
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let text = format!("the upload broke off after {length} bytes: {error}\n");
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
        };
        if let Ok(data) = frame.into_data() {
            length += data.len() as u64;
            hash.update(&data);
        }
    }
    let mut digest = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(digest, "{byte:02x}");
    }
    if wants(&headers, "application/json") {
        let json = format!("{{\"length\":{length},\"sha256\":\"{digest}\"}}\n");
        ([(header::CONTENT_TYPE, "application/json")], json).into_response()
    } else {
        format!("length {length}\nsha256 {digest}\n").into_response()
    }
}
