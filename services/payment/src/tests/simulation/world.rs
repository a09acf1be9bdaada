//! The world: replicas of the service that die and come back, the provider behind its network, and its calls to the shop.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use shop_clock::Clock as _;
use shop_config::Secret;
use shop_stripe::{Broken, Wire};
use shop_testing::stripe::{Arrived, Books, Call, Event, Fault, KEY, Request as Asked};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::sky::{OverStore, Sky};
use super::stage::{Direction, Fate, Of, Stage};
use super::town::Town;
use crate::application::{self, Bells, Commands, Held, Queries, Recovery, Rung};
use crate::config::{ProviderSettings, RecoverySettings};
use crate::domain::samples::{NOON, limits};
use crate::domain::{Payment, Providers, RefundStatus, STRIPE, Status};
use crate::infrastructure::memory::Memory;
use crate::infrastructure::stripe_over;

const SECRET: &str = "whsec_abcdefghijklmnop";
const REPLICAS: usize = 2;
/// As long after everything began recovery asks once more, whenever a refund was made: a day before its last look.
const LOOKED_FOR: Duration = Duration::from_hours(44 * 24);
/// The longest pause between two rounds of a replica.
const ROUND: Duration = Duration::from_mins(4);

/// One process of the service.
#[derive(Clone)]
pub(super) struct Replica {
    pub(super) commands: Commands,
    pub(super) queries: Queries,
    recovery: Recovery,
    bells: Bells,
    held: Held,
}

/// Everything.
pub(super) struct World {
    pub(super) sky: Arc<Sky>,
    pub(super) stage: Arc<Stage>,
    pub(super) town: Town,
    pub(super) store: Arc<Memory>,
    pub(super) stripe: Mutex<Books>,
    providers: Mutex<Providers>,
    replicas: Mutex<[Option<Replica>; REPLICAS]>,
    /// Deaths that are still to come, and how likely each poll is the last: once in so many times.
    deaths: AtomicU64,
    deadliness: u64,
    /// Once in so many requests something goes wrong at the provider.
    trouble: u64,
    /// Events of the provider's that were posted, and those on their way.
    posted: AtomicUsize,
    pub(super) on_the_way: AtomicUsize,
    carried: Arc<Mutex<usize>>,
    /// What was answered to somebody, and has to be true for ever.
    pub(super) promises: Mutex<Vec<(Uuid, Promise)>>,
    /// Refunds that are still to come back after they had arrived, and those that did.
    pub(super) comebacks: AtomicU64,
    pub(super) came_back: Mutex<Vec<CameBack>>,
    looked: AtomicU64,
    acts: AtomicU64,
}

/// A refund that had arrived, and that the payer's bank returned.
#[derive(Debug, Clone)]
pub(super) struct CameBack {
    /// As the shop knows it.
    pub(super) refund: Uuid,
    /// As the provider does: `re_…`, and its intent.
    id: String,
    pub(super) intent: String,
    pub(super) amount: i64,
}

impl CameBack {
    pub(super) fn of(arrived: &Arrived) -> Self {
        let of_the_page = || Uuid::from_u128(shop_stripe::fingerprint(&arrived.id));
        Self {
            refund: arrived.refund.parse().unwrap_or_else(|_| of_the_page()),
            id: arrived.id.clone(),
            intent: arrived.intent.clone(),
            amount: arrived.amount,
        }
    }
}

/// What somebody was told of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    Paid,
    Cancelled,
    PaidBack(Uuid),
}

