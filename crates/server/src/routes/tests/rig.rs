//! The routes on a real socket and a real Postgres, without the loop: rollouts stand where a test
//! puts them.

use std::sync::Arc;

use api::RoleWord;
use drivers::{
    Cx, Wake,
    kubernetes::Clusters,
    traffic::haproxy::Sockets,
    workload::{probe::Probes, process::Supervisor},
};
use jiff::{SignedDuration, Timestamp};
use local::postgres::Postgres;
use reqwest::{Method, RequestBuilder, StatusCode};
use rollout::{Event, Phase, Plan, Revisions, State, Step, WaitingOn, steps::approve};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use store::{Commit, Created, NewRevision, NewRollout, Options, Rollout, SessionOf, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    app_file::AppFile,
    auth::{NewToken, ROLES, SESSION, new_session, new_token, role_word},
    controller::{self, Wakes},
    people::People,
    routes::router,
    service::Service,
};

/// What a test talks to; all of it is gone when it is dropped.
pub(super) struct Rig {
    pub(super) base: String,
    pub(super) store: Store,
    pub(super) service: Service,
    pub(super) http: reqwest::Client,
    pub(super) url: SecretString,
    pub(super) postgres: Postgres,
    _wakes: Wakes,
    _dir: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.service.stop.cancel();
    }
}

/// What a request shows.
#[derive(Debug)]
pub(super) enum By {
    /// A token.
    Token(String),
    /// A cookie, as `name=value`, with the header that our own pages send.
    Cookie(String),
}

/// A provider that answers nobody: what its people may do does not depend on it.
const ISSUER: &str = "http://127.0.0.1:1";

/// The group whose members have a role by the rig's rules.
pub(super) fn group(role: RoleWord, project: Option<&str>) -> String {
    format!("{}@{}", role_word(role), project.unwrap_or("all"))
}

