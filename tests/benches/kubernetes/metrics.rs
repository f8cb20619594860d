//! A Prometheus that answers every query with one number, and remembers when it first answered the
//! bad one, by the name of the app in the query.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::{RawForm, State};
use axum::routing::any;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What it answers while all is well, and then.
const NUMBERS: [&str; 2] = ["0.01", "0.9"];

#[derive(Debug, Default)]
struct Told {
    bad: bool,
    answered: BTreeMap<String, Timestamp>,
}

/// A running one. It ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Its base URL.
    pub(crate) url: String,
    told: Arc<Mutex<Told>>,
}

impl Metrics {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.context("bind the metrics")?;
        let address = listener.local_addr().context("bind the metrics")?;
        let told = Arc::default();
        let router = Router::new()
            .route("/api/v1/query", any(answer))
            .with_state(Arc::clone(&told));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url: format!("http://{address}"),
            told,
        })
    }

    /// From now on every answer is the bad one.
    pub(crate) fn turn_bad(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).bad = true;
    }

    /// When the first bad answer to an app's query was given.
    pub(crate) fn answered(&self, app: &str) -> Option<Timestamp> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.answered.get(app).copied()
    }
}

async fn answer(State(told): State<Arc<Mutex<Told>>>, RawForm(form): RawForm) -> Json<Value> {
    let form = String::from_utf8_lossy(&form).into_owned();
    // The query is `errors_of_NAME`.
    let app = form.split("errors_of_").nth(1).unwrap_or_default();
    let app: String = app
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Timestamp::now();
    let bad = told.bad;
    if bad {
        told.answered.entry(app).or_insert(now);
    }
    let [good, worse] = NUMBERS;
    let number = if bad { worse } else { good };
    Json(
        json!({ "status": "success", "data": { "resultType": "vector", "result": [
            { "metric": {}, "value": [now.as_millisecond() / 1000, number] },
        ]}}),
    )
}
