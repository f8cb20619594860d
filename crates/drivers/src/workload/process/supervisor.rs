//! All instances on this host: adopts what runs, starts and drains what each app needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollout::{
    Revision,
    document::is_name,
    observation::{InstanceState, RevisionStatus},
};
use rustix::fs::FlockOperation;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    super::{RevisionSpec, WorkloadConfig, WorkloadTarget},
    child::{self, Handle},
    instance::{self, Attention, Identity, Instance, Order, State},
    life,
    ports::Ports,
    record,
};
use crate::{AppKey, DriverError, Wake};

/// How long an observation waits for the first probe of instances that were just adopted: until
/// then nobody knows whether they are ready, and "not known" must not be taken for "no".
const FIRST_PROBE_WAIT: Duration = Duration::from_secs(3);

/// Why the supervisor could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSupervisor {
    /// The data directory cannot be used.
    #[error("use data directory {path}")]
    DataDirectory {
        /// What could not be made or written.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Two supervisors would start each instance twice.
    #[error("data directory {path} is used by another Sluice on this host; give each its own")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no `/proc` to tell processes apart by.
    #[error("read the boot id of this machine")]
    BootId(#[source] io::Error),
}

/// How often it is looked whether the last instances are gone.
const STOP_POLL: Duration = Duration::from_millis(20);

/// Runs and watches the instances of the `process` workload on this host.
///
/// Dropping it ends the watching and leaves the instances running.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    _stops: DropGuard,
}

/// What the supervisor and the instances' tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) boot_id: String,
    pub(super) ports: Ports,
    wake: Wake,
    apps: Mutex<BTreeMap<AppKey, App>>,
    stop: CancellationToken,
    /// Held as long as anything of this supervisor can still act.
    _lock: File,
}

/// The instances of one app, and what was last asked for.
#[derive(Debug)]
pub(super) struct App {
    attention: Arc<Attention>,
    /// What was last asked for.
    scales: BTreeMap<Revision, u32>,
    instances: BTreeMap<(Revision, u32), Arc<Instance>>,
}

impl Supervisor {
    /// Takes over `data_dir` and adopts the instances that run from an earlier time. Must be
    /// called within a tokio runtime; reads and writes a few small files.
    pub fn open(data_dir: &Path, wake: Wake) -> Result<Arc<Self>, OpenSupervisor> {
        let root = data_dir.join("apps");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenSupervisor::DataDirectory { path, source }
        };
        record::make_directory(&root).map_err(failed(&root))?;
        let root = root.canonicalize().map_err(failed(&root))?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(OpenSupervisor::InUse {
                path: data_dir.to_owned(),
            });
        }
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            root,
            boot_id: child::boot_id().map_err(OpenSupervisor::BootId)?,
            ports: Ports::default(),
            wake,
            apps: Mutex::default(),
            stop: stop.clone(),
            _lock: lock,
        });
        shared.adopt_all();
        Ok(Arc::new(Self {
            shared,
            _stops: stop.drop_guard(),
        }))
    }

    /// Stops every instance of every app and returns when none is left: for taking a whole
    /// installation down (the demo does), when nothing is routed to them any more.
    pub async fn stop_all(&self) {
        let nothing = WorkloadTarget {
            in_use: Some(BTreeSet::new()),
            ..WorkloadTarget::default()
        };
        let apps: Vec<AppKey> = self.shared.apps().keys().cloned().collect();
        for app in apps {
            // What to do with no instances is known for every app.
            self.ensure(&app, &nothing).ok();
            while self.shared.has_instances(&app) {
                tokio::time::sleep(STOP_POLL).await;
            }
        }
    }

    /// What exists of `app`: from memory, at once; only after a start of Sluice it waits for the
    /// first probe of the instances that were found running.
    pub async fn observe(
        &self,
        app: &AppKey,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        let deadline = Instant::now() + FIRST_PROBE_WAIT;
        loop {
            let Some(attention) = self.shared.attention(app) else {
                return Ok(BTreeMap::new());
            };
            attention.look();
            let known = attention.known.notified();
            if let Some(statuses) = self.shared.statuses(app) {
                return Ok(statuses);
            }
            if timeout_at(deadline, known).await.is_err() {
                let detail = "instances that were found running have not answered a probe yet";
                return Err(DriverError::transient(format!("observe {app}"), detail));
            }
        }
    }

    /// Brings `app` to `target`; see [`super::super::Workload::ensure`].
    pub fn ensure(&self, app: &AppKey, target: &WorkloadTarget) -> Result<(), DriverError> {
        let operation = || format!("ensure instances of {app}");
        if !is_name(&app.project) || !is_name(&app.app) {
            // They become directories.
            return Err(DriverError::permanent(
                operation(),
                "the project or the app is not a name",
            ));
        }
        let mut apps = self.shared.apps();
        let entry = apps.entry(app.clone()).or_insert_with(App::new);
        entry.attention.look();
        entry.scales = target.scales.clone();
        entry.scales.retain(|_, scale| *scale > 0);
        let mut revisions: BTreeSet<Revision> = entry.scales.keys().copied().collect();
        revisions.extend(entry.instances.keys().map(|(revision, _)| *revision));
        let mut unknown = Vec::new();
        for revision in revisions {
            let missing = entry.settle(revision, target.in_use.as_ref());
            let spec = target.revisions.iter().find(|it| it.revision == revision);
            match spec {
                Some(spec) if missing > 0 => {
                    if !self.shared.add(app, entry, spec, missing) {
                        unknown.push(revision.to_string());
                    }
                }
                None if missing > 0 => unknown.push(revision.to_string()),
                Some(_) | None => {}
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "how to run {} is not known on this workload",
            unknown.join(", ")
        );
        Err(DriverError::permanent(operation(), detail))
    }
}

