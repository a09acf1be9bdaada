//! The keys of one process: who holds which, and the answers on their way to the store.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shop_fault::{Fault, Kind};
use shop_identity::Caller;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Begin, Begun, Claim, Fingerprint, Key, LEASE, Lease, Run, Store, Stored};

/// How often leases are renewed: three times in their length.
const BEAT: Duration = LEASE.checked_div(3).expect("three is not zero");

/// How long an answer waits for others to be stored with. A repeat that comes to this process meanwhile gets it all the same;
/// nobody repeats what he has an answer to, and whose answer was lost takes longer than that to notice.
const LINGER: Duration = Duration::from_millis(100);

/// Answers that wait at most, so that a slow store costs no memory without bound: one more is stored by itself, and its request
/// waits for that.
const MOST_WAITING: usize = 1024;

/// The idempotency keys of one process. Clones share them.
///
/// Taking a key is a commit, for it must be known before anything is done under it. Its answer is not waited for: answers are
/// stored together, some time after they were given ([`Keys::run`]). One that is lost with the process is made again, as the
/// repeat runs under the same operation id and finds what was done.
#[derive(Clone)]
pub struct Keys {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    taken: Notify,
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// Whose runs live or whose answers wait, and since when.
    held: HashMap<Lease, Instant>,
    /// Answers not yet stored, by key and operation.
    answers: HashMap<(String, &'static str), Answer>,
    /// Leases of runs that nobody waits for any more.
    dropped: Vec<Lease>,
}

struct Answer {
    lease: Lease,
    fingerprint: Fingerprint,
    stored: Stored,
}

impl Keys {
    /// Keys kept in `store`, of which no other `Keys` of this process knows.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, shared: Arc::default() }
    }

    /// Takes `key`, which is the caller's alone, for a request to `method` with that fingerprint. Refused while another request
    /// holds it, when it was used for something else, and when the store is away.
    pub async fn begin(&self, method: &'static str, key: Key, fingerprint: Fingerprint) -> Result<Begun, Fault> {
        let claim = Claim::new(Caller::current().key_space(), key, method, fingerprint);
        let begun = match self.waiting(&claim) {
            Some(known) => known,
            None => self.store.begin(&claim).await.map_err(|error| {
                Fault::new(Kind::Unavailable, "store_unavailable", "the store of idempotency keys is not available")
                    .with_source(error)
            })?,
        };
        match begun {
            Begin::Run { lease, operation, fresh } => {
                self.state().held.insert(lease.clone(), Instant::now());
                self.shared.taken.notify_one();
                Ok(Begun::Run(Run::new(self.clone(), claim, lease, operation, fresh)))
            }
            Begin::Replay(answer) => Ok(Begun::Replay(answer)),
            Begin::InFlight => Err(Fault::new(
                Kind::Busy,
                "idempotency_in_flight",
                "a request with this idempotency key is still running; try again",
            )
            .with_retry_after(Duration::from_secs(1))),
            Begin::Mismatch => Err(Fault::new(
                Kind::Invalid,
                "idempotency_key_reused",
                "this idempotency key was used for another request",
            )),
        }
    }

    /// Stores answers and renews leases until `stop`, which has to come after the last request; stores what is left then.
    pub async fn run(self, stop: CancellationToken) {
        let beating = stop.run_until_cancelled(self.beat());
        let storing = async {
            while stop.run_until_cancelled(self.shared.ended.notified()).await.is_some() {
                stop.run_until_cancelled(tokio::time::sleep(LINGER)).await;
                self.flush().await;
            }
            self.flush().await;
        };
        tokio::join!(beating, storing);
    }

    /// Renews what is held for long, for as long as anything is held. Most runs end before that, and cost nothing here.
    async fn beat(&self) {
        loop {
            self.shared.taken.notified().await;
            while !self.state().held.is_empty() {
                tokio::time::sleep(BEAT).await;
                let long = self.held_for(BEAT / 2);
                if !long.is_empty()
                    && let Err(error) = self.store.renew(&long).await
                {
                    tracing::warn!(error = %error, keys = long.len(), "leases of idempotency keys could not be renewed");
                }
            }
        }
    }

    fn held_for(&self, least: Duration) -> Vec<Lease> {
        let state = self.state();
        state.held.iter().filter(|(_, since)| since.elapsed() >= least).map(|(lease, _)| lease.clone()).collect()
    }

