//! What holds for all apps of a project: so far, who is told about their rollouts.
//!
//! Unlike an app file, which a rollout takes from its revision, a project's settings hold from the
//! moment they are kept, for rollouts under way too.

use drivers::NotifierConfig;
use rollout::document::{self, Problem};
use serde_json::Value;

/// A project's settings that were read without a problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProjectSettings {
    /// Who is told about the rollouts of all its apps, beside those whom their app files name.
    pub notify: Vec<NotifierConfig>,
}

impl ProjectSettings {
    /// Reads them, or names everything that is wrong with them.
    ///
    /// # Errors
    /// Every problem there is, each with its place and the way out.
    pub fn read(document: &Value) -> Result<Self, Vec<Problem>> {
        document::read(document, |reader| {
            let object = reader.object(&["notify"])?;
            let notify = object.or("notify", Vec::new(), |it| it.each(NotifierConfig::read));
            Some(Self { notify: notify? })
        })
    }

    /// What was kept, which was read without a problem then. A newer program may have written it:
    /// what cannot be read now tells nobody, but holds up no rollout.
    pub(crate) fn kept(document: Option<&Value>) -> Self {
        let read = document.map(Self::read);
        match read {
            None => Self::default(),
            Some(Ok(settings)) => settings,
            Some(Err(problems)) => {
                let first = problems.first().map(|it| it.detail.as_str());
                // Each pass looks: said loudly, it would fill the log.
                tracing::debug!(
                    problem = first.unwrap_or_default(),
                    "cannot read a project's settings: nobody is told by them"
                );
                Self::default()
            }
        }
    }
}
