//! Starting and stopping the server.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use drivers::workload::process::Supervisor;
use drivers::{
    AppKey, Cx, Wake, kubernetes::Clusters, traffic::haproxy::Sockets, workload::probe::Probes,
};
use secrecy::{ExposeSecret as _, SecretString};
use store::{Listener, Notification, Options, Store};
use tokio::{net::TcpListener, sync::mpsc::UnboundedReceiver};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth,
    config::Config,
    controller::{self, Dispatcher, Loop, RELEASE_WITHIN, Waker, Wakes},
    error::StartError,
    routes,
    service::Service,
};

/// Connections for everything but rollbacks; Postgres' default limit is 100 for all.
const CONNECTIONS: u32 = 12;
/// Connections kept free for rollbacks.
const ROLLBACK_CONNECTIONS: u32 = 8;
/// How many of them are open before somebody asks: making one takes a busy machine longer than a
/// rollback may.
const ROLLBACK_OPEN: u32 = 3;
/// How long a server that has ended may hold the processes that it ran, and how often that is tried.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
const LET_GO_POLL: Duration = Duration::from_millis(20);
/// How long an outgoing connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the server until `stop`. `on_ready` is told the address once requests are answered.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    on_ready: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    let listener = bind(config.bind).await?;
    let address = listener
        .local_addr()
        .map_err(|source| bind_error(config.bind, source))?;
    let (waker, wakes) = controller::wakes();
    let (wake, driver_wakes) = Wake::channel();
    let stores = (
        connect(&config.database_url, CONNECTIONS, 0).await?,
        connect(&config.database_url, ROLLBACK_CONNECTIONS, ROLLBACK_OPEN).await?,
    );
    let service = Service {
        public_url: config.people.public_url.clone(),
        ..Service::new(stores, drivers_cx(&config, wake)?, waker, stop.clone())
    };
    // Before the first look for work: from here on nothing is missed.
    let notifications = service.store.listen().await?;
    // Given back only when no pass is under way any more: another replica acts at once.
    let give_back = CancellationToken::new();
    let lease_thread = Arc::clone(&service.leases)
        .keep(
            config.database_url.clone(),
            service.waker.clone(),
            give_back.clone(),
        )
        .map_err(|source| StartError::Thread { source })?;
    let tasks = background(&service, wakes, driver_wakes, notifications);

    tracing::info!(%address, "listening");
    on_ready(address);
    let within = config.stop_within.saturating_sub(RELEASE_WITHIN);
    let serving = async {
        let router = routes::router(service, config.people);
        let served = serve(listener, router, stop.clone(), within).await;
        stop.cancel();
        served
    };
    let working = async {
        stop.cancelled().await;
        if tokio::time::timeout(within, tasks.wait()).await.is_err() {
            tracing::warn!("some work was still under way, it is taken up again at the next start");
        }
    };
    let (served, ()) = tokio::join!(serving, working);
    give_back.cancel();
    tokio::task::spawn_blocking(move || lease_thread.join().ok())
        .await
        .ok();
    served
}

/// Everything that runs beside the routes.
fn background(
    service: &Service,
    wakes: Wakes,
    driver_wakes: UnboundedReceiver<AppKey>,
    notifications: Listener,
) -> TaskTracker {
    let stop = || service.stop.child_token();
    let tasks = TaskTracker::new();
    let shared = Arc::new(Loop::of(service));
    tasks.spawn(Dispatcher::new(shared, wakes).run(stop()));
    tasks.spawn(forward(driver_wakes, service.waker.clone(), stop()));
    tasks.spawn(listen(service.clone(), notifications, stop()));
    tasks.spawn(controller::deliver_notices(service.clone(), stop()));
    tasks.spawn(controller::keep_house(service.store.clone(), stop()));
    tasks.spawn(controller::seal_audit(service.store.clone(), stop()));
    tasks.close();
    tasks
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| bind_error(address, source))
}

fn bind_error(address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::Bind { address, source }
}