    /// Stores the answers that wait, and lets go of what was dropped.
    async fn flush(&self) {
        let (answers, dropped) = {
            let mut state = self.state();
            let answers: Vec<_> = state.answers.values().map(|one| (one.lease.clone(), one.stored.clone())).collect();
            (answers, std::mem::take(&mut state.dropped))
        };
        if !answers.is_empty() {
            self.finish(&answers).await;
            let stored: HashSet<_> = answers.into_iter().map(|(lease, _)| lease).collect();
            let mut state = self.state();
            state.held.retain(|lease, _| !stored.contains(lease));
            state.answers.retain(|_, waiting| !stored.contains(&waiting.lease));
        }
        if !dropped.is_empty() {
            self.release(&dropped).await;
        }
    }

    async fn finish(&self, answers: &[(Lease, Stored)]) {
        if let Err(error) = self.store.finish(answers).await {
            // The effects stand; a repeat runs again under the same operation id and finds them.
            tracing::warn!(error = %error, keys = answers.len(), "answers to idempotency keys could not be stored");
        }
    }

    async fn release(&self, leases: &[Lease]) {
        if let Err(error) = self.store.release(leases).await {
            tracing::warn!(error = %error, keys = leases.len(), "idempotency keys stay taken until their leases end");
        }
    }

    /// Keeps the answer of a run.
    pub(crate) async fn keep(&self, claim: &Claim, lease: Lease, stored: Stored) {
        if self.state().answers.len() >= MOST_WAITING {
            // From here on the lease has to do: nobody renews it for a caller that goes away now.
            self.state().held.remove(&lease);
            return self.finish(&[(lease, stored)]).await;
        }
        let answer = Answer { lease, fingerprint: claim.fingerprint, stored };
        let mut state = self.state();
        // That of a run which lost the key to this one is not to be stored any more.
        if let Some(late) = state.answers.insert((claim.name().to_owned(), claim.method), answer) {
            state.held.remove(&late.lease);
        }
        drop(state);
        self.shared.ended.notify_one();
    }

    /// Lets go of the key of a run: for any request if it was never used, else for a repeat of this one.
    pub(crate) async fn let_go(&self, lease: Lease, unused: bool) {
        self.state().held.remove(&lease);
        if !unused {
            return self.release(&[lease]).await;
        }
        if let Err(error) = self.store.forget(&lease).await {
            tracing::warn!(error = %error, "an idempotency key stays taken until its lease ends");
        }
    }

    /// Lets go of the key of a run that nobody waits for any more, in a while.
    pub(crate) fn dropped(&self, lease: Lease) {
        let mut state = self.state();
        state.held.remove(&lease);
        state.dropped.push(lease);
        drop(state);
        self.shared.ended.notify_one();
    }

