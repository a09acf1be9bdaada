//! All clients of the process: what each address holds, and whose connection makes room when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};

use super::ConnectionState;
use crate::upstream::Caller;

/// Each time room is made, it is for a hundredth of all: to look for the oldest has its price.
const PART: usize = 100;
/// And for so many at least when descriptors run out: requests want some towards backends, too.
const LEAST_DESCRIPTORS: usize = 8;
/// The log says once in so much time that room has to be made.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A connection is idle for good after so long.
const IDLE: Duration = Duration::from_secs(1);
/// So many milliseconds nobody is looked for after there was nobody: to look has its price, and whoever comes would pay it.
const NOBODY_FOR: u64 = 10;
/// More than there are workers.
const ADDRESS_PARTS: u64 = 64;

/// The connections of one worker, by number.
type List = HashMap<u64, Arc<ConnectionState>>;

/// What addresses hold, by [key].
type Addresses = HashMap<IpAddr, Arc<Address>>;

/// All clients.
pub(crate) struct Crowd {
    /// In parts: behind a proxy that is trusted each request looks its client up.
    addresses: Box<[Mutex<Addresses>]>,
    /// Which part an address is in; nobody can choose addresses that are all in one.
    hashes: RandomState,
    /// For each worker.
    lists: Box<[Mutex<List>]>,
    open: AtomicUsize,
    /// How many connections the open files allow.
    allowed: usize,
    /// So many more may come in, for whom connections were told to close.
    made: AtomicUsize,
    begun: Instant,
    /// Until when nobody is looked for who could make room, in milliseconds after `begun`: there was none.
    nobody_until: AtomicU64,
    /// When the log last said so, in seconds after `begun`, plus one.
    warned: AtomicU64,
}

/// What one address holds.
#[derive(Default)]
struct Address {
    connections: AtomicUsize,
    unfinished: AtomicUsize,
    /// Of those, calls that run on though nobody waits for them.
    left: AtomicUsize,
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
            addresses: (0..ADDRESS_PARTS).map(|_| Mutex::default()).collect(),
            hashes: RandomState::new(),
            lists: (0..workers).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            allowed: files.map_or(usize::MAX, |files| files / 3 * 2),
            made: AtomicUsize::new(0),
            begun: Instant::now(),
            nobody_until: AtomicU64::new(0),
            warned: AtomicU64::new(0),
        })
    }

    /// The place of `address`.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr) -> Place {
        let key = key(address);
        let address = Arc::clone(self.addresses(key).lock().entry(key).or_default());
        Place { crowd: Arc::clone(self), key, address }
    }

    fn addresses(&self, key: IpAddr) -> &Mutex<Addresses> {
        let part = self.hashes.hash_one(key) % ADDRESS_PARTS;
        &self.addresses[usize::try_from(part).unwrap_or_default()]
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

    /// Whether one more may come in: there are less than `limit` connections, or than the open files allow if that is 0; or
    /// room was made for it.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        if self.open.load(Relaxed) < if limit == 0 { self.allowed } else { limit } {
            // Those that were told to close have, most of them.
            if self.made.load(Relaxed) != 0 {
                self.made.store(0, Relaxed);
            }
            return true;
        }
        self.made.fetch_update(Relaxed, Relaxed, |made| made.checked_sub(1)).is_ok()
    }

    /// Closes some of those that have been idle longest, or, when none is, of those that have waited longest for the head of a
    /// request; how many. Nothing that is being served ends.
    pub(super) fn make_room(&self, want: Want) -> usize {
        self.make_room_at(want, self.begun.elapsed())
    }

    fn make_room_at(&self, want: Want, now: Duration) -> usize {
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        if want == Want::Limit && at < self.nobody_until.load(Relaxed) {
            return 0;
        }
        let mut all = Vec::new();
        for list in &self.lists {
            let list = list.lock();
            all.extend(list.values().filter_map(|one| Some((rank(one.waits()?), Arc::clone(one)))));
        }
        let open = self.open.load(Relaxed);
        let least = if want == Want::Descriptors { LEAST_DESCRIPTORS } else { 1 };
        let some = (open / PART).max(least).min(all.len());
        all.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        for (_, connection) in all.iter().take(some) {
            connection.make_room();
        }
        if want == Want::Limit {
            self.made.store(some.saturating_sub(1), Relaxed);
            let pause = if some == 0 { NOBODY_FOR } else { 0 };
            self.nobody_until.store(at.saturating_add(pause), Relaxed);
        }
        self.warn(want, open, now);
        some
    }

    fn warn(&self, want: Want, open: usize, now: Duration) {
        let now = now.as_secs() + 1;
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
    }
}