fn people() -> People {
    let projects = [None, Some("shop"), Some("bank")];
    let rules = projects.into_iter().flat_map(|project| {
        ROLES.map(|(word, role)| {
            let group = group(role, project);
            json!({"group": group, "role": word, "project": project})
        })
    });
    let rules: Vec<Value> = rules.collect();
    let settings = json!({
        "publicUrl": "http://127.0.0.1:1",
        "people": {"oidc": {"issuer": ISSUER, "clientId": "sluice", "roles": rules}},
    });
    People::read(&settings).unwrap()
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

impl Rig {
    pub(super) async fn start() -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let dir = tempfile::tempdir().unwrap();
        let options = local::postgres::Options {
            durable: false,
            port: None,
        };
        let postgres = Postgres::start(&dir.path().join("postgres"), options)
            .await
            .unwrap();
        let url = SecretString::from(postgres.url());
        Store::migrate(url.expose_secret()).await.unwrap();
        let store = Store::connect(url.expose_secret(), Options::default())
            .await
            .unwrap();
        let (wake, _) = Wake::channel();
        let data_dir = dir.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let cx = Cx {
            http: http.clone(),
            processes: Supervisor::open(&data_dir, wake.clone()).unwrap(),
            probes: Probes::new(wake.clone()),
            haproxy: Arc::new(Sockets::default()),
            single_flight: Arc::default(),
            kubernetes: Clusters::new(wake.clone(), None),
            wake,
            data_dir,
        };
        let (waker, wakes) = controller::wakes();
        let stores = (store.clone(), store.clone());
        let service = Service::new(stores, cx, waker, CancellationToken::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (routes, stop) = (router(service.clone(), people()), service.stop.clone());
        let routes = routes.into_make_service_with_connect_info::<std::net::SocketAddr>();
        let serve = axum::serve(listener, routes)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::spawn(async move { serve.await });
        let mut notifications = store.listen().await.unwrap();
        let (changed, stop) = (service.changed.clone(), service.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                notifications.next().await;
                changed.send(()).ok();
            }
        }));
        Self {
            base,
            store,
            service,
            http,
            url,
            postgres,
            _wakes: wakes,
            _dir: dir,
        }
    }

    /// A token's text. `name` must be new.
    pub(super) async fn token(
        &self,
        name: &str,
        role: RoleWord,
        project: Option<&str>,
        groups: &[&str],
        person: bool,
    ) -> String {
        let (secret, row) = new_token(NewToken {
            name: name.to_owned(),
            role,
            project: project.map(ToOwned::to_owned),
            groups: groups.iter().map(ToString::to_string).collect(),
            person,
            created_by: "test".to_owned(),
            expires_at: Timestamp::now() + SignedDuration::from_hours(1),
        });
        self.store.insert_token(&row).await.unwrap();
        secret.expose_secret().to_owned()
    }

    pub(super) async fn admin(&self) -> String {
        self.token("root", RoleWord::Admin, None, &[], true).await
    }

    pub(super) fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match token.is_empty() {
            true => request,
            false => request.bearer_auth(token),
        }
    }

    pub(super) fn ask(&self, method: Method, path: &str, by: &By) -> RequestBuilder {
        match by {
            By::Token(token) => self.request(method, path, token),
            By::Cookie(cookie) => {
                let request = self.request(method, path, "").header("cookie", cookie);
                request.header("x-sluice-request", "1")
            }
        }
    }

    /// The cookie of a browser that signed in with the token of this name.
    pub(super) async fn session(&self, token: &str) -> String {
        let all = self.store.list_tokens(None).await.unwrap();
        let id = all.iter().find(|it| it.row.name == token).unwrap().row.id;
        let known = (format!("token:{token}"), Vec::new());
        let source = std::net::Ipv4Addr::LOCALHOST.into();
        let until = Timestamp::now() + SignedDuration::from_hours(1);
        let (text, row) = new_session(SessionOf::Token(id), known, source, until);
        self.store.insert_session(&row).await.unwrap();
        format!("{SESSION}={text}")
    }

    /// The cookie of a browser whose person the provider says is in these groups.
    pub(super) async fn person(&self, groups: &[String]) -> String {
        let of = SessionOf::Person {
            issuer: ISSUER.to_owned(),
            subject: "ann".to_owned(),
        };
        let known = ("user:ann".to_owned(), groups.to_vec());
        let source = std::net::Ipv4Addr::LOCALHOST.into();
        let until = Timestamp::now() + SignedDuration::from_hours(1);
        let (text, row) = new_session(of, known, source, until);
        self.store.insert_session(&row).await.unwrap();
        format!("{SESSION}={text}")
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status,
            headers,
            body,
        }
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(self.request(Method::GET, path, token)).await
    }

    pub(super) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, token).json(body))
            .await
    }

    pub(super) fn client(&self, token: &str) -> api::Client {
        api::Client::new(&self.base, Some(SecretString::from(token.to_owned()))).unwrap()
    }

    /// A rollout of a new app that stands at its first step, which waits for two approvals by
    /// members of `release-managers`.
    pub(super) async fn rollout(&self, project: &str, app: &str) -> Rollout {
        let approve = approve::Approve {
            group: Some("release-managers".to_owned()),
            count: 2,
            expires: None,
            not_by_requester: false,
            machines_may: false,
        };
        self.rollout_at(project, app, approve).await
    }

    /// A rollout of a new app, asked for by `token:ci`, that stands at this approval step.
    pub(super) async fn rollout_at(
        &self,
        project: &str,
        app: &str,
        approve: approve::Approve,
    ) -> Rollout {
        self.rollout_of(project, app, &document(project, app), approve)
            .await
    }

    /// The same of an app with this file.
    pub(super) async fn rollout_of(
        &self,
        project: &str,
        app: &str,
        document: &Value,
        approve: approve::Approve,
    ) -> Rollout {
        let (row, _) = self
            .store
            .put_app(project, app, document, None, "test")
            .await
            .unwrap();
        let file = AppFile::read(document).unwrap();
        let new = NewRollout {
            app: row.id,
            revision: NewRevision::New {
                artifact: "blue".to_owned(),
                digest: None,
                content: None,
                document: document.clone(),
                config_hash: file.config_hash(),
            },
            undo: false,
            comment: Some("first".to_owned()),
            by: "token:ci".to_owned(),
            source: None,
        };
        let plan = |candidate| {
            let revisions = Revisions {
                stable: None,
                candidate,
                replicas: 1,
                undo: false,
            };
            let mut plan: Plan = file.plan(revisions);
            plan.main.insert(0, Step::Approve(approve.clone()));
            plan
        };
        let build = |facts: &store::CreateFacts| Created {
            plan: plan(facts.candidate),
            state: State::new(facts.now),
            event: Event::Created {
                by: "token:ci".to_owned(),
                comment: Some("first".to_owned()),
                break_glass: None,
            },
            supersede: Vec::new(),
            notices: Vec::new(),
        };
        let pending = self.store.create_rollout(&new, build, None).await.unwrap();
        let waiting = WaitingOn::Approval {
            group: Some("release-managers".to_owned()),
            given: 0,
            needed: 2,
            expires: None,
        };
        self.change(&pending, Phase::Progressing, Event::Started, Some(waiting))
            .await
    }

    /// Commits a change, as the loop would.
    pub(super) async fn change(
        &self,
        rollout: &Rollout,
        phase: Phase,
        event: Event,
        waiting: Option<WaitingOn>,
    ) -> Rollout {
        let mut state = rollout.state.clone();
        state.generation += 1;
        state.phase = phase;
        let commit = Commit {
            rollout: rollout.id,
            expected_version: rollout.version,
            fence: None,
            gates: rollout.gates.clone(),
            state,
            waiting,
            wake_at: None,
            plan: None,
            transition: Some((event, "system".to_owned())),
            source: None,
            measurements: Vec::new(),
            stable: None,
            notices: Vec::new(),
            alert: None,
        };
        self.store.commit(&commit).await.unwrap();
        self.store.rollout(rollout.id).await.unwrap().unwrap()
    }
}

/// An app file that is fine, of an app that nothing runs.
pub(super) fn document(project: &str, app: &str) -> Value {
    json!({
        "app": app,
        "project": project,
        "workload": {"static": {"pools": {"blue": ["127.0.0.1:1"]}}},
        "traffic": {"haproxy": {"socket": "/nonexistent/haproxy.sock", "backend": app}},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": "1m"}]}},
        "alerts": [{"match": {"app": app}}],
    })
}

/// Whether a status is that of a problem which was asked for.
pub(super) fn is(answer: &Answer, status: StatusCode, kind: &str) {
    assert_eq!(answer.status, status.as_u16(), "{answer:?}");
    assert_eq!(answer.header("content-type"), api::PROBLEM_JSON);
    let expected = format!("urn:sluice:problem:{kind}");
    assert_eq!(answer.body["type"], Value::String(expected), "{answer:?}");
    assert_eq!(answer.body["status"], answer.status);
    assert_eq!(answer.body["instance"], answer.header("x-request-id"));
}