    /// What is known of a key whose answer waits to be stored.
    fn waiting(&self, claim: &Claim) -> Option<Begin> {
        let state = self.state();
        let answer = state.answers.get(&(claim.name().to_owned(), claim.method))?;
        let is_same = claim.fingerprint.is_of(&answer.fingerprint.asked);
        Some(if is_same { Begin::Replay(answer.stored.clone()) } else { Begin::Mismatch })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use shop_input::Id;
    use uuid::Uuid;

    use super::*;
    use crate::BoxError;

    /// A store that takes every key and notes what else it is asked.
    #[derive(Default)]
    struct Notes {
        taken: AtomicU64,
        renewed: Mutex<Vec<Vec<Lease>>>,
        finished: Mutex<Vec<Vec<(Lease, Stored)>>>,
        released: Mutex<Vec<Lease>>,
    }

    #[async_trait]
    impl Store for Notes {
        async fn begin(&self, claim: &Claim) -> Result<Begin, BoxError> {
            let owner = Uuid::from_u64_pair(7, self.taken.fetch_add(1, Ordering::Relaxed));
            let lease = Lease { name: claim.name().to_owned(), owner };
            Ok(Begin::Run { lease, operation: Uuid::from_u128(8), fresh: true })
        }

        async fn renew(&self, leases: &[Lease]) -> Result<(), BoxError> {
            self.renewed.lock().expect("whole").push(leases.to_vec());
            Ok(())
        }

        async fn finish(&self, answers: &[(Lease, Stored)]) -> Result<(), BoxError> {
            self.finished.lock().expect("whole").push(answers.to_vec());
            Ok(())
        }

        async fn release(&self, leases: &[Lease]) -> Result<(), BoxError> {
            self.released.lock().expect("whole").extend_from_slice(leases);
            Ok(())
        }

        async fn forget(&self, _lease: &Lease) -> Result<(), BoxError> {
            Ok(())
        }
    }

    const ASKED: Fingerprint = Fingerprint { asked: [1; 32], bytes: [2; 32] };

    async fn run(keys: &Keys, key: &str) -> Run {
        match keys.begin("CreatePayment", Key::read(key).expect("a key"), ASKED).await {
            Ok(Begun::Run(run)) => run,
            _ => panic!("{key} should run"),
        }
    }

    fn answer() -> Stored {
        Stored { status: 201, headers: Vec::new(), body: b"{}".to_vec() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_charge_keeps_its_key_and_a_quick_one_is_never_renewed() {
        let store = Arc::new(Notes::default());
        let (keys, stop) = (Keys::new(store.clone()), CancellationToken::new());
        let work = async {
            run(&keys, "quick").await.done(answer()).await;
            let (slow, other) = (run(&keys, "slow").await, run(&keys, "slow, too").await);
            tokio::time::sleep(LEASE * 2).await;
            drop((slow, other));
            tokio::time::sleep(LEASE * 2).await;
            stop.cancel();
        };
        tokio::join!(keys.clone().run(stop.clone()), work);
        let renewed = store.renewed.lock().expect("whole");
        // At least once in each half of a lease, both in one statement, and not once more after their end.
        assert!((4..=6).contains(&renewed.len()), "{renewed:?}");
        assert!(renewed.iter().all(|leases| leases.len() == 2), "{renewed:?}");
        assert_eq!(store.released.lock().expect("whole").len(), 2);
        assert!(keys.state().held.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_given_close_together_are_one_commit_that_no_buyer_waits_for() {
        let store = Arc::new(Notes::default());
        let (keys, stop) = (Keys::new(store.clone()), CancellationToken::new());
        let work = async {
            let start = Instant::now();
            for number in 0..50 {
                run(&keys, &number.to_string()).await.done(answer()).await;
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
            tokio::time::sleep(LINGER * 2).await;
            assert_eq!(store.finished.lock().expect("whole").iter().map(Vec::len).collect::<Vec<_>>(), [50]);
            assert!(keys.state().answers.is_empty() && keys.state().held.is_empty());
            stop.cancel();
        };
        tokio::join!(keys.clone().run(stop.clone()), work);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_slowly_costs_no_memory_without_bound() {
        let store = Arc::new(Notes::default());
        let keys = Keys::new(store.clone());
        for number in 0..MOST_WAITING + 5 {
            run(&keys, &number.to_string()).await.done(answer()).await;
        }
        assert_eq!((keys.state().answers.len(), store.finished.lock().expect("whole").len()), (MOST_WAITING, 5));
    }

    #[tokio::test]
    async fn a_run_that_lost_its_key_and_ends_late_is_held_no_longer() {
        let keys = Keys::new(Arc::new(Notes::default()));
        let (late, next) = (run(&keys, "k").await, run(&keys, "k").await);
        late.done(answer()).await;
        next.done(answer()).await;
        keys.flush().await;
        assert!(keys.state().held.is_empty() && keys.state().answers.is_empty());
    }

    #[tokio::test]
    async fn a_repeat_gets_an_answer_that_is_not_stored_yet() {
        let keys = Keys::new(Arc::new(Notes::default()));
        run(&keys, "k").await.done(answer()).await;
        let again = |method, asked| {
            let keys = keys.clone();
            async move { keys.begin(method, Key::read("k").expect("a key"), Fingerprint { asked, bytes: [3; 32] }).await }
        };
        assert!(matches!(again("CreatePayment", [1; 32]).await, Ok(Begun::Replay(stored)) if stored == answer()));
        let reused = again("CreatePayment", [9; 32]).await.err();
        assert_eq!(reused.map(|fault| fault.code().to_owned()).as_deref(), Some("idempotency_key_reused"));
        assert!(
            matches!(again("RefundPayment", [1; 32]).await, Ok(Begun::Run(_))),
            "another operation's is another key"
        );
    }
}