impl World {
    /// The world of that seed, before anything happens.
    pub(super) fn of(seed: u64, is_told: bool) -> Arc<Self> {
        let sky = Sky::of(seed, is_told);
        let stage = Arc::new(Stage::default());
        let units = sky.one_of(&[3, 100, 100, 100]);
        let town = Town::of(&["ada", "bob"], units, sky.clone(), stage.clone());
        let store = Arc::new(Memory::new(OverStore(sky.clone())));
        let world = Arc::new(Self {
            stripe: Mutex::new(Books::since(sky.now().unix_timestamp())),
            providers: Mutex::default(),
            replicas: Mutex::default(),
            deaths: AtomicU64::new(sky.one_of(&[0, 1, 2, 4])),
            deadliness: sky.one_of(&[8, 40, 150]),
            trouble: sky.one_of(&[0, 3, 10, 10]),
            posted: AtomicUsize::new(0),
            on_the_way: AtomicUsize::new(0),
            carried: Arc::default(),
            promises: Mutex::default(),
            comebacks: AtomicU64::new(sky.one_of(&[0, 0, 1, 3])),
            came_back: Mutex::default(),
            looked: AtomicU64::new(u64::MAX),
            acts: AtomicU64::new(0),
            sky,
            stage,
            town,
            store,
        });
        let settings = provider_settings();
        let network = Arc::new(Network(Arc::downgrade(&world)));
        *world.providers.lock() = stripe_over(network, &settings, world.sky.clone()).expect("a client");
        world.stage.start(Of::World, "relay", world.town.clone().carry(world.store.clone(), world.carried.clone()));
        world
    }

    /// Starts a replica, with its rounds while there is a storm; afterwards the rounds are made by hand.
    pub(super) fn start(self: &Arc<Self>, place: usize) {
        let neighbours = application::Neighbours {
            baskets: Arc::new(self.town.clone()),
            stock: Arc::new(self.town.clone()),
            providers: self.providers.lock().clone(),
            approves_without_token: false,
        };
        let settle_after = RecoverySettings::default().settle_after.get();
        let clock = self.sky.clone();
        let commands = Commands::new(self.store.clone(), neighbours, clock.clone(), settle_after, limits());
        let recovery = Recovery::new(commands.clone(), ProviderSettings::default().timeout.get());
        let bells = Bells::new(commands.clone(), self.store.clone(), clock);
        let replica = Replica {
            held: commands.reservations(),
            queries: Queries::new(self.store.clone()),
            commands,
            recovery,
            bells,
        };
        self.replicas.lock()[place] = Some(replica.clone());
        self.sky.tell(|| format!("replica {place} starts"));
        let recovery = replica.recovery.clone();
        self.stage.start(Of::Replica(place), "start", async move { drop(recovery.at_start().await) });
        if !self.sky.is_calm() {
            self.stage.start(Of::Replica(place), "expire", replica.clone().expire(self.sky.clone()));
            self.stage.start(Of::Replica(place), "settle", replica.settle(self.clone(), place));
        }
    }

    /// Whatever runs, ends; one replica is left, and nothing fails any more.
    pub(super) fn clear_up(self: &Arc<Self>) {
        self.sky.clear_up();
        self.deaths.store(0, Relaxed);
        *self.replicas.lock() = Default::default();
        self.sky.tell(|| "it clears up".to_owned());
        self.start(0);
    }

    /// Has some replica do something; nothing when none is up, or it died over it, or took longer than anybody waits.
    pub(super) async fn served<T, W>(self: &Arc<Self>, name: &'static str, work: impl FnOnce(Replica) -> W) -> Option<T>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let up: Vec<_> =
            (0..).zip(self.replicas.lock().iter()).filter_map(|(at, up)| Some((at, up.clone()?))).collect();
        if up.is_empty() {
            return None;
        }
        let (place, replica) = up[usize::try_from(self.sky.below(up.len() as u64)).expect("a place")].clone();
        let (answer, answered) = oneshot::channel();
        let work = work(replica);
        self.stage.start(Of::Replica(place), name, async move { drop(answer.send(work.await)) });
        timeout(Duration::from_mins(1), answered).await.ok()?.ok()
    }

    /// Moves the provider on to now, and posts what it has to tell.
    pub(super) fn at_stripe<T>(self: &Arc<Self>, act: impl FnOnce(&mut Books) -> T) -> T {
        let mut books = self.stripe.lock();
        books.now_is(self.sky.now().unix_timestamp());
        let answer = act(&mut books);
        let fresh = books.events()[self.posted.load(Relaxed)..].to_vec();
        self.posted.fetch_add(fresh.len(), Relaxed);
        self.acts.fetch_add(1, Relaxed);
        drop(books);
        for event in &fresh {
            self.post(event);
        }
        answer
    }

