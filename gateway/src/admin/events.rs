//! What goes on in the gateway, told once a second to whoever listens. A snapshot is made once for all of them, and none
//! while nobody listens.

pub(crate) mod history;
mod snapshot;
mod window;

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use self::history::History;
use self::window::Window;
use crate::message::reason::Reason;
use crate::message::refusal::Refusal;
use crate::state::State;
use crate::state::guard::Pass;

/// How often listeners are told. What people watch need not be newer.
const TICK: Duration = Duration::from_secs(1);
/// Listeners at once: more people than look after one gateway, and less than it would notice.
const MOST: usize = 32;
/// Events that wait for a listener who is slow to take them. Later ones pass it by: it gets the newest after those.
const WAITING: usize = 2;
/// What is sent first: browsers shall try again after two seconds when the connection is lost.
const GREETING: &str = "retry: 2000\n\n";

/// The listeners.
#[derive(Default)]
pub(crate) struct Events {
    state: Mutex<Subscribers>,
    /// Somebody listens again.
    wanted: Notify,
    /// What listeners are told first.
    pub(crate) history: History,
}

#[derive(Default)]
struct Subscribers {
    all: Vec<Subscriber>,
    /// The latest event, as long as it is not older than a tick.
    latest: Option<Bytes>,
    closed: bool,
}

struct Subscriber {
    sender: mpsc::Sender<Bytes>,
    /// What let the listener in.
    pass: Pass,
}

/// Hears every event until it is dropped.
pub(crate) type Listener = mpsc::Receiver<Bytes>;

impl Subscribers {
    fn admit(&mut self) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::new(Reason::Draining, "the gateway is shutting down").retry_after(TICK));
        }
        self.all.retain(|subscriber| !subscriber.sender.is_closed());
        if self.all.len() >= MOST {
            let detail = format!("{MOST} listen already; close another page, or come back later");
            return Err(Refusal::new(Reason::RateLimited, detail).retry_after(Duration::from_secs(10)));
        }
        Ok(())
    }
}

impl Events {
    /// Refuses who comes when there is no room for one more.
    pub(crate) fn has_room(&self) -> Result<(), Refusal> {
        self.state.lock().admit()
    }

    /// Somebody listens who was let in with `pass`, and is told `history` first.
    pub(crate) fn listen(&self, pass: Pass, history: &Value) -> Result<Listener, Refusal> {
        let mut state = self.state.lock();
        state.admit()?;
        let (sender, receiver) = mpsc::channel(WAITING);
        // There is room for both.
        let greeting = Bytes::from(format!("{GREETING}event: history\ndata: {history}\n\n"));
        for event in std::iter::once(greeting).chain(state.latest.clone()) {
            let _ = sender.try_send(event);
        }
        state.all.push(Subscriber { sender, pass });
        self.wanted.notify_one();
        Ok(receiver)
    }

    /// No more events, and nobody else may listen.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.all.clear();
    }

    /// Whether anybody listens. Who came in with what does not hold now does not any more.
    fn keep_subscribers(&self, holds: impl Fn(&Pass) -> bool) -> bool {
        let mut state = self.state.lock();
        state.all.retain(|subscriber| !subscriber.sender.is_closed() && holds(&subscriber.pass));
        if state.all.is_empty() {
            state.latest = None;
        }
        !state.all.is_empty()
    }

    fn tell(&self, event: &Bytes) {
        let mut state = self.state.lock();
        for subscriber in &state.all {
            // One that is slow hears the next one.
            let _ = subscriber.sender.try_send(event.clone());
        }
        state.latest = (!state.all.is_empty()).then(|| event.clone());
    }
}

/// Tells listeners what goes on, for ever.
pub(crate) async fn run(events: &Events, state: &State) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut window = Window::default();
    loop {
        let generation = state.settings.current();
        if !events.keep_subscribers(|pass| generation.guard.holds(pass)) {
            drop(generation);
            window.clear();
            events.wanted.notified().await;
            ticks.reset_immediately();
            // Whoever it was may be gone again.
            ticks.tick().await;
            continue;
        }
        window.look(state, &generation);
        let snapshot = snapshot::make(state, &generation, &window);
        drop(generation);
        events.tell(&Bytes::from(format!("data: {snapshot}\n\n")));
        ticks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn heard(listener: &mut Listener) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(event)) = listener.poll_recv(&mut cx) {
            all.push(String::from_utf8_lossy(&event).trim().to_owned());
        }
        all
    }

    #[test]
    fn who_comes_late_hears_the_latest_and_who_is_slow_misses_some() {
        let events = Events::default();
        assert!(!events.keep_subscribers(|_| true));
        let mut slow = events.listen(Pass::Here, &Value::Null).expect("room");
        for event in ["1", "2", "3"] {
            events.tell(&Bytes::from_static(event.as_bytes()));
        }
        let mut late = events.listen(Pass::Here, &Value::Null).expect("room");
        assert_eq!(heard(&mut late), ["retry: 2000\n\nevent: history\ndata: null", "3"]);
        assert_eq!(heard(&mut slow), ["retry: 2000\n\nevent: history\ndata: null", "1"]);
        events.tell(&Bytes::from_static(b"4"));
        assert_eq!((heard(&mut slow), heard(&mut late)), (vec!["4".to_owned()], vec!["4".to_owned()]));
    }

    #[test]
    fn there_is_room_for_so_many_and_for_others_when_they_leave() {
        let events = Events::default();
        let mut all: Vec<_> = (0..MOST).map(|_| events.listen(Pass::Here, &Value::Null).expect("room")).collect();
        assert!(events.listen(Pass::Here, &Value::Null).is_err_and(|refusal| refusal.reason == Reason::RateLimited));
        all.pop();
        all.push(events.listen(Pass::Here, &Value::Null).expect("room again"));
        events.close();
        assert!(events.listen(Pass::Here, &Value::Null).is_err_and(|refusal| refusal.reason == Reason::Draining));
        let mut cx = Context::from_waker(Waker::noop());
        for listener in &mut all {
            heard(listener);
            assert_eq!(listener.poll_recv(&mut cx), Poll::Ready(None), "it ends");
        }
    }

    #[test]
    fn a_new_token_ends_what_the_old_one_opened() {
        let events = Events::default();
        let mut old = events.listen(Pass::Token([1; 32]), &Value::Null).expect("room");
        let _new = events.listen(Pass::Token([2; 32]), &Value::Null).expect("room");
        assert!(events.keep_subscribers(|pass| *pass == Pass::Token([2; 32])));
        heard(&mut old);
        assert_eq!(old.poll_recv(&mut Context::from_waker(Waker::noop())), Poll::Ready(None));
        assert!(!events.keep_subscribers(|pass| *pass == Pass::Here), "the other way round too");
    }
}
