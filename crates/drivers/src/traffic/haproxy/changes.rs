//! The difference between what HAProxy has and what is wanted, as commands in a safe order.

use std::collections::BTreeMap;

use rollout::Revision;

use super::{
    command::{CHECK, Command},
    names::revision_of,
    snapshot::{Server, Snapshot},
    weights::{DesiredServer, DesiredState},
};
/// A server that HAProxy has once the commands are through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) weight: u32,
}

impl Kept {
    /// The server's line in HAProxy's configuration.
    pub(super) fn config_line(&self, check: bool) -> String {
        let check = if check {
            format!(" {CHECK}")
        } else {
            String::new()
        };
        format!(
            "server {} {} weight {}{check}",
            self.name, self.address, self.weight
        )
    }
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changes {
    /// First: what adds capacity. Its replies are read before anything is lowered.
    pub(super) raise: Vec<Command>,
    /// Then: what takes capacity away.
    pub(super) lower: Vec<Command>,
    /// Our servers afterwards.
    pub(super) kept: Vec<Kept>,
    /// More is to be done once HAProxy reports something else: a check passes, a session ends.
    pub(super) unsettled: bool,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.raise.is_empty() && self.lower.is_empty()
    }

    fn keep(&mut self, name: &str, address: &str, weight: u32) {
        self.kept.push(Kept {
            name: name.to_owned(),
            address: address.to_owned(),
            weight,
        });
    }
}

/// The way from `snapshot` to `wanted`. `anything`: some revision shall get traffic; otherwise an
/// empty backend is what is asked for. `check`: new servers get a health check.
pub(super) fn between(
    snapshot: &Snapshot,
    wanted: &[DesiredServer],
    anything: bool,
    check: bool,
) -> Changes {
    let current: BTreeMap<&str, &Server> =
        snapshot.ours().map(|it| (it.name.as_str(), it)).collect();
    let scene = Scene::of(&current, wanted, anything, check);
    let mut changes = Changes::default();
    for server in wanted {
        match current.get(server.name.as_str()) {
            Some(now) if now.address == server.address => scene.adjust(&mut changes, server, now),
            Some(now) => scene.replace(&mut changes, server, now),
            None => scene.add(&mut changes, server),
        }
    }
    for (name, now) in &current {
        if !wanted.iter().any(|it| it.name == *name) {
            scene.remove(&mut changes, now);
        }
    }
    changes
        .kept
        .sort_by_key(|it| (revision_of(&it.name), it.name.len(), it.name.clone()));
    changes
}

/// What decides for all servers alike.
struct Scene {
    /// Nothing carries traffic: anything is better.
    bare: bool,
    /// What shall carry traffic can: servers that serve may be lowered.
    covered: bool,
    check: bool,
}

impl Scene {
    fn of(
        current: &BTreeMap<&str, &Server>,
        wanted: &[DesiredServer],
        anything: bool,
        check: bool,
    ) -> Self {
        let moved = |now: &Server| {
            wanted
                .iter()
                .any(|it| it.name == now.name && it.address != now.address)
        };
        let bare = !current.values().any(|it| it.receives() && !moved(it));
        let mut parts: BTreeMap<Revision, (u32, bool)> = BTreeMap::new();
        for server in wanted.iter().filter(|it| it.weight > 0) {
            let now = current
                .get(server.name.as_str())
                .filter(|it| it.address == server.address);
            let up = now.is_some_and(|it| it.receives() || (it.is_enabled() && it.is_confirmed()));
            let (weight, any_up) = parts.entry(server.revision).or_default();
            *weight += server.weight;
            *any_up |= up;
        }
        let whole: u32 = parts.values().map(|(weight, _)| *weight).sum();
        let up: u32 = parts
            .values()
            .filter(|(_, up)| *up)
            .map(|(weight, _)| *weight)
            .sum();
        let covered = !anything || (whole > 0 && (bare || up * 2 >= whole));
        Self {
            bare,
            covered,
            check,
        }
    }