impl App {
    /// One without instances.
    pub(super) fn new() -> Self {
        let attention = Arc::new(Attention::new());
        Self {
            attention,
            scales: BTreeMap::new(),
            instances: BTreeMap::new(),
        }
    }

    /// Keeps the best instances of `revision`, drains the others; gives how many are missing.
    fn settle(&self, revision: Revision, in_use: Option<&BTreeSet<String>>) -> u32 {
        let wanted = self.scales.get(&revision).copied().unwrap_or(0);
        let of_revision = self.instances.range((revision, 0)..=(revision, u32::MAX));
        let mut candidates: Vec<_> = of_revision
            .map(|(_, it)| (rank(&it.state()), it.number, it))
            .collect();
        candidates.sort_by_key(|(rank, number, _)| (*rank, *number));
        let mut missing = wanted;
        for (_, _, it) in candidates {
            if missing > 0 && it.keep() {
                missing -= 1;
            } else {
                it.drain(in_use);
            }
        }
        missing
    }
}

/// Which instances are kept first: those that serve, then those that will.
fn rank(state: &State) -> (u8, bool) {
    let phase = match state.phase {
        InstanceState::Ready => 0,
        InstanceState::Starting => 1,
        InstanceState::NotReady | InstanceState::Draining => 2,
        InstanceState::Exited => 3,
    };
    (phase, state.order != Order::Run)
}

impl Shared {
    /// Every app that has instances or shall have some.
    pub(super) fn apps(&self) -> MutexGuard<'_, BTreeMap<AppKey, App>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_instances(&self, app: &AppKey) -> bool {
        self.apps()
            .get(app)
            .is_some_and(|it| !it.instances.is_empty())
    }

    fn attention(&self, app: &AppKey) -> Option<Arc<Attention>> {
        self.apps().get(app).map(|it| Arc::clone(&it.attention))
    }

    /// The statuses of `app`'s revisions; `None` while an instance's readiness is not known.
    fn statuses(&self, app: &AppKey) -> Option<BTreeMap<Revision, RevisionStatus>> {
        let apps = self.apps();
        let mut statuses: BTreeMap<Revision, RevisionStatus> = BTreeMap::new();
        let Some(app) = apps.get(app) else {
            return Some(statuses);
        };
        for (revision, scale) in &app.scales {
            statuses.entry(*revision).or_default().desired = *scale;
        }
        for ((revision, _), it) in &app.instances {
            if !it.state().known {
                return None;
            }
            let Some((shown, problem)) = it.shown() else {
                continue;
            };
            let status = statuses.entry(*revision).or_default();
            status.total += u32::from(shown.state != InstanceState::Exited);
            status.ready += u32::from(shown.state == InstanceState::Ready);
            status.instances.push(shown);
            status.problems.extend(problem);
        }
        for status in statuses.values_mut() {
            status.problems.sort_by_key(|it| it.kind);
        }
        Some(statuses)
    }

    /// Starts `missing` more instances of a revision; `false` when it is not a process.
    fn add(
        self: &Arc<Self>,
        app: &AppKey,
        entry: &mut App,
        spec: &RevisionSpec,
        missing: u32,
    ) -> bool {
        let WorkloadConfig::Process(settings) = &spec.workload else {
            return false;
        };
        for _ in 0..missing {
            let free = |it: &u32| !entry.instances.contains_key(&(spec.revision, *it));
            let Some(number) = (1..).find(free) else {
                return false;
            };
            let identity = Identity {
                app: app.clone(),
                revision: spec.revision,
                number,
                artifact: spec.artifact.clone(),
                settings: settings.clone(),
            };
            self.look_after(entry, identity, State::new(), None);
        }
        true
    }

    /// Adds an instance and its task.
    pub(super) fn look_after(
        self: &Arc<Self>,
        entry: &mut App,
        identity: Identity,
        state: State,
        handle: Option<Handle>,
    ) {
        let name = instance::name(identity.revision, identity.number);
        let directory = record::directory(&self.root, &identity.app, &name);
        let attention = Arc::clone(&entry.attention);
        let instance = Instance::new(attention, self.wake.clone(), directory, state, identity);
        let instance = Arc::new(instance);
        entry
            .instances
            .insert((instance.revision, instance.number), Arc::clone(&instance));
        let life = life::run(Arc::clone(self), instance, handle);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(life));
    }

    /// Drops `instance` from its app, and the app with its last instance.
    pub(super) fn remove(&self, instance: &Arc<Instance>) {
        let mut apps = self.apps();
        let Some(app) = apps.get_mut(&instance.app) else {
            return;
        };
        app.instances.remove(&(instance.revision, instance.number));
        if app.instances.is_empty() && app.scales.is_empty() {
            apps.remove(&instance.app);
        }
    }
}
