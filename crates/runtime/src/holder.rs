//! Who has a port: what Linux tells in `/proc/self/net/tcp`, `tcp6` and of each process's open files.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP socket as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    uid: u32,
    /// 0 where no process has it any more.
    inode: u64,
}

/// States of `include/net/tcp_states.h`.
const TIME_WAIT: u8 = 6;
const LISTEN: u8 = 10;

/// What keeps `wanted` from being listened on, a listener first. `None` where the system does not tell.
pub(crate) fn holders(wanted: SocketAddr) -> Option<Vec<Holder>> {
    let v4 = fs::read_to_string("/proc/self/net/tcp").ok()?;
    // Without IPv6 there is no such file.
    let v6 = fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    let all = v4.lines().chain(v6.lines()).filter_map(Holder::read);
    let mut found: Vec<_> = all.filter(|holder| holder.is_in_the_way_of(wanted)).collect();
    found.sort_by_key(|holder| !holder.listens());
    Some(found)
}

impl Holder {
    /// One line of the kernel's table; `None` for its heading.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = address(fields.next()?)?;
        let remote = address(fields.next()?)?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Self { local, remote, state, uid, inode })
    }

    pub(crate) fn listens(&self) -> bool {
        self.state == LISTEN
    }

    fn is_in_the_way_of(&self, wanted: SocketAddr) -> bool {
        let (ours, theirs) = (wanted.ip().to_canonical(), self.local.ip().to_canonical());
        self.local.port() == wanted.port() && (ours == theirs || ours.is_unspecified() || theirs.is_unspecified())
    }

    /// The process that has it, by number and name; `None` when it may not be seen from here.
    fn program(&self) -> Option<(u32, String)> {
        let link = format!("socket:[{}]", self.inode);
        let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut holding = processes.filter(|_| self.inode != 0).filter(|pid: &u32| {
            let Ok(mut open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            open.any(|file| {
                file.is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
            })
        });
        let pid = holding.next()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some((pid, name.trim_end().to_owned()))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.program() {
            Some((pid, name)) => format!("{name} (pid {pid})"),
            None => format!("a program of user {}", self.uid),
        };
        match self.state {
            LISTEN => write!(f, "{who} listens on {}", self.local),
            TIME_WAIT => {
                write!(f, "a connection to {} that was closed less than a minute ago (TIME_WAIT)", self.remote)
            }
            _ => write!(f, "a connection of {who} to {}", self.remote),
        }
    }
}

/// `0100007F:C350`: each 32 bits of the address in the machine's own order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        for (line, local, listens, inode) in [
            (
                "   0: 0100007F:C382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1123 1 0 100 0 0 10 0",
                "127.0.0.1:50050",
                true,
                1123,
            ),
            (
                "   1: 0000000000000000FFFF00000100007F:833E 0000000000000000FFFF00000100007F:1F90 06 00000000:00000000 03:000003CA 00000000     0        0 0 3 0",
                "[::ffff:127.0.0.1]:33598",
                false,
                0,
            ),
        ] {
            let holder = Holder::read(line).expect("is read");
            assert_eq!((holder.local.to_string().as_str(), holder.listens(), holder.inode), (local, listens, inode));
        }
        for line in
            ["", "  sl  local_address rem_address   st tx_queue", "0: x:y z:w 0A", "0: 01:1 01:1 0A a b c 1 1 1"]
        {
            assert_eq!(Holder::read(line), None, "{line}");
        }
    }

    #[test]
    fn only_what_shares_port_and_address_is_in_the_way() {
        let listening = |local: &str| Holder {
            local: local.parse().expect(local),
            remote: "0.0.0.0:0".parse().expect("an address"),
            state: LISTEN,
            uid: 0,
            inode: 0,
        };
        for (theirs, ours, expected) in [
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.1:81", "127.0.0.1:80", false),
        ] {
            assert_eq!(listening(theirs).is_in_the_way_of(ours.parse().expect(ours)), expected, "{theirs} {ours}");
        }
    }
}
