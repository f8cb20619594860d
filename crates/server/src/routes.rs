//! The HTTP surface: one table of routes, each with who may use it.
//!
//! ```text
//!  request ─> envelope ─> panics caught ─> row's guard ──────────────> handler ─> service, store
//!             request id,                  token (401), limits (429),  body: size, then JSON,
//!             headers,                     object (404), role (403);   then meaning
//!             counting                     the body is not read yet
//! ```
//!
//! A route exists only as a row of [`table`], and a row cannot be written without its [`Access`].
//! The rows also make the OpenAPI document, so the two cannot part.

mod access;
mod approval;
mod apps;
mod audit;
mod dashboard;
mod document;
mod envelope;
mod events;
mod extract;
mod freezes;
mod guard;
mod health;
mod hooks;
mod limit;
mod orders;
mod origin;
mod page;
mod projects;
mod recorder;
mod rollouts;
mod session;
mod sign_in;
mod signed_hook;
mod tokens;
mod trials;
mod wait;

use std::{future::Future, sync::Arc};

use api::{RoleWord, RolloutView};
use axum::{Router, http::Method, middleware, routing::MethodRouter};
use store::{Rollout, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _},
    routes,
};
use uuid::Uuid;

pub(crate) use access::Access;
use recorder::Audited;

use crate::{
    auth::{Authenticator, Door, Exchange, Principal, Provider},
    error::ServeError,
    people::People,
    service::Service,
    views,
};
use drivers::AppKey;

pub use document::openapi;

/// Most long polls and event streams at a time, each a task and now and then a query.
const LONG_REQUESTS_MAX: usize = 1024;

/// Most trials of gates on past time at once: each asks a metric source for days.
const TRIALS_MAX: usize = 2;

/// One route.
pub(crate) struct Row {
    /// What, where, for whom.
    pub(crate) entry: Entry,
    handler: UtoipaMethodRouter<Web>,
}

/// What, where, for whom.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The method.
    pub(crate) method: Method,
    /// The path with its parameters in braces.
    pub(crate) path: &'static str,
    /// Who may.
    pub(crate) access: Access,
    /// It may take traffic back: uses the connections kept free for that.
    pub(crate) urgent: bool,
    /// How often an address may ask, where that is bounded apart.
    limit: Option<limit::Lane>,
    /// As what it stands in the audit log.
    pub(crate) audited: Audited,
}

fn row(
    method: Method,
    path: &'static str,
    access: Access,
    handler: UtoipaMethodRouter<Web>,
) -> Row {
    let entry = Entry {
        method,
        path,
        access,
        urgent: false,
        limit: None,
        audited: Audited {
            action: recorder::READ,
            whole: false,
        },
    };
    Row { entry, handler }
}

impl Row {
    /// Its answers are sent gzipped to whoever takes that.
    fn compressed(mut self) -> Self {
        self.handler = self
            .handler
            .map(|handler: MethodRouter<Web>| handler.layer(CompressionLayer::new()));
        self
    }

    fn urgent(mut self) -> Self {
        self.entry.urgent = true;
        self
    }

    fn limited(mut self, lane: limit::Lane) -> Self {
        self.entry.limit = Some(lane);
        self
    }

    /// Stands in the audit log as `action`, done or refused.
    fn audited(mut self, action: &'static str) -> Self {
        self.entry.audited = Audited {
            action,
            whole: true,
        };
        self
    }

    /// Stands in the audit log as `action` when it is refused: it changes nothing, or what it does
    /// stands in a rollout's history.
    fn refused(mut self, action: &'static str) -> Self {
        self.entry.audited = Audited {
            action,
            whole: false,
        };
        self
    }
}