    /// Sends an event: at once or late, once or again, and perhaps never where recovery asks, too.
    fn post(self: &Arc<Self>, event: &Event) {
        self.sky.tell(|| format!("stripe: {} of {}", event.kind, event.intent));
        let is_of_the_charge = event.kind.starts_with("payment_intent.");
        if (is_of_the_charge || self.is_looked_for(event)) && self.sky.one_in(4) {
            return;
        }
        for copy in 0..=u64::from(self.sky.one_in(5)) {
            let (world, event) = (self.clone(), event.clone());
            self.on_the_way.fetch_add(1, Relaxed);
            self.stage.start(Of::World, "post", async move {
                world.deliver(&event, is_of_the_charge || copy > 0).await;
                world.on_the_way.fetch_sub(1, Relaxed);
            });
        }
    }

    /// Whether it is about a refund that came back, of which recovery asks for weeks.
    fn is_looked_for(&self, event: &Event) -> bool {
        let is_of = |back: &CameBack| event.body.contains(&format!("\"{}\"", back.id));
        self.sky.now() < NOON + LOOKED_FOR && self.came_back.lock().iter().any(is_of)
    }

    /// Calls until it is taken; what is given up now and then, a few times at most.
    async fn deliver(self: &Arc<Self>, event: &Event, may_be_given_up: bool) {
        for round in 0.. {
            let longest = self.sky.one_of(&[0, 0, 1, 60, 7200]);
            self.sky.wait(Duration::from_secs(longest)).await;
            let signature = event.signature(SECRET, self.sky.now().unix_timestamp());
            let body = event.body.clone();
            let rung = self.served("bell", |replica| async move {
                let rung = replica.bells.ring(STRIPE, &signature, body.as_bytes()).await;
                rung.map_err(|error| error.to_string())
            });
            let rung = rung.await;
            self.sky.tell(|| format!("webhook {} of {}: {rung:?}", event.kind, event.intent));
            let is_taken = matches!(rung, Some(Ok(rung)) if rung != Rung::Again);
            if is_taken || may_be_given_up && round > 2 {
                return;
            }
            sleep(Duration::from_mins(1)).await;
        }
    }

    /// One round of recovery by hand.
    pub(super) async fn recover(self: &Arc<Self>) {
        let round = self.served("recovery", |replica| async move {
            let Replica { recovery, held, .. } = replica;
            drop(recovery.expire().await);
            for left in recovery.claim(100).await.unwrap_or_default() {
                recovery.attempt(left).await;
            }
            held.flush().await;
        });
        round.await.unwrap_or_default();
    }

    /// Whether everything is over: nothing to settle, nothing on its way, and it is known what came back.
    pub(super) fn is_over(&self) -> bool {
        let is_open = |payment: &Payment| {
            let open = [Status::Pending, Status::Processing, Status::RequiresAction, Status::Authorised];
            open.contains(&payment.status) || payment.refunds.iter().any(crate::domain::Refund::is_open)
        };
        let is_carried = *self.carried.lock() == self.store.events(0).len();
        let payments = self.store.payments();
        let is_believed = |back: &CameBack| {
            let known = payments.iter().find_map(|payment| payment.refund(back.refund));
            known.is_some_and(|known| known.status == RefundStatus::Paid)
        };
        is_carried
            && self.on_the_way.load(Relaxed) == 0
            && !payments.iter().any(is_open)
            && !self.came_back.lock().iter().any(is_believed)
    }

    /// What goes wrong with a request.
    fn fault(&self, call: Option<Call>) -> Option<Fault> {
        if self.sky.is_calm() || !self.sky.one_in(self.trouble) {
            return None;
        }
        let faults =
            [Fault::LoseReply, Fault::LoseRequest, Fault::FailBefore, Fault::FailAfter, Fault::Limit, Fault::Lock];
        let fault = faults[usize::try_from(self.sky.below(6)).expect("a place")].clone();
        self.sky.tell(|| format!("{fault:?} at {call:?}"));
        Some(fault)
    }
}

