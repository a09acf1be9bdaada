//! A network of one test alone: each place in it has an address of its own, and what is sent from one to another may be lost on
//! the way, without a word to anybody.
//!
//! A place is a network namespace with one end of a cable, whose other end is in a bridge. The bridge has a namespace of its own,
//! so that rules of the machine's network do not matter. The test itself is in none of them, and reaches all.

use std::{
    io::{Write as _, stderr},
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::{Program, watch::Watched};

/// The network, gone with this value.
#[derive(Debug)]
pub struct Network {
    /// Of the bridge's namespace, and of the test's end of the cable to it; names of places begin with it.
    name: String,
    /// Which of the networks that there may be.
    number: u8,
    /// Places made so far.
    made: AtomicU8,
    end: String,
    _watched: Watched,
}

/// Where programs run that are alone with their address. It ends with its network.
#[derive(Debug)]
pub struct Place {
    namespace: String,
    address: Ipv4Addr,
    /// The network's bridge, and the end of the cable there.
    bridge: String,
    end: String,
}

/// The hardware address that nobody has: what is sent there is lost.
const NOBODY: &str = "02:00:00:00:00:00";

impl Network {
    /// A network without places; `None`, said loudly, where it cannot be made. That takes root, and most containers refuse even
    /// that.
    ///
    /// # Panics
    ///
    /// When so many are there that no name is left.
    #[must_use]
    pub fn make() -> Option<Self> {
        let refused = |why: &str| {
            let line = format!("SKIPPED: no network namespaces, so nothing is cut between them ({})\n", why.trim());
            stderr().write_all(line.as_bytes()).ok();
        };
        for number in 0..=u8::MAX {
            let name = format!("shop{number}");
            match ip(&["netns", "add", &name]) {
                // Another test's.
                Err(why) if why.contains("File exists") => continue,
                Err(why) => {
                    refused(&why);
                    return None;
                }
                Ok(()) => {}
            }
            let end = format!(
                "ip link del {name}; for one in $(ip netns list | grep -o '^{name}-[0-9]*'); do ip netns del $one; done; ip netns del {name}"
            );
            let watched = Watched::new(&format!("{{ {end}; }} >/dev/null 2>&1"));
            let network = Self { name, number, made: AtomicU8::new(0), end, _watched: watched };
            return match network.begin() {
                Ok(()) => Some(network),
                Err(why) => {
                    refused(&why);
                    None
                }
            };
        }
        panic!("there are {} networks already: see `ip netns`", u8::MAX);
    }

    /// The bridge, and the test's cable to it.
    fn begin(&self) -> Result<(), String> {
        let name = self.name.as_str();
        ip(&["-n", name, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", name, "link", "set", "bridge", "up"])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", "test", "netns", name])?;
        ip(&["-n", name, "link", "set", "test", "master", "bridge", "up"])?;
        ip(&["address", "add", &format!("{}/24", self.address(1)), "dev", name])?;
        ip(&["link", "set", name, "up"])
    }

    /// Of the addresses that are there for tests of networks (RFC 2544), so that no real one is hidden.
    const fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, host)
    }

    /// A new place.
    ///
    /// # Panics
    ///
    /// When there are 250.
    #[must_use]
    pub fn place(&self) -> Place {
        let host = self.made.fetch_add(1, Ordering::Relaxed) + 2;
        assert!(host < 252, "a network has 250 places");
        let (namespace, end) = (format!("{}-{host}", self.name), format!("to{host}"));
        let place = Place { namespace, address: self.address(host), bridge: self.name.clone(), end };
        let (name, bridge, address) = (place.namespace.as_str(), self.name.as_str(), format!("{}/24", place.address));
        let made = ip(&["netns", "add", name])
            .and_then(|()| ip(&["-n", name, "link", "set", "lo", "up"]))
            .and_then(|()| {
                ip(&["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", &place.end, "netns", bridge])
            })
            .and_then(|()| ip(&["-n", name, "address", "add", &address, "dev", "eth0"]))
            .and_then(|()| ip(&["-n", name, "link", "set", "eth0", "up"]))
            .and_then(|()| ip(&["-n", bridge, "link", "set", &place.end, "master", "bridge", "up"]));
        made.unwrap_or_else(|why| panic!("{name} cannot be made: {why}"));
        place
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(Program::new("bash").args(["-c", &self.end]).run());
    }
}

impl Place {
    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What to start a program with that is to run there; the program is given in its last arguments.
    #[must_use]
    pub fn runner(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace)]
    }

    /// Its name and address, as `scripts/backends` has them of a server.
    pub(crate) fn of_server(&self, server: &str) -> String {
        format!("{server}={}@{}", self.namespace, self.address)
    }

    /// From now on nothing arrives that is sent from here to `other`. What `other` sends still does.
    pub fn lose_to(&self, other: &Self) {
        self.neighbour(&["replace", &other.address.to_string(), "lladdr", NOBODY, "nud", "permanent", "dev", "eth0"]);
    }

    /// What is sent from here to `other` arrives again.
    pub fn reach(&self, other: &Self) {
        self.neighbour(&["del", &other.address.to_string(), "dev", "eth0"]);
    }

    fn neighbour(&self, arguments: &[&str]) {
        let done = ip(&[&["-n", &self.namespace, "neigh"], arguments].concat());
        done.unwrap_or_else(|why| panic!("{}: {why}", self.namespace));
    }

    /// From now on nothing that is sent from here arrives anywhere, and nothing that is sent to here, also by the test.
    pub fn cut_off(&self) {
        self.cable("down");
    }

    /// It has its cable again.
    pub fn join(&self) {
        self.cable("up");
    }

    fn cable(&self, state: &str) {
        let done = ip(&["-n", &self.bridge, "link", "set", &self.end, state]);
        done.unwrap_or_else(|why| panic!("{}: {why}", self.namespace));
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it takes root".to_owned());
    }
    // By a shell, which says so where there is no such program.
    let output = Program::new("sh").args(["-c", "exec ip \"$@\"", "ip"]).args(arguments).run();
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
}
