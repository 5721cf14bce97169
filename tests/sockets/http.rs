//! The proof that the sockets are ordinary: `axum`, unmodified, serves on them.

use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use ustack::{TcpListener, TcpStream};

use super::{OFFLOAD, V6, at, net, within};

/// One request, one answer, and the connection closes.
async fn ask(stream: &mut TcpStream, request: &str, body: &[u8]) -> String {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: ustack\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn axum_serves_and_shuts_down() {
    let net = net(OFFLOAD);
    let listener = TcpListener::bind(&net.server, at(V6[1], 80)).unwrap();
    let who =
        |ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| async move { peer.ip().to_string() };
    let app = axum::Router::new()
        .route("/whoami", get(who))
        .route(
            "/length",
            post(|body: String| async move { body.len().to_string() }),
        )
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        axum::serve(listener.tap_io(|_| {}), app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .await
    });

    let mut stream = TcpStream::connect(&net.client, at(V6[1], 80))
        .await
        .unwrap();
    let answer = within(10, ask(&mut stream, "GET /whoami", b"")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(&V6[0].to_string()), "{answer}");

    let mut stream = TcpStream::connect(&net.client, at(V6[1], 80))
        .await
        .unwrap();
    let answer = within(10, ask(&mut stream, "POST /length", &vec![b'x'; 1_000_000])).await;
    assert!(answer.ends_with("1000000"), "{answer}");

    stop.send(()).unwrap();
    within(10, server).await.unwrap().unwrap();
}
