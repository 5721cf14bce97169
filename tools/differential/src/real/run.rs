//! One run: a network namespace, a TUN device, both stacks and a script.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use link::namespace::Namespace;
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::time::{sleep, timeout};
use ustack::device::Impair;
use ustack::device::tun::{self, TunOptions};
use ustack::{Stack, Stats};

use super::flows::{Flows, Reports};
use super::hosts::{Kernel, Ustack};
use super::leftovers::kernel_sockets;
use super::setting::Setting;
use super::sysctl;
use super::tap::{Place, Tap, Wire};
use crate::{End, EndReport, Script};

/// How long the applications may take.
const PLAY: Duration = Duration::from_secs(60);
/// How long the last connection may take after that.
const LINGER: Duration = Duration::from_secs(40);
/// How often what tells nobody of its changes is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    /// What the applications saw, by connection and [`End`].
    pub reports: Vec<[EndReport; 2]>,
    /// What passed the device.
    pub wire: Wire,
    /// How long the applications took.
    pub played: Duration,
    /// The longest that the run was kept from a processor.
    pub stalled: Duration,
    /// What should not have been there at the end, in words.
    pub leftovers: Vec<String>,
    /// ustack's counters.
    pub stats: Stats,
}

/// Plays a script in a namespace of its own, on a thread of its own.
pub(super) fn run(script: &Script, setting: &Setting) -> io::Result<Outcome> {
    let namespace = Namespace::create()?;
    let inside = || {
        namespace.enter()?;
        sysctl::apply(&setting.sysctls)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(play(script, setting))
    };
    thread::scope(|scope| scope.spawn(inside).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn play(script: &Script, setting: &Setting) -> io::Result<Outcome> {
    let wire = Arc::<Mutex<Wire>>::default();
    let [kernel, ustack] = setting.addresses();
    let tun = open(setting, kernel, ustack)?;
    let (inbound, outbound) = (setting.to_ustack.clone(), setting.to_kernel.clone());
    let device = Impair::new(Tap::new(tun, Place::Kernel, &wire), inbound, outbound);
    let device = Tap::new(device, Place::Ustack, &wire).one_by_one(setting.one_by_one);
    let (stack, driver) = Stack::new(setting.config(), device)?;
    let driver = tokio::spawn(driver);
    let stalled = Arc::<Mutex<Duration>>::default();
    let watch = tokio::spawn(watch_stalls(Arc::clone(&stalled)));
    let reports: Vec<_> = script.flows.iter().map(|_| Reports::default()).collect();
    let started = Instant::now();
    let done = timeout(PLAY, flows(script, setting, &stack, &reports)).await;
    let played = started.elapsed();
    if let Ok(result) = done {
        result?;
    }
    let mut leftovers = wait_for_the_last(&stack).await?;
    stack.shutdown(Duration::from_secs(1)).await;
    driver.await.map_err(io::Error::other)??;
    watch.abort();
    drop(watch.await); // it was cancelled, and that is all
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        leftovers.push(format!("{tasks} tasks are alive"));
    }
    let wire = std::mem::take(&mut *wire.lock());
    if wire.missed > 0 {
        leftovers.push(format!("{} packets too many on the wire", wire.missed));
    }
    Ok(Outcome {
        reports: reports.iter().map(Reports::get).collect(),
        wire,
        played,
        stalled: *stalled.lock(),
        leftovers,
        stats: stack.stats(),
    })
}

fn open(setting: &Setting, kernel: IpAddr, ustack: IpAddr) -> io::Result<tun::Tun> {
    let options = TunOptions {
        kind: setting.device,
        mtu: Some(setting.mtu.into()),
        host_addresses: vec![(kernel, setting.prefix())],
        stack_addresses: vec![ustack],
        ..TunOptions::default()
    };
    let opened = tun::open(&options).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(opened.tun)
}

async fn flows(
    script: &Script,
    setting: &Setting,
    stack: &Stack,
    reports: &[Reports],
) -> io::Result<()> {
    let ustack = Ustack::listen(stack, setting)?;
    let kernel = Kernel::listen(setting)?;
    let fast_open = setting.fast_open;
    match setting.ustack {
        End::A => {
            let (a, b) = (ustack, kernel);
            let flows = Flows {
                script,
                a,
                b,
                fast_open,
                reports,
            };
            flows.run().await
        }
        End::B => {
            let (a, b) = (kernel, ustack);
            let flows = Flows {
                script,
                a,
                b,
                fast_open,
                reports,
            };
            flows.run().await
        }
    }
}

/// Waits until neither stack has a connection any more; what is left after a while, in words.
async fn wait_for_the_last(stack: &Stack) -> io::Result<Vec<String>> {
    let deadline = Instant::now() + LINGER;
    loop {
        let ours = stack.connections();
        let theirs = kernel_sockets()?;
        if ours.is_empty() && theirs.is_empty() {
            return Ok(Vec::new());
        }
        if Instant::now() > deadline {
            let ours = ours.iter().map(|summary| {
                format!(
                    "ustack still has a connection in {:?}: {:?}",
                    summary.state, summary.flow
                )
            });
            let theirs = theirs
                .iter()
                .map(|line| format!("the kernel still has {line}"));
            return Ok(ours.chain(theirs).collect());
        }
        sleep(LOOK).await;
    }
}

/// Keeps the longest lateness of a regular wake-up.
async fn watch_stalls(worst: Arc<Mutex<Duration>>) {
    loop {
        let before = Instant::now();
        sleep(LOOK).await;
        let late = before.elapsed().saturating_sub(LOOK);
        let mut worst = worst.lock();
        *worst = late.max(*worst);
    }
}
