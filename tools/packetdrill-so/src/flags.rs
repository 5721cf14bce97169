//! `--so_flags`: settings that packetdrill does not pass on.

use std::net::IpAddr;
use std::num::NonZeroU16;

use packetdrill::kernel::Options;

/// What `--so_flags` said.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    pub(crate) options: Options,
    /// Packets with more text arrive as if a device had put them together of such.
    pub(crate) mss: Option<NonZeroU16>,
    /// Sysctls, to be set at the start.
    pub(crate) sysctls: Vec<(String, String)>,
}

/// Reads `local=ADDRESS[/PREFIX],mtu=BYTES,mss=BYTES,suite=linux|plain,SYSCTL=VALUE`, `local` as often as
/// there are addresses.
pub(crate) fn parse(flags: &str) -> Result<Flags, String> {
    let (mut addresses, mut sysctls) = (Vec::new(), Vec::new());
    let (mut mtu, mut mss, mut suite) = (1500, None, "linux");
    for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
        let (key, value) = flag
            .split_once('=')
            .ok_or_else(|| format!("flag {flag:?} is not of the form key=value"))?;
        match key {
            "local" => addresses.push(address(value)?),
            "mtu" => {
                mtu = value
                    .parse()
                    .map_err(|_| format!("mtu={value} is not a number of bytes"))?;
            }
            "mss" => {
                let bytes = value
                    .parse()
                    .map_err(|_| format!("mss={value}: no segment"))?;
                mss = Some(bytes);
            }
            "suite" => suite = value,
            key if key.starts_with("net.") => sysctls.push((key.into(), value.into())),
            key => {
                return Err(format!(
                    "{key} is no flag: use local, mtu, mss, suite or a sysctl"
                ));
            }
        }
    }
    if addresses.is_empty() {
        return Err("no address: pass --so_flags=local=ADDRESS/PREFIX".into());
    }
    let options = match suite {
        "linux" => Options::linux(addresses, mtu),
        "plain" => Options::new(addresses, mtu),
        other => return Err(format!("suite={other}: use linux or plain")),
    };
    Ok(Flags {
        options,
        mss,
        sysctls,
    })
}

fn address(value: &str) -> Result<(IpAddr, u8), String> {
    let (ip, prefix) = value.split_once('/').unwrap_or((value, ""));
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip} is no address"))?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        "" => whole,
        prefix => prefix
            .parse()
            .map_err(|_| format!("/{prefix} is no prefix length"))?,
    };
    Ok((ip, prefix))
}
