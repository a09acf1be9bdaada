//! A handler that notes what it applied and misbehaves when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use shop_clock::{Clock, SystemClock};
use shop_events::{Context, Envelope, Event, HandleError, Handler, StockOperation, StockUpdated};
use shop_telemetry::context;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A quantity no handler of the tests accepts.
pub(crate) const POISON: u32 = 666;

pub(crate) struct Notebook {
    applied: Mutex<Vec<(i64, u32)>>,
    requests: Mutex<Vec<String>>,
    store_down: AtomicBool,
    broken: AtomicBool,
    lenient: AtomicBool,
    begun: AtomicUsize,
    gate: Option<Semaphore>,
    at_once: usize,
    together: Mutex<Vec<usize>>,
}

impl Notebook {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with_gate(None))
    }

    /// One that takes up to eight at once, all or none.
    pub(crate) fn of_eight() -> Arc<Self> {
        Arc::new(Self { at_once: 8, ..Self::with_gate(None) })
    }

    /// One that waits inside until [`Notebook::open`].
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self::with_gate(Some(Semaphore::new(0))))
    }

    fn with_gate(gate: Option<Semaphore>) -> Self {
        Self {
            applied: Mutex::default(),
            requests: Mutex::default(),
            store_down: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            lenient: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            gate,
            at_once: 1,
            together: Mutex::default(),
        }
    }

    pub(crate) fn open(&self) {
        if let Some(gate) = &self.gate {
            gate.add_permits(1_000_000);
        }
    }

    /// While down, events of odd products wait for their store.
    pub(crate) fn set_store_down(&self, down: bool) {
        self.store_down.store(down, Ordering::SeqCst);
    }

    /// While broken, events of product 1 meet a defect.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// From now on poison takes effect, too.
    pub(crate) fn take_poison(&self) {
        self.lenient.store(true, Ordering::SeqCst);
    }

    /// How often the handler was called.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn applied(&self) -> Vec<(i64, u32)> {
        self.applied.lock().clone()
    }

    /// How many took effect together, each time.
    pub(crate) fn together(&self) -> Vec<usize> {
        self.together.lock().clone()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    pub(crate) fn quantities(&self, product: i64) -> Vec<u32> {
        self.applied().into_iter().filter(|(of, _)| *of == product).map(|(_, quantity)| quantity).collect()
    }
}

impl Notebook {
    /// What an event says, unless something is in its way.
    fn read(&self, envelope: &Envelope) -> Result<(i64, u32), HandleError> {
        let Event::StockUpdated(stock) = &envelope.event else {
            return Err(HandleError::Rejected("not about stock".into()));
        };
        if stock.product_id == 1 && self.broken.load(Ordering::SeqCst) {
            return Err(HandleError::Internal("a table is missing".into()));
        }
        if stock.quantity == POISON && !self.lenient.load(Ordering::SeqCst) {
            return Err(HandleError::Rejected("no such quantity".into()));
        }
        if stock.product_id % 2 == 1 && self.store_down.load(Ordering::SeqCst) {
            return Err(HandleError::Transient("the store is down".into()));
        }
        Ok((stock.product_id, stock.quantity))
    }
}

#[async_trait]
impl Handler for Notebook {
    async fn handle(&self, envelope: &Envelope) -> Result<(), HandleError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("never closed").forget();
        }
        let read = self.read(envelope)?;
        self.applied.lock().push(read);
        self.requests.lock().extend(context::current().map(|context| context.request_id.to_string()));
        Ok(())
    }

    fn at_once(&self) -> usize {
        self.at_once
    }

    async fn handle_all(&self, envelopes: &[Envelope]) -> Result<(), HandleError> {
        let read = envelopes.iter().map(|envelope| self.read(envelope)).collect::<Result<Vec<_>, _>>()?;
        self.together.lock().push(read.len());
        self.applied.lock().extend(read);
        Ok(())
    }
}

/// The event that `quantity` of `product` were restocked.
pub(crate) fn event(product: i64, quantity: u32) -> Envelope {
    Envelope {
        id: SystemClock.new_id(),
        time: SystemClock.now(),
        source: "test".to_owned(),
        event: Event::StockUpdated(StockUpdated {
            product_id: product,
            quantity,
            operation: StockOperation::Increase,
            reason: "test ☕".to_owned(),
            payment_id: Uuid::nil(),
        }),
        context: Context { request_id: Some(format!("request-{quantity}")), ..Context::default() },
    }
}
