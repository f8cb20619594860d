//! Events: what happened to an object, for whoever looks at it with kubectl.

use http::{Request, header::CONTENT_TYPE};
use jiff::Timestamp;
use serde_json::json;

use super::{
    Cluster, Kind, MANAGER, Object,
    request::{Failure, RequestError},
};

/// Longest note that the API takes, in bytes.
const NOTE_MAX: usize = 1024;

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// Its name: the same event has the same name, however often it is told.
    pub name: &'a str,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub regarding: (&'static Kind, &'a Object),
    /// One word in camel case, e.g. `RolloutStarted`.
    pub reason: &'a str,
    /// One sentence.
    pub note: &'a str,
    /// Whether somebody should look.
    pub warning: bool,
}

impl Cluster {
    /// Records an event; one that is there already is left alone.
    pub async fn record(&self, event: &Event<'_>) -> Result<(), RequestError> {
        let (kind, object) = event.regarding;
        let namespace = &object.namespace;
        let body = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": event.name, "namespace": namespace},
            "eventTime": event.at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "reportingController": MANAGER,
            "reportingInstance": MANAGER,
            "action": "Rollout",
            "reason": event.reason,
            "note": shortened(event.note),
            "type": if event.warning { "Warning" } else { "Normal" },
            "regarding": {
                "apiVersion": kind.api_version(),
                "kind": kind.kind,
                "namespace": namespace,
                "name": object.name,
                "uid": object.uid,
            },
        });
        let operation = format!("create events.events.k8s.io {namespace}/{}", event.name);
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let request = Request::post(format!("{path}?fieldManager={MANAGER}"))
            .header(CONTENT_TYPE, "application/json");
        let body = body.to_string().into_bytes();
        match self.server.ask("create", &operation, request, body).await {
            Ok(_) => Ok(()),
            Err(error) if error.failure == Failure::Exists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// As much of a text as fits, cut between characters.
fn shortened(text: &str) -> String {
    const CUT: &str = "…";
    if text.len() <= NOTE_MAX {
        return text.to_owned();
    }
    let mut end = NOTE_MAX - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_fits_and_is_cut_between_characters() {
        assert_eq!(shortened("done"), "done");
        for begin in ["", "a", "ab"] {
            let long = shortened(&format!("{begin}{}", "€".repeat(NOTE_MAX)));
            assert!(long.len() <= NOTE_MAX && long.len() > NOTE_MAX - 6);
            assert!(long.ends_with("€…"), "{long}");
        }
    }
}
