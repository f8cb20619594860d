//! Who is asking, and what they may do where.

use api::RoleWord;
use jiff::Timestamp;
use store::Token;
use uuid::Uuid;

/// A role, in one project or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What may be done.
    pub(crate) role: RoleWord,
    /// In which project; `None`: in all.
    pub(crate) project: Option<String>,
}

/// What a principal was known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    /// The bearer of a token.
    Token(Uuid),
    /// A signed-in browser.
    Session {
        /// The session.
        id: Uuid,
        /// The token it was begun with, if it was.
        token: Option<Uuid>,
    },
}

/// Who is asking, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// As it stands in the history: `token:NAME`, or `user:` and who the identity provider says it is.
    pub(crate) name: String,
    /// What it may do; several roles for one project add up.
    pub(crate) grants: Vec<Grant>,
    /// Its groups, for approval steps.
    pub(crate) groups: Vec<String>,
    /// Whether a person asks.
    pub(crate) person: bool,
    /// What it was known by.
    pub(crate) credential: Credential,
    /// Until when that is good at most.
    pub(crate) expires_at: Timestamp,
}

impl Credential {
    /// The token's or the session's id: what requests are counted against.
    pub(crate) fn id(self) -> Uuid {
        match self {
            Self::Token(id) | Self::Session { id, .. } => id,
        }
    }

    /// Whether it is of no use without this token or session.
    pub(crate) fn hangs_on(self, gone: Uuid) -> bool {
        match self {
            Self::Token(id) => id == gone,
            Self::Session { id, token } => id == gone || token == Some(gone),
        }
    }
}

impl Grant {
    /// Whether it is for `project`.
    pub(crate) fn covers(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|it| it == project)
    }
}

impl Principal {
    /// Whether it may know of `project` at all.
    pub(crate) fn sees(&self, project: &str) -> bool {
        self.grants.iter().any(|it| it.covers(project))
    }

    /// The projects it sees, as the store wants them; `None`: all.
    pub(crate) fn projects(&self) -> Option<Vec<String>> {
        self.projects_with(RoleWord::Viewer)
    }

    /// The projects where it may do what needs `role`; `None`: all.
    pub(crate) fn projects_with(&self, role: RoleWord) -> Option<Vec<String>> {
        let grants = self.grants.iter().filter(|it| reaches(it.role, role));
        let mut projects = Vec::new();
        for grant in grants {
            match &grant.project {
                None => return None,
                Some(project) if projects.contains(project) => {}
                Some(project) => projects.push(project.clone()),
            }
        }
        Some(projects)
    }

    /// Its roles in `project`; `None`: its roles anywhere.
    pub(crate) fn roles(&self, project: Option<&str>) -> impl Iterator<Item = RoleWord> {
        let grants = self.grants.iter();
        let there = grants.filter(move |it| project.is_none_or(|project| it.covers(project)));
        there.map(|it| it.role)
    }

    /// Whether it may do what needs `role` in `project`; `None`: in some project.
    pub(crate) fn has(&self, role: RoleWord, project: Option<&str>) -> bool {
        self.roles(project).any(|it| reaches(it, role))
    }

    /// Whether it may do what needs `role` in every project there is or will be.
    pub(crate) fn has_everywhere(&self, role: RoleWord) -> bool {
        let everywhere = self.grants.iter().filter(|it| it.project.is_none());
        everywhere.into_iter().any(|it| reaches(it.role, role))
    }

    /// Its highest role in `project` (`None`: anywhere) in words, for messages.
    pub(crate) fn role_words(&self, project: Option<&str>) -> &'static str {
        self.roles(project).max().map_or("no role", role_word)
    }

    /// Whom a token stands for; `None` when its role is none that this version knows.
    pub(super) fn of(token: &Token) -> Option<Self> {
        let row = &token.row;
        let grant = Grant {
            role: role(&row.role)?,
            project: row.project.clone(),
        };
        Some(Self {
            name: format!("token:{}", row.name),
            grants: vec![grant],
            groups: row.groups.clone(),
            person: row.person,
            credential: Credential::Token(row.id),
            expires_at: row.expires_at.unwrap_or(Timestamp::MAX),
        })
    }
}

