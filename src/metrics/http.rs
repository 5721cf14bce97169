//! The metrics of a stack in OpenMetrics' format, over HTTP on a socket of the host's kernel.
//!
//! | what | name |
//! |---|---|
//! | Linux's counters | `ustack_netstat_Tcp_RetransSegs_total`: group and name as in [`TABLE`] |
//! | our own | `ustack_device_rx_frames_total`, `ustack_memory_used_bytes` |
//! | connections by state | `ustack_tcp_connections_by_state{state="ESTAB"}` |
//! | the program | `ustack_build_info{version="…"}` |

use std::fmt;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use ustack_tcp::State;

use super::{Kind, TABLE};
use crate::Stack;
use crate::control::state_name;
use crate::service::{self, Limits, Stop, aside, http};

/// What the answer is (OpenMetrics 1.0).
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A scraper needs one connection; a few may look by hand.
const LIMITS: Limits = Limits {
    connections: 16,
    idle: Duration::from_secs(60),
};

/// States that a connection can be met in.
const STATES: [State; 9] = [
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// Answers `GET /metrics` on a listener of the kernel's until `stop`, each client on a thread of its
/// own. Needs a tokio runtime, which may be that of the packet loop.
pub async fn serve(listener: std::net::TcpListener, stack: Stack, stop: Stop) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/metrics", get(async move || page(&stack)))
        .fallback(async || (StatusCode::NOT_FOUND, "Metrics are at /metrics.\n"));
    let talk = move |io, _, stop| {
        let router = router.clone();
        aside("metrics", move || http::connection(io, router, stop))
    };
    service::serve("metrics", listener, LIMITS, stop, talk).await;
    Ok(())
}

fn page(stack: &Stack) -> Response {
    match text(stack) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// All metrics as they are now.
pub fn text(stack: &Stack) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(stack.clone())));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The stack as prometheus-client sees it: asked once a scrape.
#[derive(Debug)]
struct Metrics(Stack);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.0.stats();
        for row in TABLE {
            let source = if row.is_linux() { "netstat_" } else { "" };
            let name = format!("ustack_{source}{}_{}", row.group, row.name);
            let value = row.value(&stats);
            match row.kind {
                Kind::Counter => {
                    let kind = MetricType::Counter;
                    let metric = encoder.encode_descriptor(&name, row.help, None, kind)?;
                    ConstCounter::new(value).encode(metric)?;
                }
                Kind::Gauge => {
                    let kind = MetricType::Gauge;
                    let metric = encoder.encode_descriptor(&name, row.help, None, kind)?;
                    ConstGauge::new(value).encode(metric)?;
                }
            }
        }
        self.states(&mut encoder)?;
        let mut info = encoder.encode_descriptor(
            "ustack_build_info",
            "the program, always 1",
            None,
            MetricType::Gauge,
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1_u64).encode(info.encode_family(&version)?)
    }
}

impl Metrics {
    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = [0_u64; STATES.len()];
        for one in self.0.connections() {
            let place = STATES.iter().position(|state| *state == one.state);
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "ustack_tcp_connections_by_state",
            "connections and handshakes, TIME-WAIT included",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in STATES.iter().zip(counts) {
            let state = [("state", state_name(*state))];
            ConstGauge::new(count).encode(metric.encode_family(&state)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Config, TcpListener, TcpStream, device};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A reader of the format that takes nothing for granted: families announced before their
    /// samples, each once, values that are numbers, `# EOF` at the end.
    fn read(text: &str) -> BTreeMap<String, u64> {
        let mut samples = BTreeMap::new();
        let mut families = BTreeMap::new();
        let mut current = String::new();
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                assert!(!help.is_empty(), "{line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, current, "HELP and TYPE belong together");
                let known = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(known, None, "{name} is announced once");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
                let name = sample.split('{').next().unwrap_or_default();
                let ending = match families[&current].as_str() {
                    "counter" => "_total",
                    "gauge" => "",
                    other => panic!("a {other}"),
                };
                assert_eq!(name, format!("{current}{ending}"));
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                let value = value.parse().expect("a whole number");
                assert_eq!(samples.insert(sample.to_owned(), value), None, "{sample}");
            }
        }
        samples
    }

    async fn pair() -> (Stack, TcpStream, TcpStream) {
        let (left, right) = device::memory::pair(device::Caps::offload(1500));
        let host = |address: [u8; 4]| Config::new().address(address, 24);
        let (one, driver) = Stack::new(host([10, 77, 0, 1]), left).unwrap();
        tokio::spawn(driver);
        let (two, driver) = Stack::new(host([10, 77, 0, 2]), right).unwrap();
        tokio::spawn(driver);
        let listener = TcpListener::bind(&two, ([10, 77, 0, 2], 80).into()).unwrap();
        let open = TcpStream::connect(&one, listener.local_addr());
        let (open, accepted) = tokio::join!(open, listener.accept());
        (two, open.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn every_counter_is_a_metric_of_the_right_form() {
        let (stack, _open, _accepted) = pair().await;
        let samples = read(&text(&stack).unwrap());
        assert_eq!(samples.len(), TABLE.len() + STATES.len() + 1);
        for (name, value) in [
            ("ustack_netstat_Tcp_PassiveOpens_total", 1),
            ("ustack_tcp_connections", 1),
            (r#"ustack_tcp_connections_by_state{state="ESTAB"}"#, 1),
            (r#"ustack_tcp_connections_by_state{state="TIME-WAIT"}"#, 0),
        ] {
            assert_eq!(samples[name], value, "{name}");
        }
        assert!(samples["ustack_device_rx_frames_total"] >= 2);
    }

    /// All that the dashboard asks for is there, and no panel covers another.
    #[tokio::test]
    async fn the_dashboard_fits_the_metrics() {
        let (stack, _open, _accepted) = pair().await;
        let text = text(&stack).unwrap();
        let samples = read(&text);
        let known: Vec<_> = samples.keys().map(|name| name.split('{').next()).collect();
        let dashboard = include_str!("../../docs/grafana.json");
        let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let (mut asked, mut covered) = (0, std::collections::BTreeSet::new());
        for panel in panels {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = target["expr"].as_str().unwrap();
                let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                for name in words.filter(|word| word.starts_with("ustack_")) {
                    assert!(known.contains(&Some(name)), "{name} in {}", panel["title"]);
                    asked += 1;
                }
            }
            let side = |name| panel["gridPos"][name].as_u64().unwrap();
            for x in side("x")..side("x") + side("w") {
                assert!(x < 24, "{} is cut off", panel["title"]);
                for y in side("y")..side("y") + side("h") {
                    assert!(covered.insert((x, y)), "{} covers another", panel["title"]);
                }
            }
        }
        assert!(asked > 40, "{asked}");
        let page = include_str!("../../docs/metrics.md");
        for panel in panels {
            let title = panel["title"].as_str().unwrap();
            assert!(page.contains(title), "{title} is not in docs/metrics.md");
        }
    }

    #[tokio::test]
    async fn it_is_served_with_its_type_and_nothing_else_is() {
        let (stack, _open, _accepted) = pair().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = service::stop();
        let serving = tokio::spawn(serve(listener, stack, stop));
        let get = async |path: &str| {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = get("/metrics").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains(&format!("content-type: {CONTENT_TYPE}")),
            "{head}"
        );
        assert!(read(body).len() > 100);
        assert!(get("/").await.starts_with("HTTP/1.1 404 "));
        drop(stopper);
        serving.await.unwrap().unwrap();
    }
}
