use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Limits, serve, stop};
use super::*;

/// A running server on the kernel's loopback.
struct Site {
    address: SocketAddr,
    _stopper: super::super::Stopper,
}

async fn site(root: Option<PathBuf>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, stop) = stop();
    let router = router(HttpConfig {
        connections: Arc::new(Vec::new),
        root,
    });
    tokio::spawn(serve(
        "http",
        listener,
        Limits::default(),
        stop,
        move |io, _, stop| connection(io, router.clone(), stop),
    ));
    Site {
        address,
        _stopper: stopper,
    }
}

impl Site {
    /// Sends a request that ends the connection; the answer's head and body.
    async fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let (first, rest) = request.split_once("\r\n").unwrap_or((request, ""));
        let head = format!("{first} HTTP/1.1\r\nHost: u\r\nConnection: close\r\n{rest}");
        self.raw(&if head.contains("\r\n\r\n") {
            head
        } else {
            head + "\r\n"
        })
        .await
    }

    async fn raw(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        let body = answer.split_off(end);
        (String::from_utf8(answer).unwrap(), body)
    }
}

#[tokio::test]
async fn terminals_get_text_and_browsers_html() {
    let site = site(None).await;
    let (head, body) = site
        .ask("GET /\r\nAccept: */*\r\nUser-Agent: curl/7.88\r\n")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/plain"),
        "{head}"
    );
    assert!(
        String::from_utf8(body)
            .unwrap()
            .starts_with("ustack: a TCP/UDP/IP stack")
    );
    let accept = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";
    let (head, body) = site.ask(&format!("GET /\r\n{accept}")).await;
    assert!(head.contains("text/html"), "{head}");
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("0 live connections")
    );
}

#[tokio::test]
async fn downloads_have_the_length_and_bytes_asked_for() {
    let site = site(None).await;
    let (head, body) = site.ask("GET /bytes/3MiB").await;
    assert!(head.contains("content-length: 3145728"), "{head}");
    assert!(body == bytes::pattern(0, 3 << 20).flatten().collect::<Vec<u8>>());
    let (head, body) = site.ask("HEAD /bytes/1GiB").await;
    assert!(
        head.contains("content-length: 1073741824") && body.is_empty(),
        "{head}"
    );
    let (head, body) = site.ask("GET /bytes/0").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && body.is_empty(),
        "{head}"
    );
    let (head, _) = site.ask("GET /bytes/lots").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

#[tokio::test]
async fn uploads_are_measured_and_hashed() {
    let site = site(None).await;
    let upload = "Content-Length: 3\r\n\r\nabc";
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for method in ["PUT", "POST"] {
        let (head, body) = site.ask(&format!("{method} /discard\r\n{upload}")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!("length 3\nsha256 {digest}\n")
        );
    }
    let json = format!("PUT /discard\r\nAccept: application/json\r\n{upload}");
    let (head, body) = site.ask(&json).await;
    assert!(head.contains("application/json"), "{head}");
    let expected = format!("{{\"length\":3,\"sha256\":\"{digest}\"}}\n");
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed() {
    let site = site(None).await;
    let (head, body) = site.ask("GET /nothing").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("/nothing"));
    let (head, _) = site.ask("POST /\r\nContent-Length: 0\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 405") && head.contains("allow: GET,HEAD"),
        "{head}"
    );
    let (head, _) = site.ask("GET /discard").await;
    assert!(
        head.starts_with("HTTP/1.1 405") && head.contains("PUT"),
        "{head}"
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let site = site(None).await;
    let request = "GET /bytes/5 HTTP/1.1\r\nHost: u\r\n\r\n";
    let last = "GET /bytes/5 HTTP/1.1\r\nHost: u\r\nConnection: close\r\n\r\n";
    let (_, rest) = site.raw(&format!("{request}{request}{last}")).await;
    let answers = rest
        .windows(8)
        .filter(|window| window == b"HTTP/1.1")
        .count();
    assert_eq!(answers, 2, "and the one whose head is cut off");
}

#[tokio::test]
async fn a_client_that_half_closes_still_gets_its_answer() {
    let site = site(None).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream
        .write_all(b"GET /bytes/2MiB HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 2 << 20);
}

#[tokio::test]
async fn files_with_types_and_ranges() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.html"), "<p>0123456789</p>").unwrap();
    let site = site(Some(dir.path().to_owned())).await;
    let (head, body) = site.ask("GET /a.html").await;
    assert!(head.contains("text/html") && body.len() == 17, "{head}");
    let (head, body) = site.ask("GET /a.html\r\nRange: bytes=3-6\r\n").await;
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert!(head.contains("content-range: bytes 3-6/17"), "{head}");
    assert_eq!(body, b"0123");
    for outside in ["GET /../etc/passwd", "GET /%2e%2e/etc/passwd", "GET /none"] {
        let (head, _) = site.ask(outside).await;
        assert!(head.starts_with("HTTP/1.1 404"), "{outside}: {head}");
    }
    let (_, body) = site.ask("GET /").await;
    assert!(
        body.starts_with(b"ustack:"),
        "the page, as there is no index.html"
    );
    std::fs::write(dir.path().join("index.html"), "mine").unwrap();
}

#[tokio::test]
async fn an_index_takes_the_place_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "mine").unwrap();
    let site = site(Some(dir.path().to_owned())).await;
    assert_eq!(site.ask("GET /").await.1, b"mine");
    assert!(site.ask("GET /status").await.1.starts_with(b"ustack:"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_request_is_let_go() {
    let (ours, mut theirs) = tokio::io::duplex(1000);
    let (_stopper, stop) = stop();
    let router = router(HttpConfig {
        connections: Arc::new(Vec::new),
        root: None,
    });
    let serving = tokio::spawn(connection(ours, router, stop));
    theirs.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let started = tokio::time::Instant::now();
    serving.await.unwrap().unwrap_err();
    assert!(started.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(1));
}