/// Every route there is.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Row> {
    use Access::{Any, Approval, Everywhere, Project, Public, Role, Rollout};
    use RoleWord::{Admin, Deployer, Operator, Viewer};
    use limit::Lane::{Machine, SignIn};
    const GET: Method = Method::GET;
    const PUT: Method = Method::PUT;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    vec![
        row(GET,    "/",                                      Public,           routes!(dashboard::page)),
        row(GET,    "/assets/{file}",                         Public,           routes!(dashboard::asset)).compressed(),
        row(GET,    "/health",                                Public,           routes!(health::health)),
        row(GET,    "/ready",                                 Public,           routes!(health::ready)),
        row(GET,    "/startup",                               Public,           routes!(health::startup)),
        row(GET,    "/metrics",                               Public,           routes!(health::metrics)),
        row(GET,    "/openapi.json",                          Public,           routes!(document::openapi_json)),
        row(GET,    "/api/v1/auth",                           Public,           routes!(sign_in::ways)),
        row(GET,    "/auth/login",                            Public,           routes!(sign_in::login)).limited(SignIn),
        row(GET,    "/auth/callback",                         Public,           routes!(sign_in::callback)).limited(SignIn).audited("session.begin"),
        row(POST,   "/api/v1/auth/exchange",                  Public,           routes!(sign_in::exchange)).limited(Machine).audited("token.exchange"),
        row(GET,    "/api/v1/session",                        Any,              routes!(session::get)),
        row(POST,   "/api/v1/session",                        Public,           routes!(session::sign_in)).limited(SignIn).audited("session.begin"),
        row(DELETE, "/api/v1/session",                        Any,              routes!(session::sign_out)).audited("session.end"),
        row(GET,    "/api/v1/whoami",                         Any,              routes!(session::whoami)),
        row(GET,    "/api/v1/events",                         Role(Viewer),     routes!(events::events)),
        row(GET,    "/api/v1/apps",                           Role(Viewer),     routes!(apps::list)),
        row(GET,    "/api/v1/apps/{project}/{app}",           Project(Viewer),  routes!(apps::get)),
        row(PUT,    "/api/v1/apps/{project}/{app}",           Project(Operator), routes!(apps::put)).audited("app.apply"),
        row(DELETE, "/api/v1/apps/{project}/{app}",           Project(Operator), routes!(apps::delete)).audited("app.delete"),
        row(GET,    "/api/v1/apps/{project}/{app}/revisions", Project(Viewer),  routes!(apps::revisions)),
        row(GET,    "/api/v1/apps/{project}/{app}/outcomes", Project(Viewer),  routes!(apps::outcomes)),
        row(POST,   "/api/v1/apps/{project}/{app}/plan",      Project(Deployer), routes!(apps::plan)).refused("app.plan"),
        row(POST,   "/api/v1/apps/{project}/{app}/calibrations", Project(Operator), routes!(trials::calibrate)).audited("app.calibrate"),
        row(GET,    "/api/v1/apps/{project}/{app}/calibrations", Project(Viewer), routes!(trials::calibrations)),
        row(POST,   "/api/v1/apps/{project}/{app}/backtests", Project(Deployer), routes!(trials::backtest)).refused("app.backtest"),
        row(POST,   "/api/v1/apps/{project}/{app}/release",   Project(Operator), routes!(apps::release)).audited("app.release"),
        row(POST,   "/api/v1/apps/{project}/{app}/rollouts",  Project(Deployer), routes!(rollouts::create)).refused("rollout.create"),
        row(GET,    "/api/v1/rollouts",                       Role(Viewer),     routes!(rollouts::list)),
        row(GET,    "/api/v1/rollouts/{id}",                  Rollout(Viewer),  routes!(rollouts::get)),
        row(GET,    "/api/v1/rollouts/{id}/wait",             Rollout(Viewer),  routes!(wait::wait)),
        row(GET,    "/api/v1/rollouts/{id}/history",          Rollout(Viewer),  routes!(rollouts::history)),
        row(GET,    "/api/v1/rollouts/{id}/measurements",     Rollout(Viewer),  routes!(rollouts::measurements)),
        row(GET,    "/api/v1/rollouts/{id}/explain",          Rollout(Viewer),  routes!(rollouts::explain)),
        row(POST,   "/api/v1/rollouts/{id}/commands",         Rollout(Deployer), routes!(orders::command)).urgent().refused("rollout.order"),
        row(POST,   "/api/v1/rollouts/{id}/approvals",        Approval,         routes!(orders::approve)).urgent().refused("rollout.approve"),
        row(GET,    "/api/v1/freezes",                        Role(Viewer),     routes!(freezes::list)),
        row(POST,   "/api/v1/freezes",                        Role(Operator),   routes!(freezes::create)).audited("freeze.create"),
        row(DELETE, "/api/v1/freezes/{id}",                   Role(Operator),   routes!(freezes::remove)).audited("freeze.remove"),
        row(GET,    "/api/v1/projects/{project}/settings",    Project(Admin),   routes!(projects::settings)),
        row(PUT,    "/api/v1/projects/{project}/settings",    Project(Admin),   routes!(projects::put_settings)).audited("project.settings"),
        row(POST,   "/api/v1/tokens",                         Role(Admin),      routes!(tokens::create)).audited("token.create"),
        row(GET,    "/api/v1/tokens",                         Role(Admin),      routes!(tokens::list)),
        row(DELETE, "/api/v1/tokens/{id}",                    Role(Admin),      routes!(tokens::revoke)).audited("token.revoke"),
        row(GET,    "/api/v1/audit",                          Role(Admin),      routes!(audit::list)),
        row(GET,    "/api/v1/audit/verification",             Everywhere(Admin), routes!(audit::verify)),
        row(POST,   "/api/v1/hooks/alertmanager",             Role(Deployer),   routes!(hooks::alertmanager)).urgent().refused("hook.alertmanager"),
        row(POST,   "/api/v1/hooks/signed/{source}",          Public,           routes!(signed_hook::signed)).urgent().limited(Machine).refused("hook.signed"),
    ]
}