    fn add(&self, changes: &mut Changes, server: &DesiredServer) {
        if server.state == DesiredState::Drain {
            return;
        }
        let name = server.name.clone();
        let weight = if self.bare || !self.check {
            server.weight
        } else {
            0
        };
        let address = server.address.clone();
        changes.raise.push(Command::Add {
            name: name.clone(),
            address,
            weight,
            check: self.check,
        });
        if self.check {
            changes
                .raise
                .push(Command::StartCheck { name: name.clone() });
        }
        changes.raise.push(Command::Enable { name });
        changes.unsettled |= weight < server.weight;
        changes.keep(&server.name, &server.address, weight);
    }

    /// The same name somewhere else: the instance was started again. In maintenance the server forgets
    /// what its check knew of the old address.
    fn replace(&self, changes: &mut Changes, server: &DesiredServer, now: &Server) {
        if server.state == DesiredState::Drain {
            return self.remove(changes, now);
        }
        let name = || server.name.clone();
        let weight = if self.bare || !now.has_check() {
            server.weight
        } else {
            0
        };
        changes.raise.push(Command::Maintain { name: name() });
        changes.raise.push(Command::Move {
            name: name(),
            address: server.address.clone(),
        });
        if now.check_is_off() {
            changes.raise.push(Command::StartCheck { name: name() });
        }
        if now.weight != weight {
            changes.raise.push(Command::SetWeight {
                name: name(),
                weight,
            });
        }
        changes.raise.push(Command::Enable { name: name() });
        changes.unsettled |= weight < server.weight;
        changes.keep(&server.name, &server.address, weight);
    }

    fn adjust(&self, changes: &mut Changes, server: &DesiredServer, now: &Server) {
        match server.state {
            DesiredState::Ready => self.weigh(changes, server, now),
            DesiredState::Drain => self.drain(changes, now),
        }
    }

    fn weigh(&self, changes: &mut Changes, server: &DesiredServer, now: &Server) {
        let name = || server.name.clone();
        let known = now.receives() || now.is_confirmed() || now.is_down() || !now.has_check();
        let weight = if known || self.bare { server.weight } else { 0 };
        changes.unsettled |= weight < server.weight;
        if weight < now.weight && now.receives() && !self.covered {
            changes.unsettled = true;
            changes.keep(&now.name, &now.address, now.weight);
            return;
        }
        changes.keep(&server.name, &server.address, weight);
        if weight < now.weight && now.is_enabled() {
            changes.lower.push(Command::SetWeight {
                name: name(),
                weight,
            });
            return;
        }
        if now.check_is_off() {
            changes.raise.push(Command::StartCheck { name: name() });
        }
        if weight != now.weight {
            changes.raise.push(Command::SetWeight {
                name: name(),
                weight,
            });
        }
        if !now.is_enabled() {
            changes.raise.push(Command::Enable { name: name() });
        }
    }

    fn drain(&self, changes: &mut Changes, now: &Server) {
        let drained = now.is_draining() || now.in_maintenance();
        if drained && !now.has_sessions() {
            return self.remove(changes, now);
        }
        changes.unsettled = true;
        if drained {
            return;
        }
        if now.receives() && !self.covered {
            changes.keep(&now.name, &now.address, now.weight);
            return;
        }
        changes.lower.push(Command::Drain {
            name: now.name.clone(),
        });
    }

    fn remove(&self, changes: &mut Changes, now: &Server) {
        if now.receives() && !self.covered {
            changes.unsettled = true;
            changes.keep(&now.name, &now.address, now.weight);
            return;
        }
        if !now.in_maintenance() {
            changes.lower.push(Command::Maintain {
                name: now.name.clone(),
            });
        }
        // HAProxy would refuse; the watcher sees when the last connection has gone.
        if now.has_connections() {
            changes.unsettled = true;
        } else {
            changes.lower.push(Command::Delete {
                name: now.name.clone(),
            });
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
