//! What is sent, in which order, and what is not.

use rollout::Revision;

use super::*;
use crate::traffic::haproxy::snapshot::tests::server;

fn wanted(name: &str, port: u16, weight: u32) -> DesiredServer {
    DesiredServer {
        name: name.to_owned(),
        revision: revision_of(name).unwrap_or(Revision(0)),
        address: format!("127.0.0.1:{port}"),
        weight,
        state: DesiredState::Ready,
    }
}

fn draining(name: &str, port: u16) -> DesiredServer {
    DesiredServer {
        state: DesiredState::Drain,
        ..wanted(name, port, 0)
    }
}

fn now(name: &str, port: u16, weight: u32) -> Server {
    server(name, &format!("127.0.0.1:{port}"), weight)
}

/// `raise | lower`, each without the backend's name and the words that are always the same.
fn told(changes: &Changes) -> String {
    let group = |commands: &[Command]| {
        let lines: Vec<String> = commands.iter().map(|it| it.line("b")).collect();
        lines
            .join("; ")
            .replace("set server b/", "")
            .replace("b/", "")
            .replace(CHECK, "check")
    };
    format!("{} | {}", group(&changes.raise), group(&changes.lower))
}

fn check(servers: Vec<Server>, wanted: &[DesiredServer], expect: &str, unsettled: bool) -> Changes {
    let changes = between(&Snapshot { servers }, wanted, true, true);
    assert_eq!(told(&changes), expect);
    assert_eq!(changes.unsettled, unsettled, "{changes:?}");
    changes
}

#[test]
fn what_is_as_wanted_needs_no_command() {
    let servers = vec![now("r1-1", 1, 95), now("r2-1", 2, 5), now("web", 3, 7)];
    check(
        servers,
        &[wanted("r1-1", 1, 95), wanted("r2-1", 2, 5)],
        " | ",
        false,
    );
}

#[test]
fn the_gaining_revision_is_raised_before_the_other_is_lowered() {
    let servers = vec![now("r1-1", 1, 95), now("r2-1", 2, 5)];
    let wanted = [wanted("r1-1", 1, 75), wanted("r2-1", 2, 25)];
    check(servers, &wanted, "r2-1 weight 25 | r1-1 weight 75", false);
}

#[test]
fn a_new_server_waits_for_its_first_check_while_others_serve() {
    let add = "add server r2-1 127.0.0.1:2 weight 0 check; enable health r2-1; r2-1 state ready | ";
    let both = [wanted("r1-1", 1, 95), wanted("r2-1", 2, 5)];
    check(vec![now("r1-1", 1, 95)], &both, add, true);
    let unconfirmed = vec![now("r1-1", 1, 95), now("r2-1", 2, 0).unconfirmed()];
    check(unconfirmed, &both, " | ", true);
    let confirmed = vec![now("r1-1", 1, 95), now("r2-1", 2, 0)];
    check(confirmed, &both, "r2-1 weight 5 | ", false);
}

#[test]
fn when_nothing_serves_a_new_server_gets_its_weight_at_once() {
    let add = "add server r1-1 127.0.0.1:1 weight 1 check; enable health r1-1; r1-1 state ready | ";
    check(vec![], &[wanted("r1-1", 1, 1)], add, false);
}

#[test]
fn what_serves_is_not_lowered_for_servers_that_are_down() {
    let servers = || vec![now("r1-1", 1, 100), now("r2-1", 2, 0).down()];
    let switch = [wanted("r1-1", 1, 0), wanted("r2-1", 2, 100)];
    let held = check(servers(), &switch, "r2-1 weight 100 | ", true);
    assert_eq!(
        held.kept.iter().map(|it| it.weight).collect::<Vec<_>>(),
        [100, 100]
    );
    check(
        servers(),
        &[draining("r1-1", 1), wanted("r2-1", 2, 1)],
        "r2-1 weight 1 | ",
        true,
    );
    check(servers(), &[wanted("r2-1", 2, 1)], "r2-1 weight 1 | ", true);
}

