//! All clients of the process: what each address holds, and whose connection makes room when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};

use super::ConnectionState;

/// Each time room is made, it is for a hundredth of all: to look for the oldest has its price.
const PART: usize = 100;
/// And for so many at least when descriptors run out: requests want some towards backends, too.
const LEAST_DESCRIPTORS: usize = 8;
/// The log says once in so much time that room has to be made.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The connections of one worker, by number.
type List = HashMap<u64, Arc<ConnectionState>>;

/// All clients.
pub(crate) struct Crowd {
    addresses: Mutex<HashMap<IpAddr, Arc<Address>>>,
    /// For each worker.
    lists: Box<[Mutex<List>]>,
    open: AtomicUsize,
    /// How many connections the open files allow.
    allowed: usize,
    begun: Instant,
    /// When the log last said so, in seconds after `begun`, plus one.
    warned: AtomicU64,
}

/// What one address holds.
#[derive(Default)]
struct Address {
    connections: AtomicUsize,
    unfinished: AtomicUsize,
}

/// Why there is no room, as the metric has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// There are as many connections as settings allow.
    Limit,
    /// The system gives no more file descriptors.
    Descriptors,
}

impl Want {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Descriptors => "descriptors",
        }
    }
}

impl Crowd {
    /// Nobody yet, for so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        // A request wants a second descriptor, towards its backend; idle clients do not.
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
        Arc::new(Self {
            addresses: Mutex::default(),
            lists: (0..workers).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            allowed: files.map_or(usize::MAX, |files| files / 3 * 2),
            begun: Instant::now(),
            warned: AtomicU64::new(0),
        })
    }

    /// The place of `address`.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Place {
        let key = key(address);
        let address = Arc::clone(self.addresses.lock().entry(key).or_default());
        Place { crowd: Arc::clone(self), key, address }
    }

    /// The connections of worker `index`.
    pub(super) fn of(&self, index: usize) -> MutexGuard<'_, List> {
        self.lists[index].lock()
    }

    /// A connection more, of worker `index`, until the guard is dropped.
    pub(super) fn list(self: &Arc<Self>, index: usize, id: u64, connection: Arc<ConnectionState>) -> Listed {
        self.of(index).insert(id, connection);
        Listed { crowd: Arc::clone(self), index, id }
    }

    /// Whether there are `limit` connections, or as many as the open files allow if that is 0.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.open.load(Relaxed) >= if limit == 0 { self.allowed } else { limit }
    }

    /// Closes some of those that have been idle longest, or, when none is, of those that have waited longest for the head of a
    /// request; how many. Nothing that is being served ends.
    pub(super) fn make_room(&self, want: Want) -> usize {
        let mut all = Vec::new();
        for list in &self.lists {
            let list = list.lock();
            all.extend(list.values().filter_map(|one| Some((one.waits()?, Arc::clone(one)))));
        }
        let open = self.open.load(Relaxed);
        let least = if want == Want::Descriptors { LEAST_DESCRIPTORS } else { 1 };
        let some = (open / PART).max(least).min(all.len());
        all.sort_unstable_by_key(|(waits, _)| Reverse(*waits));
        for (_, connection) in all.iter().take(some) {
            connection.make_room();
        }
        let now = self.begun.elapsed().as_secs() + 1;
        let before = self.warned.load(Relaxed);
        if (before == 0 || now - before >= WARN_EVERY.as_secs())
            && self.warned.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
        {
            let why = want.word();
            tracing::warn!(
                connections = open,
                why,
                "there are too many client connections ({why}); idle ones are closed"
            );
        }
        some
    }
}

/// What counts as one client: an address, of IPv6 the /64, as with the rate limit.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The place of one address in the crowd. It is forgotten with the last of them.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    key: IpAddr,
    address: Arc<Address>,
}

impl Place {
    /// Connections of the address.
    pub(super) fn connections(&self) -> usize {
        self.address.connections.load(Relaxed)
    }

    /// Requests of the address that are not over.
    pub(super) fn unfinished(&self) -> usize {
        self.address.unfinished.load(Relaxed)
    }

    /// The place of another address.
    pub(super) fn of(&self, address: IpAddr) -> Self {
        self.crowd.place(address)
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.address.unfinished.fetch_add(1, Relaxed);
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.address.unfinished.fetch_sub(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.crowd.addresses.lock();
        // This one and the map's: more are made under the lock only.
        if Arc::strong_count(&self.address) == 2 {
            addresses.remove(&self.key);
        }
    }
}

/// A connection that was let in: it counts until this is dropped.
pub(super) struct Entry(Arc<Place>);

impl Entry {
    /// From an address with this place.
    pub(super) fn new(place: Place) -> Self {
        place.crowd.open.fetch_add(1, Relaxed);
        place.address.connections.fetch_add(1, Relaxed);
        Self(Arc::new(place))
    }

    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.0)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.address.connections.fetch_sub(1, Relaxed);
        self.0.crowd.open.fetch_sub(1, Relaxed);
    }
}

/// Takes a connection off the list when it is over.
pub(super) struct Listed {
    crowd: Arc<Crowd>,
    index: usize,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.crowd.of(self.index).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_forgotten_with_the_last_that_it_holds() {
        let crowd = Crowd::new(1);
        let place = |text: &str| crowd.place(text.parse().expect("an address"));
        let (one, other, third) = (place("2001:db8::1"), place("2001:db8::2"), place("::ffff:1.2.3.4"));
        one.begin();
        place("1.2.3.4").begin();
        assert_eq!([other.unfinished(), third.unfinished(), place("2001:db8:0:1::1").unfinished()], [1, 1, 0]);
        drop((one, other));
        assert_eq!(crowd.addresses.lock().len(), 1);
        drop(third);
        assert_eq!(crowd.addresses.lock().len(), 0);
    }
}
