//! Work that goes on when its caller goes away.

use std::future::Future;

use shop_fault::Fault;
use shop_identity::Caller;
use shop_runtime::Tasks;
use shop_telemetry::context;
use tokio::sync::oneshot;

/// Runs `work` to its end, also when the client that waits for it hangs up: a command that charges must not stop
/// between the charge and the note of it. Keeps the request's context, its caller and its idempotency key.
pub async fn detached<T, F>(tasks: &Tasks, work: F) -> Result<T, Fault>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let context = context::current();
    let work = shop_idempotency::following(Caller::current().calls(work));
    let work = async move {
        let done = match context {
            Some(context) => context::scope(context, work).await,
            None => work.await,
        };
        // The client may be gone; the work is done all the same.
        answer.send(done).ok();
    };
    tasks.spawn("command", work);
    answered.await.map_err(|_| Fault::internal("the command ended without an answer"))
}
