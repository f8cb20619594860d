//! Identical questions for samples that are asked at the same time go out once.
//!
//! Rollouts of one service, and gates of one rollout, ask the same of the same source. Whoever asks
//! within [`FRESH`] of the first waits for its answer, or takes the one that has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use rollout::gate::Reading;

use super::{
    prometheus::Prometheus,
    range::{RangeAnswer, RangeQuery},
};

/// How long others may join a question, or take its answer, from when it was asked. Less than the
/// time between two scrapes of most, so hardly anybody misses a sample by it.
const FRESH: Duration = Duration::from_millis(900);
/// Most questions that are kept. More are asked by everybody for himself.
const FLIGHTS_MAX: usize = 256;

/// What makes two questions one: the source with all its settings, its token among them, since it
/// may show others something else.
type Question = (Prometheus, RangeQuery);

type Flight = Shared<BoxFuture<'static, Result<RangeAnswer, Reading>>>;

/// The questions that may be joined.
#[derive(Debug, Default)]
pub struct SingleFlight(Mutex<HashMap<Question, Flight>>);

impl SingleFlight {
    /// The answer to `question`: that of others who asked it a moment ago, or the one of `ask`.
    /// Failures are shared with those who wait already, and with nobody later.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: Question,
        ask: impl Future<Output = Result<RangeAnswer, Reading>> + Send + 'static,
    ) -> Result<RangeAnswer, Reading> {
        self.join(question, ask).await
    }

    fn join(
        self: &Arc<Self>,
        question: Question,
        ask: impl Future<Output = Result<RangeAnswer, Reading>> + Send + 'static,
    ) -> Flight {
        let mut flights = self.flights();
        let under_way = flights.get(&question);
        if let Some(flight) = under_way
            && !matches!(flight.peek(), Some(Err(_)))
        {
            return flight.clone();
        }
        let flight = ask.boxed().shared();
        if flights.len() < FLIGHTS_MAX || flights.contains_key(&question) {
            flights.insert(question.clone(), flight.clone());
            drop(flights);
            tokio::spawn(Arc::clone(self).forget(question, flight.clone()));
        }
        flight
    }

    /// Lets nobody join `flight` any more, once it is [`FRESH`] no longer.
    async fn forget(self: Arc<Self>, question: Question, flight: Flight) {
        tokio::time::sleep(FRESH).await;
        let mut flights = self.flights();
        if flights.get(&question).is_some_and(|it| it.ptr_eq(&flight)) {
            flights.remove(&question);
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Question, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