/// `kept`: how many connections are open before somebody asks for one.
async fn connect(url: &SecretString, max_connections: u32, kept: u32) -> Result<Store, StartError> {
    let options = Options {
        max_connections,
        min_connections: kept,
        ..Options::default()
    };
    Store::connect(url.expose_secret(), options)
        .await
        .map_err(StartError::from)
}

/// For every outgoing call of the drivers. A machine without CA certificates can still be served
/// over plain http, so their absence is a warning: https calls then fail, each saying so.
fn http_client() -> Result<reqwest::Client, StartError> {
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no CA certificates on this machine: https metric sources and webhooks will fail");
        builder().tls_certs_only([]).build().map_err(|source| StartError::Http { source })
    })
}

fn drivers_cx(config: &Config, wake: Wake) -> Result<Cx, StartError> {
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir).map_err(|source| StartError::DataDir {
        path: data_dir.clone(),
        source,
    })?;
    let http = http_client()?;
    let processes = open_processes(data_dir, wake.clone())?;
    Ok(Cx {
        http,
        processes,
        probes: Probes::new(wake.clone()),
        haproxy: Arc::new(Sockets::default()),
        single_flight: Arc::default(),
        kubernetes: Clusters::new(wake.clone(), None),
        wake,
        data_dir: data_dir.clone(),
    })
}

async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    within: Duration,
) -> Result<(), StartError> {
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let graceful = stop.clone();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { graceful.cancelled().await });
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(within).await;
    };
    tokio::select! {
        ended = async { server.await } => ended.map_err(|source| StartError::Serve { source }),
        () = late => {
            tracing::warn!("some requests were still open, they are dropped");
            Ok(())
        }
    }
}

/// Drivers know apps, not lanes.
async fn forward(mut wakes: UnboundedReceiver<AppKey>, waker: Waker, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            app = wakes.recv() => match app {
                Some(app) => waker.wake(app, false),
                None => return,
            }
        }
    }
}

/// Notifications of commits, this replica's own included: they wake the loop, long polls and
/// event streams, and ring for the outbox.
async fn listen(service: Service, mut notifications: Listener, stop: CancellationToken) {
    loop {
        let notification = tokio::select! {
            () = stop.cancelled() => return,
            next = notifications.next() => next,
        };
        match notification {
            Notification::Reconnected => service.waker.rescan(),
            Notification::LeasesFreed => service.leases.freed.notify_one(),
            // A pass of ours goes on by itself.
            Notification::Changed { sender, .. } if sender == Some(service.leases.owner) => {}
            Notification::Changed {
                project,
                app,
                urgent,
                ..
            } => {
                service.wake(&project, &app, urgent);
            }
        }
        service.ring.notify_one();
        // Nobody waiting is fine.
        service.changed.send(()).ok();
    }
}

/// Stops every instance that the `process` workload runs from `data_dir`; the server that owned it
/// must have ended. For taking a whole installation down, as the demo does.
pub async fn stop_instances(data_dir: &Path) -> Result<(), StartError> {
    let given_up = Instant::now() + LET_GO_WITHIN;
    let processes = loop {
        let (wake, _nobody) = Wake::channel();
        match open_processes(data_dir, wake) {
            Ok(processes) => break processes,
            // Tasks that the server gave up as it ended hold the processes for a moment longer.
            Err(_) if Instant::now() < given_up => tokio::time::sleep(LET_GO_POLL).await,
            Err(error) => return Err(error),
        }
    };
    processes.stop_all().await;
    Ok(())
}

fn open_processes(data_dir: &Path, wake: Wake) -> Result<Arc<Supervisor>, StartError> {
    Supervisor::open(data_dir, wake).map_err(|error| StartError::Processes {
        detail: error.to_string(),
    })
}

/// Makes an admin token when the database has none yet; its text is to be shown once.
pub async fn prepare_admin_token(
    database_url: &SecretString,
) -> Result<Option<SecretString>, StartError> {
    let store = connect(database_url, 1, 0).await?;
    auth::first_admin_token(&store)
        .await
        .map_err(StartError::from)
}