impl Direction for Arc<World> {
    fn below(&self, count: usize) -> usize {
        usize::try_from(self.sky.below(count as u64)).expect("a place")
    }

    fn fate(&self, replica: usize, task: &'static str) -> Fate {
        if self.deaths.load(Relaxed) == 0 || !self.sky.one_in(self.deadliness) {
            return Fate::GoesOn;
        }
        self.deaths.fetch_sub(1, Relaxed);
        if self.sky.one_in(3) && !["expire", "settle"].contains(&task) {
            self.sky.tell(|| format!("{task} of replica {replica} is dropped"));
            return Fate::IsDropped;
        }
        self.sky.tell(|| format!("replica {replica} dies over {task}"));
        self.replicas.lock()[replica] = None;
        let world = self.clone();
        self.stage.start(Of::World, "restart", async move {
            world.sky.wait(Duration::from_secs(90)).await;
            if !world.sky.is_calm() {
                world.start(replica);
            }
        });
        Fate::DiesWithAll
    }

    fn look(&self) -> Result<(), String> {
        let moved = self.store.writes() + self.acts.load(Relaxed);
        if self.looked.swap(moved, Relaxed) == moved {
            return Ok(());
        }
        super::books::never_amiss(self)
    }
}

impl Replica {
    async fn expire(self, sky: Arc<Sky>) {
        loop {
            drop(self.recovery.expire().await);
            self.held.flush().await;
            sky.wait(ROUND).await;
        }
    }

    async fn settle(self, world: Arc<World>, place: usize) {
        loop {
            for left in self.recovery.claim(16).await.unwrap_or_default() {
                let recovery = self.recovery.clone();
                world.stage.start(Of::Replica(place), "attempt", async move {
                    recovery.attempt(left).await;
                });
            }
            world.sky.wait(ROUND).await;
        }
    }
}

fn provider_settings() -> ProviderSettings {
    let mut settings = ProviderSettings::default();
    let stripe = &mut settings.stripe;
    (stripe.secret_key, stripe.webhook_secrets) = (Secret::from(KEY), Secret::from(SECRET));
    "https://shop.example/paid/{payment}".clone_into(&mut stripe.return_url);
    // It goes by a clock of its own.
    stripe.circuit_breaker.enabled = false;
    settings
}

/// The way to the provider. What was sent arrives, whether or not anybody still waits for the answer.
struct Network(std::sync::Weak<World>);

#[async_trait]
impl Wire for Network {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Broken> {
        let lost = || Broken::Lost("the connection broke".to_owned());
        let world = self.0.upgrade().ok_or_else(lost)?;
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let body = String::from_utf8_lossy(request.body());
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let asked = Asked::new(request.method().as_str(), target, &body, header);
        let fault = world.fault(asked.call);
        if matches!(fault, Some(Fault::LoseRequest)) {
            world.sky.travel().await;
            return Err(lost());
        }
        let (answer, answered) = oneshot::channel();
        let at_stripe = world.clone();
        world.stage.start(Of::World, "stripe", async move {
            at_stripe.sky.travel().await;
            let known = at_stripe.at_stripe(|books| books.arrive(&asked, fault.as_ref()));
            let told = if let Some(known) = known {
                known
            } else {
                at_stripe.sky.travel().await;
                at_stripe.at_stripe(|books| books.finish(&asked, fault.as_ref()))
            };
            at_stripe.sky.tell(|| format!("stripe: {:?} {} answers {}", asked.call, asked.path, told.status));
            at_stripe.sky.travel().await;
            if !matches!(fault, Some(Fault::LoseReply)) {
                answer.send(told).ok();
            }
        });
        drop(world);
        let told = answered.await.map_err(|_| lost())?;
        let mut response = Response::builder().status(told.status);
        for (name, value) in told.headers {
            response = response.header(name, value);
        }
        response.body(Bytes::from(told.body)).map_err(|error| Broken::Lost(error.to_string()))
    }
}