/// Who makes room, the greatest first: those idle for a while. Who asked a moment ago will ask again, so for him it is the time
/// that counts, as for those that owe a head.
fn rank((is_idle, waits): (bool, Duration)) -> (bool, Duration) {
    (is_idle && waits >= IDLE, waits)
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

impl Caller for Place {
    fn begins(&self) {
        self.begin();
        self.address.left.fetch_add(1, Relaxed);
    }

    fn ends(&self) {
        self.address.left.fetch_sub(1, Relaxed);
        self.end();
    }

    fn has_left_some(&self) -> bool {
        self.address.left.load(Relaxed) > 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self.crowd.addresses(self.key).lock();
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
        let known = || crowd.addresses.iter().map(|part| part.lock().len()).sum::<usize>();
        drop((one, other));
        assert_eq!(known(), 1);
        drop(third);
        assert_eq!(known(), 0);
    }

    #[test]
    fn addresses_are_in_many_parts() {
        let crowd = Crowd::new(1);
        let _places: Vec<_> = (0..4096_u32).map(|number| crowd.place(IpAddr::from(number.to_be_bytes()))).collect();
        let fullest = crowd.addresses.iter().map(|part| part.lock().len()).max();
        assert!(fullest < Some(4096 / 8), "{fullest:?}");
    }

    type Connected = (Arc<ConnectionState>, Entry, Listed);

    /// A crowd with so many connections that wait for a head.
    fn crowd(count: u64) -> (Arc<Crowd>, Vec<Connected>) {
        let crowd = Crowd::new(1);
        let connect = |id| {
            let entry = Entry::new(crowd.place([127, 0, 0, 1].into()));
            let connection = Arc::new(ConnectionState::new(entry.place(), false, false));
            let listed = crowd.list(0, id, Arc::clone(&connection));
            (connection, entry, listed)
        };
        let all = (0..count).map(connect).collect();
        (crowd, all)
    }

    #[test]
    fn room_is_made_for_some_at_once_and_those_are_let_in() {
        let (crowd, mut all) = crowd(300);
        assert!(crowd.has_room(301));
        assert!(!crowd.has_room(300));
        assert_eq!(crowd.make_room(Want::Limit), 3);
        let ending = |all: &[Connected]| all.iter().filter(|one| one.0.is_ending()).count();
        assert_eq!(ending(&all), 3);
        // One for whom it was made, and two more.
        assert_eq!([0; 3].map(|_| crowd.has_room(300)), [true, true, false]);
        assert_eq!((crowd.make_room(Want::Limit), ending(&all)), (3, 6));
        // When those have left, nothing is owed any more.
        all.retain(|(connection, ..)| !connection.is_ending());
        assert!(crowd.has_room(300));
        assert!(!crowd.has_room(all.len()));
    }

    #[test]
    fn who_finds_nobody_to_make_room_does_not_look_again_at_once() {
        let (crowd, all) = crowd(1);
        let busy = all[0].0.occupy(None);
        let at = |millis| crowd.make_room_at(Want::Limit, Duration::from_millis(millis));
        assert_eq!(at(5), 0);
        drop(busy);
        assert_eq!((at(5 + NOBODY_FOR - 1), crowd.has_room(1)), (0, false));
        // Descriptors run out rarely, and then somebody has to go.
        assert_eq!(crowd.make_room_at(Want::Descriptors, Duration::from_millis(6)), 1);
        let (crowd, all) = self::crowd(1);
        let busy = all[0].0.occupy(None);
        assert_eq!(crowd.make_room_at(Want::Limit, Duration::from_millis(5)), 0);
        drop(busy);
        assert_eq!(crowd.make_room_at(Want::Limit, Duration::from_millis(5 + NOBODY_FOR)), 1);
    }

    #[test]
    fn who_asked_a_moment_ago_makes_room_after_those_that_have_waited_longer() {
        let millis = Duration::from_millis;
        let mut all = [
            (true, millis(10)),
            (false, millis(3000)),
            (true, millis(1000)),
            (false, millis(20)),
            (true, millis(5000)),
            (true, millis(900)),
        ];
        all.sort_by_key(|waits| Reverse(rank(*waits)));
        assert_eq!(all.map(|(_, waits)| waits.as_millis()), [5000, 1000, 3000, 900, 20, 10]);
    }
}
