//! HTTP on port 80: a status page, downloads of any size, uploads that are measured, files.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `GET /status` | what this is and who is connected, as text or HTML |
//! | `GET /bytes/N` | N bytes of [`pattern`](bytes::pattern); N may end in k, M, G, KiB, MiB, GiB |
//! | `PUT` or `POST /discard` | length and SHA-256 of the body, as text or JSON |
//! | anything else | a file of the root directory, if there is one |

pub mod bytes;

mod discard;
mod page;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_http::services::ServeDir;
use ustack_tcp::Summary;

use super::Stop;

/// How long a client may take for a request's head, and a kept-alive connection may wait for one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a file is read in: a few of the stack's super-segments.
const FILE_CHUNK: usize = 256 << 10;

/// What the pages show and serve.
#[derive(Clone)]
pub struct HttpConfig {
    /// Lists the live connections for the status page.
    pub connections: Arc<dyn Fn() -> Vec<Summary> + Send + Sync>,
    /// Files to serve; its `index.html`, if any, takes the place of the status page at `/`.
    pub root: Option<PathBuf>,
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections: _,
            root,
        } = self;
        f.debug_struct("HttpConfig")
            .field("root", root)
            .finish_non_exhaustive()
    }
}

/// The whole site.
pub fn router(config: HttpConfig) -> Router {
    let HttpConfig { connections, root } = config;
    let index = root.as_ref().map(|root| root.join("index.html"));
    let status = move |headers: HeaderMap| async move { page::status(&headers, &connections()) };
    let router = Router::new()
        .route("/status", get(status.clone()))
        .route("/bytes/{count}", get(bytes::download))
        .route("/discard", put(discard::upload).post(discard::upload));
    match root {
        Some(root) => {
            let files = ServeDir::new(root).with_buf_chunk_size(FILE_CHUNK);
            let files = files.not_found_service(get(not_found));
            if index.is_some_and(|index| index.is_file()) {
                router.fallback_service(files)
            } else {
                router.route("/", get(status)).fallback_service(files)
            }
        }
        None => router.route("/", get(status)).fallback(not_found),
    }
}

async fn not_found(uri: Uri) -> Response {
    let text = format!(
        "404: nothing at {}\nGET / says what there is.\n",
        uri.path()
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

/// Speaks HTTP/1.1 on one stream until it ends, or until the request under way when `stop` comes.
pub async fn connection<S>(stream: S, router: Router, stop: Stop) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stop = stop;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client may say FIN after its request and still wants the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = pin!(serving);
    tokio::select! {
        done = serving.as_mut() => return done.map_err(io::Error::other),
        () = stop.requested() => serving.as_mut().graceful_shutdown(),
    }
    serving.await.map_err(io::Error::other)
}

/// Whether the client prefers the media type; `*/*` does not count as a wish.
fn wants(headers: &HeaderMap, media: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|range| range.trim() == media)
        })
}

#[cfg(test)]
mod tests;
