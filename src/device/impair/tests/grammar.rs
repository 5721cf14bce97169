use ustack_tcp::time::Duration;

use super::super::{ImpairSpec, QueueLimit};

#[test]
fn the_grammar_of_the_manual_is_understood() {
    let text = "loss=1%,delay=10ms,jitter=2ms,reorder=1%,duplicate=0.5%,corrupt=0.1%,rate=100mbit,queue=100,seed=7";
    let spec: ImpairSpec = text.parse().unwrap();
    assert_eq!(
        spec,
        ImpairSpec {
            loss: 0.01,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(2),
            reorder: 0.01,
            duplicate: 0.005,
            corrupt: 0.001,
            rate: Some(100_000_000),
            queue: Some(QueueLimit::Packets(100)),
            seed: Some(7),
            ..ImpairSpec::default()
        }
    );
    assert_eq!(spec.to_string().parse::<ImpairSpec>().unwrap(), spec);
    for text in [
        "loss=7%,corrupt=0.1%,delay=10ms,jitter=1500us,rate=100mbit,queue=100,seed=7",
        "gemodel=1%/30%/70%/0.1%,drop=5;8-12;every:100,rate=20mbit,queue=165kB",
        "reorder=1%,hold=5ms,rate=1gbit,codel,target=1ms,interval=20ms,ce=0.5%,mtu=1400",
        "rate=1gbit,codel=drop,target=5ms,interval=100ms",
    ] {
        assert_eq!(text.parse::<ImpairSpec>().unwrap().to_string(), text);
    }
    let short: ImpairSpec = " delay = 1.5ms , loss=0.25 ".parse().unwrap();
    assert_eq!(
        (short.delay, short.loss),
        (Duration::from_micros(1500), 0.25)
    );
}

#[test]
fn what_bursts_leave_out_is_netems() {
    let model = |text: &str| text.parse::<ImpairSpec>().unwrap().gemodel.unwrap();
    let short = model("gemodel=20%");
    assert_eq!((short.p, short.r), (0.2, 0.8));
    assert_eq!((short.bad_loss, short.good_loss), (1.0, 0.0));
    let long = model("gemodel=0.1/0.5/0.9");
    assert_eq!((long.bad_loss, long.good_loss), (0.9, 0.0));
}

#[test]
fn a_wrong_spec_is_told_what_is_wrong_and_what_is_allowed() {
    for (text, message) in [
        ("losss=1%", "`losss` is not one of loss, delay,"),
        ("", "`` is not one of loss"),
        ("loss", "write loss=1%"),
        ("delay=", "write delay=10ms"),
        ("loss=1%,loss=2%", "`loss` is given twice"),
        (
            "loss=101%",
            "`loss=101%` is not understood: loss takes a share",
        ),
        ("loss=-1%", "from 0% to 100%"),
        ("loss=NaN", "from 0% to 100%"),
        ("loss=1e-3", "from 0% to 100%"),
        ("delay=10", "such as 10ms (units ns, us, ms, s)"),
        ("jitter=1h", "such as 10ms"),
        ("delay=61s", "up to 60s"),
        ("rate=0mbit", "at least 1bit"),
        ("rate=fast", "such as 100mbit"),
        ("queue=0", "from 1 to 100000"),
        ("queue=1.5", "from 1 to 100000"),
        ("queue=1GB", "or of bytes up to 256MB"),
        ("queue=0B", "or of bytes up to 256MB"),
        ("gemodel", "write gemodel=1%/30%"),
        ("gemodel=1%/2%/3%/4%/5%", "shares p/r/1-h/1-k"),
        ("drop=0", "such as 5;8-12;every:100"),
        ("drop=9-8", "such as 5;8-12;every:100"),
        ("drop=every:0", "such as 5;8-12;every:100"),
        ("drop=5;;6", "such as 5;8-12;every:100"),
        ("codel=fast", "codel takes no value, or drop"),
        ("codel", "`codel` has no effect without rate"),
        (
            "rate=1mbit,target=1ms",
            "`target` has no effect without codel",
        ),
        ("hold=1ms", "`hold` has no effect without reorder"),
        ("mtu=67", "from 68 to 65535"),
        ("ce=2", "from 0% to 100%"),
        ("seed=-1", "a whole number"),
    ] {
        let error = text.parse::<ImpairSpec>().unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}
