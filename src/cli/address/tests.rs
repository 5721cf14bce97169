use super::*;

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn shown(stack: &[&str], host: &[&str]) -> (Vec<String>, Vec<String>) {
    let found = resolve(&strings(stack), &strings(host)).unwrap();
    let show = |list: Vec<Prefix>| list.iter().map(ToString::to_string).collect();
    (show(found.stack), show(found.host))
}

#[test]
fn the_defaults() {
    let (stack, host) = shown(&[], &[]);
    assert_eq!(stack, ["10.77.0.2/24", "fd77::2/64"]);
    assert_eq!(host, ["10.77.0.1/24", "fd77::1/64"]);
}

#[test]
fn the_side_left_out_is_derived() {
    let (stack, host) = shown(&["192.168.50.7/24"], &[]);
    assert_eq!(
        (stack[0].as_str(), host[0].as_str()),
        ("192.168.50.7/24", "192.168.50.1/24")
    );
    assert_eq!(host.len(), 1, "no IPv6 unless asked for");
    assert_eq!(shown(&["10.1.0.1/24"], &[]).1, ["10.1.0.2/24"]);
    assert_eq!(shown(&["10.77.0.9"], &[]).1, ["10.77.0.1/24"]);
    assert_eq!(shown(&[], &["10.9.0.1/30"]).0, ["10.9.0.2/30"]);
    assert_eq!(shown(&[], &["10.9.0.0/31"]).0, ["10.9.0.1/31"]);
    assert_eq!(shown(&[], &["fd01::1/127"]).0, ["fd01::/127"]);
    assert_eq!(shown(&["fd01::5/64", "fd01::6/64"], &[]).1, ["fd01::1/64"]);
}

/// `--addr`, `--host-addr`, and how the message starts.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "10.77.0.300",
        "",
        "--addr '10.77.0.300' is not an IPv4 or IPv6 address",
    ),
    (
        "10.77.0.2/33",
        "",
        "--addr '10.77.0.2/33' needs a prefix length from 0 to 32",
    ),
    ("10.77.0.1", "", "--addr 10.77.0.1 is the host's own side"),
    (
        "10.77.0.0",
        "",
        "--addr 10.77.0.0 is the own or broadcast address",
    ),
    (
        "10.77.0.255",
        "",
        "--addr 10.77.0.255 is the own or broadcast address",
    ),
    (
        "10.99.0.2",
        "10.77.0.1/24",
        "--addr 10.99.0.2 is in no network of the host's side",
    ),
    (
        "fd77::2",
        "10.77.0.1/24",
        "--addr fd77::2 is in no network of the host's side",
    ),
    (
        "10.99.0.2",
        "",
        "--addr 10.99.0.2 needs its network's prefix length",
    ),
    (
        "10.77.0.2/16",
        "10.77.0.1/24",
        "--addr 10.77.0.2/16 does not agree",
    ),
    ("127.0.0.1", "", "--addr 127.0.0.1 is a loopback address"),
    ("224.0.0.1", "", "--addr 224.0.0.1 is a multicast address"),
    (
        "::ffff:10.0.0.2",
        "",
        "--addr ::ffff:10.0.0.2 is an IPv4-mapped address",
    ),
    ("0.0.0.0", "", "--addr 0.0.0.0 is the unspecified address"),
    ("fe80::2", "", "--addr fe80::2 is a link-local address"),
    (
        "255.255.255.255",
        "",
        "--addr 255.255.255.255 is the broadcast address",
    ),
    (
        "",
        "10.77.0.1",
        "--host-addr 10.77.0.1 needs a prefix length",
    ),
    (
        "",
        "10.77.0.1/32",
        "--host-addr 10.77.0.1/32 leaves no room",
    ),
    ("", "10.77.0.1/0", "--host-addr 10.77.0.1/0 leaves no room"),
    (
        "",
        "10.77.0.0/24",
        "--host-addr 10.77.0.0/24 is its network's own",
    ),
];

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let why = |stack: &[&str], host: &[&str]| {
        let BadAddress { key, message } = resolve(&strings(stack), &strings(host)).unwrap_err();
        format!("--{key} {message}")
    };
    for &(stack, host, expected) in REFUSED {
        let list = |text: &'static str| if text.is_empty() { vec![] } else { vec![text] };
        let message = why(&list(stack), &list(host));
        assert!(message.starts_with(expected), "{stack} {host}: {message}");
    }
    assert!(why(&["10.77.0.2", "10.77.0.2"], &[]).ends_with("given twice"));
}

#[test]
fn membership_at_the_edges() {
    let all: AddressArg = "0.0.0.0/0".parse().unwrap();
    assert!(all.prefix().contains("203.0.113.9".parse().unwrap()));
    assert!(!all.prefix().contains("::1".parse().unwrap()));
    let one: AddressArg = "127.0.0.1".parse().unwrap();
    assert!(one.prefix().contains("127.0.0.1".parse().unwrap()));
    assert!(!one.prefix().contains("127.0.0.2".parse().unwrap()));
}
