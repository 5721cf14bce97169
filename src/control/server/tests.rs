use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use super::super::{Client, bind};
use super::*;
use crate::service::{Stopper, stop};
use crate::{Config, TcpListener, TcpStream, device};

/// Two hosts on a cable, the second of which can be asked.
struct Setting {
    client: Stack,
    server: Stack,
    path: PathBuf,
    _dir: tempfile::TempDir,
    _stopper: Stopper,
}

fn setting(limits: Limits) -> Setting {
    let (left, right) = device::memory::pair(device::Caps::offload(1500));
    let host = |address: [u8; 4]| Config::new().address(address, 24);
    let (client, driver) = Stack::new(host([10, 77, 0, 1]), left).unwrap();
    tokio::spawn(driver);
    let (server, driver) = Stack::new(host([10, 77, 0, 2]), right).unwrap();
    tokio::spawn(driver);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ustack.sock");
    let (stopper, stop) = stop();
    let about = About {
        version: "0.0.1".into(),
        device: "tun7".into(),
        ..About::default()
    };
    let bound = bind(&path).unwrap();
    tokio::spawn(serve(bound, server.clone(), about, limits, stop));
    Setting {
        client,
        server,
        path,
        _dir: dir,
        _stopper: stopper,
    }
}

impl Setting {
    async fn connections(&self, count: usize) -> Vec<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind(&self.server, ([10, 77, 0, 2], 80).into()).unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            let open = TcpStream::connect(&self.client, listener.local_addr());
            let (open, accepted) = tokio::join!(open, listener.accept());
            all.push((open.unwrap(), accepted.unwrap().0));
        }
        all
    }

    /// Talks to the server from a thread of its own.
    async fn ask<R: Send + 'static>(&self, f: impl FnOnce(Client) -> R + Send + 'static) -> R {
        let path = self.path.clone();
        let ask = move || f(Client::connect(&path).unwrap());
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

#[tokio::test]
async fn connections_are_told_once_each_and_by_filter() {
    let setting = setting(Limits::default());
    let streams = setting.connections(150).await;
    let (all, by_port, by_state) = setting
        .ask(|mut client| {
            assert_eq!(client.hello().device, "tun7");
            let (all, _) = client.connections(&Filter::default()).unwrap();
            let port = Some(all[7].remote.port());
            let filter = Filter {
                port,
                ..Filter::default()
            };
            let (by_port, _) = client.connections(&filter).unwrap();
            let filter = Filter {
                state: vec!["TIME-WAIT".into()],
                ..Filter::default()
            };
            (all, by_port, client.connections(&filter).unwrap().0)
        })
        .await;
    let expected: BTreeSet<_> = streams.iter().map(|(open, _)| open.local_addr()).collect();
    let told: BTreeSet<_> = all.iter().map(|one| one.remote).collect();
    assert_eq!((told, all.len()), (expected, 150));
    assert!(
        all.iter()
            .all(|one| one.state == "ESTAB" && one.congestion == "cubic")
    );
    assert_eq!((by_port.len(), by_state.len()), (1, 0));
}

#[tokio::test]
async fn queues_and_tcp_info_are_those_of_the_connection() {
    let setting = setting(Limits::default());
    let mut streams = setting.connections(1).await;
    let client = &mut streams[0].0;
    client.write_all(&[1; 5000]).await.unwrap();
    while setting.server.listing_of_one().queued.unread < 5000 {
        yield_now().await;
    }
    let one = setting
        .ask(|mut client| client.connections(&Filter::default()).unwrap().0.remove(0))
        .await;
    assert_eq!((one.recv_q, one.send_q), (5000, 0));
    assert_eq!(one.tcp_info.bytes_received, 5000);
    assert_eq!((one.tcp_info.state, one.tcp_info.snd_mss), (1, 1448));
}

#[tokio::test]
async fn counters_and_what_the_stack_is() {
    let setting = setting(Limits::default());
    let _streams = setting.connections(3).await;
    let (counters, about, later) = setting
        .ask(|mut client| {
            let (counters, time) = client.counters().unwrap();
            let about = client.about().unwrap();
            assert!(about.uptime >= time);
            (counters, about, client.counters().unwrap().1 >= time)
        })
        .await;
    assert_eq!(counters["Tcp"]["PassiveOpens"], 3);
    assert_eq!(counters["tcp"]["connections"], 3);
    assert_eq!(
        (about.version.as_str(), about.control["clients"]),
        ("0.0.1", 1)
    );
    assert!(later);
}

#[tokio::test]
async fn a_reset_ends_that_connection_and_no_other() {
    let setting = setting(Limits::default());
    let mut streams = setting.connections(2).await;
    let victim = streams[0].0.local_addr();
    let again = setting
        .ask(move |mut client| {
            let (all, _) = client.connections(&Filter::default()).unwrap();
            let one = all.iter().find(|one| one.remote == victim).unwrap();
            let other = all.iter().find(|one| one.remote != victim).unwrap();
            let mut wrong = one.clone();
            wrong.id.clone_from(&other.id);
            let error = client.reset(&wrong).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "another's id");
            client.reset(one).unwrap();
            client.reset(one).unwrap_err().kind()
        })
        .await;
    assert_eq!(again, io::ErrorKind::NotFound);
    let (client, server) = &mut streams[0];
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let (client, server) = &mut streams[1];
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_next_one_answered() {
    let setting = setting(Limits::default());
    let path = setting.path.clone();
    let lines = tokio::task::spawn_blocking(move || {
        let mut stream = StdStream::connect(path).unwrap();
        let requests = "rubbish\n\n{\"get\":\"all\"}\n{\"get\":\"about\"}\n";
        stream.write_all(requests.as_bytes()).unwrap();
        let reader = BufReader::new(stream).lines().map(Result::unwrap);
        reader.take(4).collect::<Vec<_>>()
    });
    let lines = lines.await.unwrap();
    assert!(lines[0].contains(r#""protocol":1"#), "{lines:?}");
    assert!(
        lines[1].contains("bad-request") && lines[2].contains("bad-request"),
        "{lines:?}"
    );
    assert!(lines[3].contains(r#""bad_requests":2"#), "{lines:?}");
}

#[tokio::test]
async fn a_request_without_end_is_cut_short() {
    let setting = setting(Limits::default());
    let path = setting.path.clone();
    let text = tokio::task::spawn_blocking(move || {
        let mut stream = StdStream::connect(path).unwrap();
        let _ = stream.write_all(&[b'{'; 5000]);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    });
    assert!(text.await.unwrap().contains("too-long"));
}

#[tokio::test]
async fn a_client_too_many_is_told_so() {
    let setting = setting(Limits {
        clients: 1,
        ..Limits::default()
    });
    let path = setting.path.clone();
    let error = setting
        .ask(move |_first| Client::connect(&path).unwrap_err())
        .await;
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains("too many clients"), "{error}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let setting = setting(Limits {
        patience: Duration::from_millis(50),
        ..Limits::default()
    });
    let _streams = setting.connections(300).await;
    let path = setting.path.clone();
    let slow = tokio::task::spawn_blocking(move || {
        let mut stream = StdStream::connect(&path).unwrap();
        for _ in 0..50 {
            stream.write_all(b"{\"get\":\"connections\"}\n").unwrap();
        }
        // Others are served meanwhile, and the slow one is counted in the end.
        loop {
            let mut client = Client::connect(&path).unwrap();
            if client.about().unwrap().control["slow"] == 1 {
                break;
            }
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest.len()
    });
    let within = timeout(Duration::from_secs(20), slow).await;
    assert!(within.expect("it is dropped").unwrap() > 0);
}

impl Stack {
    fn listing_of_one(&self) -> crate::listing::Listed {
        let mut found = Vec::new();
        while self.listing().next(&mut found) && found.is_empty() {}
        found.remove(0)
    }
}