/// Whether `role` may do what needs `needed`.
pub(crate) fn reaches(role: RoleWord, needed: RoleWord) -> bool {
    role >= needed
}

/// Whether this role may approve. Operators order rollouts about and apply app files; that the same
/// token cannot also approve is what an approval step is for.
pub(crate) fn may_approve(role: RoleWord) -> bool {
    match role {
        RoleWord::Approver | RoleWord::Admin => true,
        RoleWord::Viewer | RoleWord::Deployer | RoleWord::Operator => false,
    }
}

/// The words for roles, as in JSON and in the database.
pub(crate) const ROLES: [(&str, RoleWord); 5] = [
    ("viewer", RoleWord::Viewer),
    ("deployer", RoleWord::Deployer),
    ("approver", RoleWord::Approver),
    ("operator", RoleWord::Operator),
    ("admin", RoleWord::Admin),
];

/// The role a word stands for.
pub(crate) fn role(word: &str) -> Option<RoleWord> {
    let found = ROLES.into_iter().find(|it| it.0 == word);
    found.map(|it| it.1)
}

/// The word for a role.
pub(crate) fn role_word(role: RoleWord) -> &'static str {
    match role {
        RoleWord::Viewer => "viewer",
        RoleWord::Deployer => "deployer",
        RoleWord::Approver => "approver",
        RoleWord::Operator => "operator",
        RoleWord::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(grants: &[(RoleWord, Option<&str>)]) -> Principal {
        let grant = |(role, project): &(RoleWord, Option<&str>)| Grant {
            role: *role,
            project: project.map(ToOwned::to_owned),
        };
        Principal {
            name: "user:ann".to_owned(),
            grants: grants.iter().map(grant).collect(),
            groups: Vec::new(),
            person: true,
            credential: Credential::Token(Uuid::nil()),
            expires_at: Timestamp::MAX,
        }
    }

    #[test]
    fn every_role_has_its_word() {
        for (word, it) in ROLES {
            assert_eq!((role(word), role_word(it)), (Some(it), word));
        }
        assert_eq!(role("Admin"), None);
    }

    #[test]
    fn a_role_counts_where_it_is_granted_and_nowhere_else() {
        use RoleWord::{Admin, Operator, Viewer};
        let ann = principal(&[
            (Viewer, None),
            (Admin, Some("shop")),
            (Operator, Some("pay")),
        ]);
        assert!(ann.sees("bank") && ann.projects().is_none());
        assert!(ann.has(Admin, Some("shop")) && !ann.has(Admin, Some("bank")));
        assert!(ann.has(Admin, None) && !ann.has_everywhere(Admin) && ann.has_everywhere(Viewer));
        assert_eq!(ann.projects_with(Admin), Some(vec!["shop".to_owned()]));
        assert_eq!(ann.projects_with(Operator).unwrap().len(), 2);
        assert_eq!(ann.role_words(Some("pay")), "operator");
        let bob = principal(&[(Viewer, Some("shop"))]);
        assert!(bob.sees("shop") && !bob.sees("bank"));
        let nobody = principal(&[]);
        assert!(!nobody.sees("shop") && !nobody.has(Viewer, None));
        assert_eq!(nobody.projects(), Some(Vec::new()));
        assert_eq!(nobody.role_words(None), "no role");
    }

    #[test]
    fn a_session_hangs_on_its_token() {
        let (id, token) = (Uuid::now_v7(), Uuid::now_v7());
        let session = Credential::Session {
            id,
            token: Some(token),
        };
        assert!(session.hangs_on(id) && session.hangs_on(token));
        assert!(!session.hangs_on(Uuid::nil()));
        assert_eq!(session.id(), id);
    }
}
