//! Who may use a route.

use api::RoleWord;

/// Who may use a route. Whatever is not said here is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody: what probes, scrapers and people who sign in need, and nothing about apps.
    Public,
    /// Every good token and session; the handler shows it what it sees.
    Any,
    /// A role in some project; the handler keeps to those where the caller has it.
    Role(RoleWord),
    /// A role in all projects there are and will be.
    Everywhere(RoleWord),
    /// A role in the `{project}` of the path.
    Project(RoleWord),
    /// A role in the project of the rollout `{id}` of the path.
    Rollout(RoleWord),
    /// The role approver or admin in the project of the rollout `{id}`. The step's own rules (people
    /// only, a group, not by the requester) are checked by the handler, against that step.
    Approval,
}
