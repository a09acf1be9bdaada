//! Messages that are published while a subscriber is at others: they wait, and are delivered next, together.

use std::collections::VecDeque;

use parking_lot::Mutex;
use shop_telemetry::RequestContext;
use tokio::sync::{Mutex as Turns, oneshot};

use crate::{Delivery, Handler, Message, RetryPolicy, deliver_all};

/// What waits for one subscriber.
#[derive(Default)]
pub(crate) struct Gathering {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Turns<()>,
}

struct Waiting {
    message: Message,
    context: RequestContext,
    answer: oneshot::Sender<Option<Delivery>>,
}

impl Gathering {
    /// Delivers a message together with those that wait beside it; none when it has to be delivered alone. Whoever has the
    /// turn serves all of them; when he goes away meanwhile, each has to be delivered alone.
    pub(crate) async fn deliver(
        &self,
        handler: &dyn Handler,
        group: &str,
        message: &Message,
        context: &RequestContext,
        policy: RetryPolicy,
    ) -> Option<Delivery> {
        let (answer, mut answered) = oneshot::channel();
        let (message, context) = (message.clone(), context.clone());
        self.waiting.lock().push_back(Waiting { message, context, answer });
        let _turn = tokio::select! {
            biased;
            told = &mut answered => return told.ok().flatten(),
            turn = self.turns.lock() => turn,
        };
        loop {
            match answered.try_recv() {
                Ok(told) => return told,
                Err(oneshot::error::TryRecvError::Closed) => return None,
                Err(oneshot::error::TryRecvError::Empty) => self.serve(handler, group, policy).await,
            }
        }
    }

    /// Delivers the first of those that still wait.
    async fn serve(&self, handler: &dyn Handler, group: &str, policy: RetryPolicy) {
        let served: Vec<Waiting> = {
            let mut waiting = self.waiting.lock();
            waiting.retain(|one| !one.answer.is_closed());
            let count = waiting.len().min(handler.at_once());
            waiting.drain(..count).collect()
        };
        let messages: Vec<_> = served.iter().map(|one| (&one.message, &one.context)).collect();
        let mut told = deliver_all(handler, group, &messages, policy).await.map(Vec::into_iter);
        for one in served {
            // Who went away meanwhile publishes it again, and finds that it took effect.
            let _ = one.answer.send(told.as_mut().and_then(Iterator::next));
        }
    }
}