/// What the handlers share; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    /// What they may do.
    pub(crate) service: Service,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    people: Arc<People>,
    door: Option<Door>,
    exchange: Exchange,
    tokens: Authenticator,
    limits: limit::Limits,
    long: Arc<Semaphore>,
    feed: Arc<events::Feed>,
    trials: Semaphore,
}

/// All routes, ready to be served.
pub(crate) fn router(service: Service, people: People) -> Router {
    let people = Arc::new(people);
    let http = service.cx.http.clone();
    let provider = |issuer: &str| Arc::new(Provider::new(issuer, http.clone()));
    let door = people.oidc.clone().zip(people.public_url.as_deref());
    let door = door.map(|(it, url)| {
        let provider = provider(&it.issuer);
        Door::new(it, url, provider, http.clone())
    });
    let exchange = Exchange::new(&people.ci, provider);
    let web = Web {
        service,
        shared: Arc::new(Shared {
            tokens: Authenticator::new(Arc::clone(&people)),
            people,
            door,
            exchange,
            limits: limit::Limits::default(),
            long: Arc::new(Semaphore::new(LONG_REQUESTS_MAX)),
            feed: Arc::default(),
            trials: Semaphore::new(TRIALS_MAX),
        }),
    };
    let guarded = table().into_iter().map(|row| guarded(row, &web));
    let routes = guarded.fold(OpenApiRouter::new(), OpenApiRouter::routes);
    let (routes, _) = routes.split_for_parts();
    routes
        .fallback(dashboard::elsewhere)
        .method_not_allowed_fallback(envelope::method_not_allowed)
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(middleware::from_fn_with_state(web.clone(), envelope::wrap))
        .with_state(web)
}

