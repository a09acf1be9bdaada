//! What can be broken, and how: all of it from outside, the services know nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use shop_events::{Bus, BusError, Envelope, HandleError, Handler, Message, Subscription};
use shop_runtime::CancellationToken;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Flags;
use super::broken::{Broken, Consumer, Percent, Webhooks};
use super::relay::relay;

/// The delay of the key when no flag says another: felt by whoever waits, and yet an answer.
const SLOW: Duration = Duration::from_millis(800);
/// The delay after that: beyond what the demo's gateway waits for (see `own`).
const STUCK: Duration = Duration::from_secs(10);
/// The share when no flag says another: a bad day, on which most purchases still go through.
const FAILING: Percent = Percent(30);

/// The switches. A suite that is built with them feels them.
#[derive(Debug)]
pub struct Switches {
    now: watch::Sender<Broken>,
    asked: Broken,
    relays: Mutex<JoinSet<()>>,
    /// Charges that went wrong so far.
    failed: AtomicUsize,
}

impl Switches {
    /// As the flags say.
    pub fn new(flags: &Flags) -> Arc<Self> {
        let asked = Broken {
            slow: flags.slow_product.map(shop_config::Duration::get).unwrap_or_default(),
            failing: flags.failing_provider.unwrap_or_default(),
            dead: flags.dead_consumer,
            webhooks: flags.webhooks,
        };
        Arc::new(Self { now: watch::Sender::new(asked), asked, relays: Mutex::default(), failed: AtomicUsize::new(0) })
    }

    /// What is broken now.
    pub(crate) fn now(&self) -> Broken {
        *self.now.borrow()
    }

    /// What the next charge is paid with; `dice` is by chance and below 100. Those that fail do so in each way in turn.
    pub(crate) fn token(&self, dice: usize) -> &'static str {
        if dice >= usize::from(self.now().failing.0) {
            return "tok_approve";
        }
        let ways = ["tok_decline", "tok_lost_reply", "tok_slow"];
        ways[self.failed.fetch_add(1, Ordering::Relaxed) % ways.len()]
    }

    /// Mends everything.
    pub(crate) fn mend(&self) {
        self.now.send_replace(Broken::default());
    }

    /// Product becomes slow, then stuck, then well again.
    pub(crate) fn turn_product(&self) {
        let slow = if self.asked.slow.is_zero() { SLOW } else { self.asked.slow };
        self.now.send_modify(|broken| {
            broken.slow = match broken.slow {
                Duration::ZERO => slow,
                now if now < STUCK => STUCK,
                _ => Duration::ZERO,
            };
        });
    }

    /// Charges begin to fail, or stop failing.
    pub(crate) fn turn_provider(&self) {
        let failing = if self.asked.failing.0 == 0 { FAILING } else { self.asked.failing };
        self.now.send_modify(|broken| {
            broken.failing = if broken.failing.0 == 0 { failing } else { Percent::default() };
        });
    }

    /// A consumer dies, or lives again.
    pub(crate) fn turn_consumer(&self) {
        let dead = self.asked.dead.unwrap_or(Consumer::Notification);
        self.now.send_modify(|broken| broken.dead = broken.dead.is_none().then_some(dead));
    }

    /// Webhooks come late, then repeated, then not at all, then at once again.
    pub(crate) fn turn_webhooks(&self) {
        self.now.send_modify(|broken| {
            broken.webhooks = match broken.webhooks {
                None => Some(Webhooks::Late),
                Some(Webhooks::Late) => Some(Webhooks::Repeated),
                Some(Webhooks::Repeated) => Some(Webhooks::Lost),
                Some(Webhooks::Lost) => None,
            };
        });
    }

    /// A bus whose subscribers, who are `consumer`, refuse what comes while the switch says so.
    pub fn bus(self: &Arc<Self>, consumer: Consumer, bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
        Arc::new(Wire { bus, consumer, switches: self.clone() })
    }

    /// Another address of product, which listens at `at`: what goes there takes as long as the switch says.
    pub fn product(&self, at: SocketAddr) -> io::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let front = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut delay = self.now.subscribe();
        // A relay that begins while product is slow is slow at once.
        delay.mark_changed();
        self.relays.lock().spawn(relay(listener, at, delay));
        Ok(front)
    }

    fn is_dead(&self, consumer: Consumer) -> bool {
        self.now().dead == Some(consumer)
    }
}

/// A bus whose subscribers can be made to refuse what comes.
struct Wire {
    bus: Arc<dyn Bus>,
    consumer: Consumer,
    switches: Arc<Switches>,
}

#[async_trait]
impl Bus for Wire {
    async fn publish(&self, message: &Message) -> Result<(), BusError> {
        self.bus.publish(message).await
    }

    fn subscribe(&self, subscription: Subscription, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let (consumer, switches) = (self.consumer, self.switches.clone());
        let handler = Arc::new(Mortal { handler: subscription.handler, consumer, switches });
        self.bus.subscribe(Subscription { handler, ..subscription }, stop)
    }

    async fn check(&self) -> Result<(), BusError> {
        self.bus.check().await
    }

    fn system(&self) -> &'static str {
        self.bus.system()
    }
}

struct Mortal {
    handler: Arc<dyn Handler>,
    consumer: Consumer,
    switches: Arc<Switches>,
}

#[async_trait]
impl Handler for Mortal {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        if self.switches.is_dead(self.consumer) {
            return Err(HandleError::Transient("the demo has switched this consumer off".into()));
        }
        self.handler.handle(envelope).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_fail_in_each_way_in_turn_and_only_the_share_that_is_asked_for() {
        let asked = Broken { failing: Percent(30), ..Broken::default() };
        let switches = switches(asked);
        let tokens = [29, 30, 0, 99, 15].map(|dice| switches.token(dice));
        assert_eq!(tokens, ["tok_decline", "tok_approve", "tok_lost_reply", "tok_approve", "tok_slow"]);
    }

    fn switches(asked: Broken) -> Switches {
        Switches { now: watch::Sender::new(asked), asked, relays: Mutex::default(), failed: AtomicUsize::new(0) }
    }

    #[test]
    fn keys_switch_on_what_flags_say_and_off_again() {
        let (slow, failing, dead) = (Duration::from_secs(2), Percent(50), Some(Consumer::Basket));
        let asked = Broken { slow, failing, dead, webhooks: Some(Webhooks::Late) };
        let switches = switches(asked);
        switches.turn_provider();
        switches.turn_consumer();
        assert_eq!(switches.now(), Broken { slow: asked.slow, webhooks: asked.webhooks, ..Broken::default() });
        let delay = || {
            switches.turn_product();
            switches.now().slow
        };
        assert_eq!([delay(), delay(), delay()], [STUCK, Duration::ZERO, asked.slow]);
        switches.turn_provider();
        switches.turn_consumer();
        let webhooks = [(); 4].map(|()| {
            switches.turn_webhooks();
            switches.now().webhooks
        });
        assert_eq!(webhooks, [Some(Webhooks::Repeated), Some(Webhooks::Lost), None, Some(Webhooks::Late)]);
        assert_eq!(switches.now(), asked);
        switches.mend();
        assert_eq!(switches.now(), Broken::default());
    }
}
