//! Which ControllerRevision a revision runs as, and from which template.

use rollout::Revision;
use serde_json::Value;

use super::view::{History, StatefulSet};
use crate::{
    DriverError,
    kubernetes::template,
    workload::{
        RevisionSpec,
        kubernetes::content::{self, Content},
    },
};

/// How one revision runs.
#[derive(Debug, Clone)]
pub(super) struct Run<'a> {
    pub(super) revision: Revision,
    /// What its pods are made from.
    pub(super) template: Value,
    digest: String,
    /// What it runs as, once it is marked.
    pub(super) history: Option<&'a History>,
}

impl Run<'_> {
    /// Whether the StatefulSet's template is this one.
    pub(super) fn is_in(&self, set: &StatefulSet) -> bool {
        match self.history.and_then(History::digest) {
            Some(digest) => digest == set.digest,
            // The API server may have added fields when it was written.
            None if set.candidate() == Some(self.revision) => {
                template::contains(&set.template, &self.template)
            }
            None => self.digest == set.digest,
        }
    }
}

/// How the revisions run. For Kubernetes equal templates are one revision: so all that is brought out
/// has a mark of its own, and only what was there before Sluice has none.
pub(super) fn runs<'a>(
    specs: &[RevisionSpec],
    set: &StatefulSet,
    history: &'a [History],
) -> Result<Vec<Run<'a>>, DriverError> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for spec in specs {
        let plain = Content::of(spec)?.template;
        let digest = template::digest(&plain);
        let marked = history.iter().find(|it| it.revision == Some(spec.revision));
        let found = match marked {
            Some(marked) => marked.digest() == Some(&digest),
            None => digest == set.digest && runs.iter().all(|it| it.digest != digest),
        };
        let template = match found {
            true => plain,
            false => content::marked(&plain, spec.revision),
        };
        runs.push(Run {
            revision: spec.revision,
            digest: template::digest(&template),
            template,
            history: marked,
        });
    }
    Ok(runs)
}
