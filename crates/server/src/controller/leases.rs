//! This replica's shards. Renewed on a thread and a connection of its own, so that nothing else
//! the process does can delay it.

use std::{
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use store::{Fence, LEASE_TTL, Lease, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Waker;

/// A lease is renewed six times in its life. Each renewal also looks for leases that have run out,
/// so another replica takes over within a life and one such time: 7 s.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_TTL.as_millis() as u64 / 6);
/// Effects stop after half of a lease's life without a confirmed renewal: a new owner waits for the
/// whole of it, so the two never overlap.
const ACT_WITHIN: Duration = Duration::from_millis(LEASE_TTL.as_millis() as u64 / 2);

/// How long a renewal may take. A database that went away without a word answers never: then the
/// connection is given up and made anew.
const RENEW_WITHIN: Duration = ACT_WITHIN;
/// How long giving the leases back may take, connecting included; they expire by themselves.
pub(crate) const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// An answer that took longer says too little about the time.
const CLOCK_WITHIN: Duration = Duration::from_millis(500);

/// The shards this replica looks after, and the database's clock, by which they are held.
#[derive(Debug)]
pub(crate) struct Leases {
    /// Who this replica is.
    pub(crate) owner: Uuid,
    held: RwLock<Held>,
    /// The database's time at a moment of ours.
    clock: RwLock<Option<(Timestamp, Instant)>>,
    /// Rings when another replica gave leases back.
    pub(crate) freed: Notify,
}

#[derive(Debug)]
struct Held {
    leases: Vec<Lease>,
    /// Taken before the renewal was asked for, so that a slow answer shortens the time.
    confirmed: Option<Instant>,
}

impl Leases {
    /// No shards yet.
    pub(crate) fn new() -> Arc<Self> {
        let held = RwLock::new(Held {
            leases: Vec::new(),
            confirmed: None,
        });
        Arc::new(Self {
            owner: Uuid::now_v7(),
            held,
            clock: RwLock::new(None),
            freed: Notify::new(),
        })
    }

    /// Whether effects on the world are still allowed.
    pub(crate) fn may_act(&self) -> bool {
        let confirmed = self.held.read().ok().and_then(|it| it.confirmed);
        confirmed.is_some_and(|it| it.elapsed() < ACT_WITHIN)
    }

    /// Whether they are to what was decided under `fence`: its shard may have gone to another
    /// replica while this one holds others.
    pub(crate) fn may_act_under(&self, fence: &Fence) -> bool {
        let Ok(held) = self.held.read() else {
            return false;
        };
        let mine = Lease {
            shard: fence.shard,
            epoch: fence.epoch,
        };
        held.leases.contains(&mine) && held.confirmed.is_some_and(|it| it.elapsed() < ACT_WITHIN)
    }

    /// The time, by the database's clock: what rollouts are timed by. Between two looks at it the
    /// monotonic clock goes on; this machine's wall clock may jump as it likes. Before the first
    /// look, and on a replica that never had one, it is the wall clock after all.
    pub(crate) fn now(&self) -> Timestamp {
        let known = self.clock.read().ok().and_then(|it| *it);
        let now = known.and_then(|(at, seen)| at.checked_add(seen.elapsed()).ok());
        now.unwrap_or_else(Timestamp::now)
    }

    fn set_clock(&self, at: Timestamp, asked: Instant) {
        let answered = Instant::now();
        if let Ok(mut clock) = self.clock.write()
            && (clock.is_none() || answered.duration_since(asked) < CLOCK_WITHIN)
        {
            *clock = Some((at, answered));
        }
    }

    fn confirm(&self, leases: Vec<Lease>, asked: Instant) -> bool {
        let Ok(mut held) = self.held.write() else {
            return false;
        };
        let changed = held.leases != leases;
        *held = Held {
            leases,
            confirmed: Some(asked),
        };
        changed
    }

    /// Nothing is held from here on, whatever the database says.
    fn give_up(&self) {
        if let Ok(mut held) = self.held.write() {
            held.leases.clear();
            held.confirmed = None;
        }
    }

    /// Renews on a thread of its own until `stop`; then gives the shards back, so that another
    /// replica takes over at once. To be stopped when no pass is under way any more.
    pub(crate) fn keep(
        self: &Arc<Self>,
        database_url: SecretString,
        waker: Waker,
        stop: CancellationToken,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let leases = Arc::clone(self);
        std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(leases.renew_until(&database_url, &waker, &stop))
                    }
                    Err(error) => tracing::error!(%error, "cannot renew leases: no runtime"),
                }
            })
    }

    async fn renew_until(&self, url: &SecretString, waker: &Waker, stop: &CancellationToken) {
        let options = store::Options {
            max_connections: 1,
            ..store::Options::default()
        };
        let mut store: Option<Store> = None;
        let mut failing = false;
        loop {
            let asked = Instant::now();
            let renewed = self.renew_once(&mut store, url, options.clone());
            let renewed = tokio::select! {
                () = stop.cancelled() => break,
                renewed = tokio::time::timeout(RENEW_WITHIN, renewed) => renewed,
            };
            match renewed
                .map_err(|_| "no answer".to_owned())
                .and_then(|it| it.map_err(|it| it.to_string()))
            {
                Ok(shards) => {
                    if std::mem::replace(&mut failing, false) {
                        tracing::info!("leases are renewed again");
                    }
                    if self.confirm(shards, asked) {
                        waker.rescan();
                    }
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error,
                        "cannot renew leases, effects stop until it works again"
                    );
                }
                Err(_) => {}
            }
            let pause = if failing {
                RENEW_EVERY / 8
            } else {
                RENEW_EVERY
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.freed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.give_up();
        let released = async {
            let store = match store {
                Some(store) => store,
                None => Store::connect(url.expose_secret(), options).await?,
            };
            store.release_all(self.owner).await
        };
        match tokio::time::timeout(RELEASE_WITHIN, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot give the leases back, they expire by themselves");
            }
            Err(_) => tracing::warn!("the leases were not given back in time, they expire"),
        }
    }

    async fn renew_once(
        &self,
        store: &mut Option<Store>,
        url: &SecretString,
        options: store::Options,
    ) -> Result<Vec<Lease>, store::StoreError> {
        let connected = match store.take() {
            Some(store) => store,
            None => Store::connect(url.expose_secret(), options).await?,
        };
        // Kept only while it works: after an error, or when this future is dropped, the next
        // renewal connects anew.
        let leases = connected.renew(self.owner).await?;
        let asked = Instant::now();
        self.set_clock(connected.now().await?, asked);
        *store = Some(connected);
        Ok(leases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(shard: i32, epoch: i64) -> Fence {
        let owner = Uuid::nil();
        Fence {
            shard,
            epoch,
            owner,
        }
    }

    #[test]
    fn only_what_was_decided_under_a_lease_that_is_held_now_may_act() {
        let leases = Leases::new();
        assert!(!leases.may_act_under(&fence(3, 7)));
        leases.confirm(vec![Lease { shard: 3, epoch: 7 }], Instant::now());
        assert!(leases.may_act_under(&fence(3, 7)));
        assert!(
            !leases.may_act_under(&fence(4, 7)),
            "another replica's shard"
        );
        assert!(
            !leases.may_act_under(&fence(3, 6)),
            "it was lost and taken anew"
        );
        let long_ago = Instant::now().checked_sub(ACT_WITHIN).unwrap();
        leases.confirm(vec![Lease { shard: 3, epoch: 7 }], long_ago);
        assert!(
            !leases.may_act_under(&fence(3, 7)),
            "the renewal is too old"
        );
        leases.confirm(vec![Lease { shard: 3, epoch: 7 }], Instant::now());
        leases.give_up();
        assert!(!leases.may_act_under(&fence(3, 7)), "given back");
    }

    #[test]
    fn the_time_is_the_databases() {
        let leases = Leases::new();
        let ahead = Timestamp::now() + Duration::from_secs(86_400);
        leases.set_clock(ahead, Instant::now());
        let off = leases.now().duration_since(ahead).as_secs();
        assert!((0..5).contains(&off), "{off}");
        // A slow answer does not set it.
        let slow = Instant::now().checked_sub(CLOCK_WITHIN).unwrap();
        leases.set_clock(Timestamp::UNIX_EPOCH, slow);
        assert!(leases.now() >= ahead);
    }
}