fn guarded(row: Row, web: &Web) -> UtoipaMethodRouter<Web> {
    let state = guard::Guard {
        web: web.clone(),
        entry: Arc::new(row.entry),
    };
    let layer = middleware::from_fn_with_state(state, guard::check);
    row.handler
        .map(|handler: MethodRouter<Web>| handler.route_layer(layer))
}

impl Web {
    /// Where to ask, in turn, for as long as the ones before are unavailable. What may take traffic
    /// back asks the connections kept for that first: it must not wait for a free one.
    fn stores(&self, urgent: bool) -> Vec<&Store> {
        let Service {
            store,
            rollback_store,
            ..
        } = &self.service;
        match urgent {
            true => vec![rollback_store, store],
            false => vec![store],
        }
    }

    /// Reads from the first of [`Self::stores`] that is available.
    async fn read<T, F>(&self, urgent: bool, ask: impl Fn(Store) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let found = match urgent {
            true => ask(self.service.rollback_store.clone()).await,
            false => return ask(self.service.store.clone()).await,
        };
        match found {
            Err(error) if error.is_transient() => ask(self.service.store.clone()).await,
            found => found,
        }
    }

    /// A rollout in full, with what this replica sees of it.
    async fn show(
        &self,
        rollout: &Rollout,
        urgent: bool,
        caller: &Principal,
    ) -> Result<RolloutView, ServeError> {
        let mut view = self.shown(rollout, urgent, views::view).await?;
        view.approval = approval::view(caller, rollout);
        Ok(view)
    }

    /// Gathers what a rollout is shown with, and shows it.
    async fn shown<T>(
        &self,
        rollout: &Rollout,
        urgent: bool,
        show: impl FnOnce(&views::Shown<'_>) -> T,
    ) -> Result<T, ServeError> {
        let (app_id, candidate) = (rollout.app_id, rollout.candidate);
        let revision = self.read(urgent, |store| async move {
            store.revision(app_id, candidate).await
        });
        let revision = revision.await?;
        let cancelled = rollout.phase == rollout::Phase::Cancelled;
        // The history's rows are numbered from 1, the state's transitions are counted from 0.
        let before = i64::try_from(rollout.state.generation).unwrap_or(i64::MAX);
        let last = match cancelled {
            true => self.service.store.history(rollout.id, before, 1).await?,
            false => Vec::new(),
        };
        let key = AppKey {
            project: rollout.project.clone(),
            app: rollout.app.clone(),
        };
        let seen = self.service.live.get(&key);
        Ok(show(&views::Shown {
            rollout,
            artifact: revision.as_ref().map_or("", |it| it.artifact.as_str()),
            seen: seen.as_deref(),
            last: last.last(),
        }))
    }

    /// A place among the requests that stay open; there are [`LONG_REQUESTS_MAX`].
    fn long_request(&self) -> Result<OwnedSemaphorePermit, ServeError> {
        let place = Arc::clone(&self.shared.long).try_acquire_owned();
        place.map_err(|_| ServeError::Unavailable {
            detail: "too many streams and long polls are open".to_owned(),
        })
    }

    /// Runs a trial of gates on past time, unless [`TRIALS_MAX`] are under way; it ends with the server.
    async fn trial<T>(
        &self,
        trial: impl Future<Output = Result<T, ServeError>>,
    ) -> Result<T, ServeError> {
        let place = self.shared.trials.try_acquire();
        let _place = place.map_err(|_| ServeError::Unavailable {
            detail: format!("{TRIALS_MAX} other trials of gates are under way: try again later"),
        })?;
        let ended = self.service.stop.run_until_cancelled(trial).await;
        ended.unwrap_or_else(|| {
            Err(ServeError::Unavailable {
                detail: "the server stops: try again in a moment".to_owned(),
            })
        })
    }

    async fn rollout(&self, id: Uuid, urgent: bool) -> Result<Option<Rollout>, StoreError> {
        self.read(urgent, |store| async move { store.rollout(id).await })
            .await
    }
}

#[cfg(test)]
mod tests;
