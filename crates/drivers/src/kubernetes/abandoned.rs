//! Writes whose caller went away: an urgent pass drops the one under way at any await, and with it
//! whoever waits for an answer. The write is made all the same, so it is finished, its answer kept,
//! and whoever looks next waits for it: a look at what was before it would decide on a world that is
//! gone already, such as pods that were just scaled away.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    locked,
    request::{Failure, RequestError, failed},
};

/// How long a look waits for such a write: a healthy API server answers far sooner, and a slow one
/// must not hold up a rollback.
const LOOK_WAITS: Duration = Duration::from_millis(250);

/// The abandoned writes by namespace.
#[derive(Debug, Default)]
pub(super) struct Abandoned(Mutex<BTreeMap<String, Vec<Unanswered>>>);

#[derive(Debug, Clone)]
struct Unanswered {
    answered: CancellationToken,
    until: Instant,
}

/// A write that somebody waits for.
struct Awaited<'a> {
    abandoned: &'a Abandoned,
    namespace: &'a str,
    answered: CancellationToken,
}

impl Abandoned {
    /// Makes a write and waits for its answer; it is finished also when nobody waits any more.
    pub(super) async fn or_answered<T: Send + 'static>(
        &self,
        namespace: &str,
        operation: &str,
        write: impl Future<Output = Result<T, RequestError>> + Send + 'static,
    ) -> Result<T, RequestError> {
        let answered = CancellationToken::new();
        let done = answered.clone().drop_guard();
        let _awaited = Awaited {
            abandoned: self,
            namespace,
            answered,
        };
        let written = tokio::spawn(async move {
            let _done = done;
            write.await
        });
        written.await.unwrap_or_else(|error| {
            let message = format!("it was not finished: {error}");
            Err(failed(operation, Failure::Unknown, message))
        })
    }

    /// Waits, for a moment at most, until no abandoned write of the namespace is unanswered.
    pub(super) async fn settled(&self, namespace: &str) {
        for write in self.unanswered(namespace) {
            // Late: what is known is the best there is, and who decides on it looks again.
            tokio::select! {
                () = write.answered.cancelled() => {}
                () = tokio::time::sleep_until(write.until.into()) => {}
            }
        }
    }

    fn unanswered(&self, namespace: &str) -> Vec<Unanswered> {
        let mut abandoned = locked(&self.0);
        let Some(writes) = abandoned.get_mut(namespace) else {
            return Vec::new();
        };
        let now = Instant::now();
        writes.retain(|it| !it.answered.is_cancelled() && it.until > now);
        let left = writes.clone();
        if left.is_empty() {
            abandoned.remove(namespace);
        }
        left
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if self.answered.is_cancelled() {
            return;
        }
        let mut abandoned = locked(&self.abandoned.0);
        let writes = abandoned.entry(self.namespace.to_owned()).or_default();
        writes.push(Unanswered {
            answered: self.answered.clone(),
            until: Instant::now() + LOOK_WAITS,
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_write_is_finished_without_its_caller_and_looks_wait_for_it() {
        let abandoned = Abandoned::default();
        let (answer, asked) = oneshot::channel();
        let write = async move { asked.await.map_err(|_| failed("", Failure::Unknown, "")) };
        let call = abandoned.or_answered("shop", "patch it", write);
        assert!(call.now_or_never().is_none(), "it was answered at once");
        assert!(abandoned.settled("others").now_or_never().is_some());
        assert!(abandoned.settled("shop").now_or_never().is_none());
        answer.send(()).unwrap();
        abandoned.settled("shop").await;
        assert!(abandoned.unanswered("shop").is_empty());
    }

    #[tokio::test]
    async fn no_look_waits_for_long() {
        let abandoned = Abandoned::default();
        let never = std::future::pending::<Result<(), RequestError>>();
        let call = abandoned.or_answered("shop", "patch it", never);
        assert!(call.now_or_never().is_none());
        abandoned.settled("shop").await;
    }

    #[tokio::test]
    async fn an_answer_is_handed_on() {
        let abandoned = Abandoned::default();
        let made = abandoned.or_answered("shop", "patch it", async { Ok(3) });
        assert_eq!(made.await, Ok(3));
        let refused = failed("patch it", Failure::Conflict, "changed");
        let write = std::future::ready(Err::<(), _>(refused.clone()));
        let made = abandoned.or_answered("shop", "patch it", write).await;
        assert_eq!(made, Err(refused));
        assert!(abandoned.unanswered("shop").is_empty());
    }
}