#[test]
fn nothing_to_carry_the_traffic_means_that_nothing_is_taken_away() {
    check(vec![now("r1-1", 1, 100)], &[], " | ", true);
    let changes = between(
        &Snapshot {
            servers: vec![now("r1-1", 1, 100)],
        },
        &[],
        false,
        true,
    );
    assert_eq!(
        told(&changes),
        " | r1-1 state maint; del server r1-1",
        "asked for: no traffic at all"
    );
}

#[test]
fn a_draining_server_is_drained_then_removed_when_its_sessions_have_ended() {
    let both = [wanted("r1-1", 1, 1), draining("r1-2", 2)];
    let with = |other| vec![now("r1-1", 1, 1), other];
    check(with(now("r1-2", 2, 1)), &both, " | r1-2 state drain", true);
    check(
        with(now("r1-2", 2, 1).admin(8).sessions(3)),
        &both,
        " | ",
        true,
    );
    let last = " | r1-2 state maint; del server r1-2";
    check(with(now("r1-2", 2, 1).admin(8)), &both, last, false);
    check(
        with(now("r1-2", 2, 1).admin(1)),
        &both,
        " | del server r1-2",
        false,
    );
}

#[test]
fn a_server_that_is_gone_gets_nothing_new_and_is_deleted_after_its_last_session() {
    let stays = [wanted("r1-1", 1, 1)];
    let with = |other| vec![now("r1-1", 1, 1), other];
    check(with(now("r0-2", 2, 1)), &stays, " | ", false);
    check(
        with(now("r1-2", 2, 1).sessions(1)),
        &stays,
        " | r1-2 state maint",
        true,
    );
    check(
        with(now("r1-2", 2, 1).admin(1).sessions(1)),
        &stays,
        " | ",
        true,
    );
}

#[test]
fn a_changed_address_is_moved_through_maintenance() {
    let servers = vec![now("r1-1", 1, 1), now("r1-2", 2, 1)];
    let moved = "r1-2 state maint; r1-2 addr 127.0.0.1 port 9; r1-2 weight 0; r1-2 state ready | ";
    check(
        servers,
        &[wanted("r1-1", 1, 1), wanted("r1-2", 9, 1)],
        moved,
        true,
    );
    let alone = "r1-1 state maint; r1-1 addr 127.0.0.1 port 9; r1-1 state ready | ";
    check(
        vec![now("r1-1", 1, 1)],
        &[wanted("r1-1", 9, 1)],
        alone,
        false,
    );
}

#[test]
fn maintenance_left_by_a_crash_between_two_commands_is_undone() {
    let servers = vec![now("r1-1", 1, 1), now("r2-1", 2, 5).admin(1)];
    let both = [wanted("r1-1", 1, 1), wanted("r2-1", 2, 5)];
    check(servers, &both, "r2-1 weight 0; r2-1 state ready | ", true);
}

#[test]
fn replies_are_success_only_when_they_say_so() {
    let add = Command::Add {
        name: "r1-1".into(),
        address: "a:1".into(),
        weight: 1,
        check: false,
    };
    let weight = Command::SetWeight {
        name: "r1-1".into(),
        weight: 300,
    };
    let delete = Command::Delete {
        name: "r1-1".into(),
    };
    let judged = |command: &Command, reply: &str| command.judge(&command.line("b"), reply);
    assert!(!judged(&add, "New server registered.").unwrap());
    assert!(!judged(&weight, "").unwrap());
    assert!(
        judged(
            &delete,
            "Server still has connections attached to it, cannot remove it."
        )
        .unwrap()
    );
    for (command, reply, transient, says) in [
        (
            &weight,
            "Absolute weight can only be between 0 and 256 inclusive.",
            true,
            "b/r1-1 weight 300",
        ),
        (&weight, "No such server.", true, "No such server."),
        (&weight, "Permission denied", false, "level admin"),
        (
            &weight,
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.",
            false,
            "roundrobin",
        ),
        (
            &add,
            "Backend must use a dynamic load balancing to support dynamic servers.",
            false,
            "roundrobin",
        ),
        (&add, "", true, "no reply text"),
        (&add, "<html>garbage</html>", true, "garbage"),
        (
            &delete,
            "Only servers in maintenance mode can be deleted.",
            true,
            "maintenance",
        ),
    ] {
        let error = judged(command, reply).unwrap_err();
        assert_eq!(error.transient, transient, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
