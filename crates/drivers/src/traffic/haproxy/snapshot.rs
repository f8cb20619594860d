//! What HAProxy reports of a backend's servers: `show servers state` and `show stat`, joined by name.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use rollout::{Revision, Weight};

use super::{connection::Connection, names::revision_of};
use crate::{DriverError, traffic::shares::shares_of};

/// Maintenance of any origin: forced, inherited, from the configuration, by resolution, by hostname.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x04 | 0x20 | 0x40;
/// Drain of any origin.
const DRAIN: u32 = 0x08 | 0x10;
/// Operational states (`srv_op_state`): 0 stopped, 1 starting, 2 running, 3 stopping.
const STARTING: u32 = 1;
const RUNNING: u32 = 2;
/// Check states (`srv_check_state`): a check is configured; it is enabled.
const CHECK_CONFIGURED: u32 = 0x02;
const CHECK_ENABLED: u32 = 0x04;

/// What `show stat` would say of a backend without servers.
const EMPTY_STAT: &str = "# pxname,svname";

/// One server of the backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Server {
    pub(super) name: String,
    /// `ip:port`, IPv6 in brackets.
    pub(super) address: String,
    /// The weight that was set.
    pub(super) weight: u32,
    /// The weight in effect, lower during a slow start.
    effective: u32,
    operational: u32,
    admin: u32,
    check: u32,
    /// Passed checks: from `rise` on it is up, at `rise + fall - 1` the last check passed.
    health: u32,
    health_full: u32,
    /// Open sessions, and those that wait for the server.
    sessions: u64,
    /// Connections that HAProxy keeps open for reuse.
    idle_connections: u64,
}

impl Server {
    pub(super) fn revision(&self) -> Option<Revision> {
        revision_of(&self.name)
    }

    /// Takes part in balancing now.
    pub(super) fn receives(&self) -> bool {
        self.is_enabled() && self.is_up() && self.weight > 0
    }

    /// Gets requests whenever it is up.
    fn in_service(&self) -> bool {
        self.is_enabled() && self.weight > 0
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.admin & (MAINTENANCE | DRAIN) == 0
    }

    pub(super) fn in_maintenance(&self) -> bool {
        self.admin & MAINTENANCE != 0
    }

    pub(super) fn is_draining(&self) -> bool {
        self.admin & DRAIN != 0
    }

    fn is_up(&self) -> bool {
        matches!(self.operational, STARTING | RUNNING)
    }

    /// Known by a check to be down: whatever its weight, it gets nothing before a check passes.
    pub(super) fn is_down(&self) -> bool {
        !self.is_up() && !self.in_maintenance()
    }

    pub(super) fn has_check(&self) -> bool {
        self.check & CHECK_CONFIGURED != 0
    }

    /// Its check exists but was never started: Sluice ended between two commands.
    pub(super) fn check_is_off(&self) -> bool {
        self.has_check() && self.check & CHECK_ENABLED == 0
    }

    /// Up, and not only assumed to be: its last check passed, or it has none.
    pub(super) fn is_confirmed(&self) -> bool {
        let passed = !self.has_check() || self.health >= self.health_full;
        self.is_up() && !self.in_maintenance() && passed
    }

    pub(super) fn has_sessions(&self) -> bool {
        self.sessions > 0
    }

    /// HAProxy refuses to delete a server with connections, idle ones included.
    pub(super) fn has_connections(&self) -> bool {
        self.sessions > 0 || self.idle_connections > 0
    }
}

/// The servers of the backend at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    pub(super) servers: Vec<Server>,
}

impl Snapshot {
    /// Reads the servers of `backend`. The inner error is what HAProxy said instead.
    pub(super) async fn take(
        connection: &mut Connection,
        backend: &str,
    ) -> Result<Result<Self, String>, DriverError> {
        let state = connection
            .ask(&[format!("show servers state {backend}")])
            .await?
            .concat();
        let stat = match proxy_id(&state) {
            // By number, because a name finds the frontend that is called like the backend.
            Some(id) => connection
                .ask(&[format!("show stat {id} 4 -1")])
                .await?
                .concat(),
            None => EMPTY_STAT.to_owned(),
        };
        Ok(Self::parse(&state, &stat))
    }

    /// Joins the two replies. `Err` says which part makes no sense; nothing is guessed.
    fn parse(state: &str, stat: &str) -> Result<Self, String> {
        let mut servers = parse_state(state)?;
        join_stat(&mut servers, stat)?;
        Ok(Self {
            servers: servers.into_values().collect(),
        })
    }

    pub(super) fn ours(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|it| it.revision().is_some())
    }

    /// The share of each revision by the weights of servers that can receive traffic. Sums to all;
    /// a revision gets exactly all, or nothing, only when that is so.
    pub(super) fn shares(&self) -> BTreeMap<Revision, Weight> {
        let mut parts: BTreeMap<Revision, u64> = BTreeMap::new();
        for server in self.ours().filter(|it| it.receives()) {
            if let Some(revision) = server.revision() {
                *parts.entry(revision).or_default() += u64::from(server.effective);
            }
        }
        parts.retain(|_, part| *part > 0);
        shares_of(&parts)
    }

    /// Names and addresses of our servers that may get a request or have one open. A server that
    /// is down counts while it has weight: its next check may bring it back.
    pub(super) fn in_use(&self) -> Vec<String> {
        let used = self
            .ours()
            .filter(|it| it.has_sessions() || it.in_service());
        used.flat_map(|it| [it.name.clone(), it.address.clone()])
            .collect()
    }

    /// Servers that are not ours and get traffic.
    pub(super) fn foreign(&self) -> Vec<String> {
        let foreign = self
            .servers
            .iter()
            .filter(|it| it.revision().is_none() && it.receives());
        foreign.map(|it| it.name.clone()).collect()
    }

    /// All that an app waits for, as a text that changes when it changes. Sessions are waited for
    /// only where none shall come any more: those of a server in service come and go all the time,
    /// and would wake a pass at every look.
    pub(super) fn fingerprint(&self) -> String {
        let mut text = String::new();
        for it in self.ours() {
            let facts = [
                it.is_up(),
                it.is_confirmed(),
                !it.in_service() && it.has_sessions(),
                !it.in_service() && it.has_connections(),
            ];
            // Writing to a String cannot fail.
            write!(text, "{} {} {} {facts:?};", it.name, it.admin, it.weight).ok();
        }
        text
    }
}

fn parse_state(reply: &str) -> Result<BTreeMap<String, Server>, String> {
    let mut columns: Vec<&str> = Vec::new();
    let mut servers = BTreeMap::new();
    for line in reply.lines().filter(|it| !it.trim().is_empty()) {
        if let Some(header) = line.strip_prefix('#') {
            columns = header.split_whitespace().collect();
            continue;
        }
        if columns.is_empty() {
            if line.trim() == "1" {
                continue;
            }
            return Err(format!("`show servers state` answered {line:?}"));
        }
        let row: BTreeMap<&str, &str> = columns
            .iter()
            .copied()
            .zip(line.split_whitespace())
            .collect();
        let server = server_of(&row).map_err(|why| format!("`show servers state`: {why}"))?;
        servers.insert(server.name.clone(), server);
    }
    if columns.is_empty() {
        return Err("`show servers state` answered nothing".to_owned());
    }
    Ok(servers)
}

fn server_of(row: &BTreeMap<&str, &str>) -> Result<Server, String> {
    let text = |column| {
        row.get(column)
            .copied()
            .ok_or_else(|| format!("no column {column}"))
    };
    let number = |column| -> Result<u32, String> {
        let text = text(column)?;
        text.parse().map_err(|_| format!("{column} is {text:?}"))
    };
    let (ip, port) = (text("srv_addr")?, text("srv_port")?);
    let address = match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Ok(IpAddr::V4(_)) => format!("{ip}:{port}"),
        // Not resolved: the name that it was given, if any.
        Err(_) => format!("{}:{port}", row.get("srv_fqdn").copied().unwrap_or(ip)),
    };
    Ok(Server {
        name: text("srv_name")?.to_owned(),
        address,
        weight: number("srv_uweight")?,
        operational: number("srv_op_state")?,
        admin: number("srv_admin_state")?,
        check: number("srv_check_state")?,
        health: number("srv_check_health")?,
        ..Server::default()
    })
}

fn join_stat(servers: &mut BTreeMap<String, Server>, reply: &str) -> Result<(), String> {
    let mut lines = reply.lines().filter(|it| !it.trim().is_empty());
    let header = lines.next().and_then(|it| it.strip_prefix("# "));
    let header = header.ok_or_else(|| format!("`show stat` answered {:?}", first_line(reply)))?;
    let columns: Vec<String> = fields(header);
    let mut joined = 0;
    for line in lines {
        let row: BTreeMap<&str, String> = columns
            .iter()
            .map(String::as_str)
            .zip(fields(line))
            .collect();
        let name = row.get("svname").ok_or("`show stat`: no column svname")?;
        let Some(server) = servers.get_mut(name) else {
            continue;
        };
        let number = |column: &str| -> Result<u64, String> {
            let text = row.get(column).map(String::as_str).unwrap_or_default();
            if text.is_empty() {
                return Ok(0);
            }
            text.parse()
                .map_err(|_| format!("`show stat`: {column} of {name} is {text:?}"))
        };
        server.sessions = number("scur")?.saturating_add(number("qcur")?);
        server.idle_connections = number("srv_icur")?;
        server.effective = u32::try_from(number("weight")?).unwrap_or(u32::MAX);
        let full = number("check_rise")?
            .saturating_add(number("check_fall")?)
            .saturating_sub(1);
        server.health_full = u32::try_from(full).unwrap_or(u32::MAX);
        joined += 1;
    }
    if joined == servers.len() {
        return Ok(());
    }
    Err("`show stat` lacks servers that `show servers state` has".to_owned())
}

/// The backend's number, the first column of its servers.
fn proxy_id(state: &str) -> Option<u32> {
    let row = state.lines().filter(|it| !it.starts_with('#')).nth(1)?;
    row.split_whitespace().next()?.parse().ok()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The fields of one CSV line, in which quoted ones may hold commas.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match (c, quoted) {
            ('"', _) => quoted = !quoted,
            (',', false) => fields.push(String::new()),
            (c, _) => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_backend_is_read_from_its_servers() {
        let row = "3 shop 1 r1-1 127.0.0.1 2 0 95 100 0 15 3 2 6 0 0 0 - 18101 -";
        assert_eq!(proxy_id(&format!("{COLUMNS}{row}")), Some(3));
        assert_eq!(proxy_id(COLUMNS), None);
        assert_eq!(proxy_id("Can't find backend."), None);
    }

    const COLUMNS: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n";

    /// A server as HAProxy would report it: up, checked, enabled.
    pub(in super::super) fn server(name: &str, address: &str, weight: u32) -> Server {
        Server {
            name: name.to_owned(),
            address: address.to_owned(),
            weight,
            effective: weight,
            operational: RUNNING,
            check: CHECK_CONFIGURED | CHECK_ENABLED,
            health: 2,
            health_full: 2,
            ..Server::default()
        }
    }

    impl Server {
        pub(in super::super) fn unconfirmed(self) -> Self {
            Self { health: 1, ..self }
        }
        pub(in super::super) fn down(self) -> Self {
            Self {
                health: 0,
                operational: 0,
                ..self
            }
        }
        pub(in super::super) fn admin(self, admin: u32) -> Self {
            Self { admin, ..self }
        }
        pub(in super::super) fn sessions(self, sessions: u64) -> Self {
            Self { sessions, ..self }
        }
    }

    fn parsed(state: &str, stat: &str) -> Snapshot {
        Snapshot::parse(&format!("{COLUMNS}{state}"), stat).unwrap()
    }

    #[test]
    fn the_two_replies_are_joined() {
        let snapshot = parsed(
            "3 shop 1 r1-1 127.0.0.1 2 0 95 100 0 15 3 2 6 0 0 0 - 18101 -\n\
             3 shop 2 r2-1 ::1 2 0 5 5 0 1 0 1 6 0 0 0 - 18102 -\n\
             3 shop 3 web 10.0.0.1 2 0 7 7 0 1 0 0 0 0 0 0 - 80 -\n",
            "# pxname,svname,qcur,scur,status,weight,check_rise,check_fall,srv_icur,check_desc,\n\
             shop,r1-1,0,2,UP,95,1,2,1,\"Layer7, passed\",\n\
             shop,r2-1,0,0,UP 1/2,5,1,2,0,,\n\
             shop,web,0,0,no check,7,,,0,,\n",
        );
        let [r1, r2, web] = snapshot.servers.as_slice() else {
            panic!("{snapshot:?}")
        };
        assert_eq!(
            (r1.address.as_str(), r2.address.as_str()),
            ("127.0.0.1:18101", "[::1]:18102")
        );
        assert!(r1.is_confirmed() && !r2.is_confirmed() && web.is_confirmed());
        assert!(r1.has_sessions() && !r2.has_connections());
        let shares = BTreeMap::from([
            (Revision(1), Weight::from_hundredths(9500)),
            (Revision(2), Weight::from_hundredths(500)),
        ]);
        assert_eq!(snapshot.shares(), shares);
        assert_eq!(snapshot.foreign(), ["web"]);
        assert_eq!(
            snapshot.in_use(),
            ["r1-1", "127.0.0.1:18101", "r2-1", "[::1]:18102"]
        );
    }

    #[test]
    fn garbage_is_an_error_and_never_an_empty_backend() {
        let stat = "# pxname,svname\n";
        let row = "3 shop 1 r1-1 127.0.0.1 2 0 95 100 0 15 3 2 6 0 0 0 - 18101 -\n";
        for (state, stat) in [
            (String::new(), stat),
            ("Unknown command".to_owned(), stat),
            (format!("{COLUMNS}3 shop 1 r1-1"), stat),
            (COLUMNS.replace("srv_uweight", "x") + row, stat),
            (format!("{COLUMNS}{}", row.replace("95", "many")), stat),
            (format!("{COLUMNS}{row}"), "No such proxy."),
            (format!("{COLUMNS}{row}"), stat),
            (
                format!("{COLUMNS}{row}"),
                "# pxname,svname,scur\nshop,r1-1,lots\n",
            ),
        ] {
            let parsed = Snapshot::parse(&state, stat);
            assert!(parsed.is_err(), "{state:?} {stat:?} gave {parsed:?}");
        }
        assert!(
            parsed("", stat).servers.is_empty(),
            "a backend without servers is no error"
        );
    }

    /// Requests come and go at every look at an app in service; nobody waits for them.
    #[test]
    fn sessions_wake_only_where_their_end_is_waited_for() {
        let face = |server: Server| {
            let servers = vec![server];
            Snapshot { servers }.fingerprint()
        };
        let idle = || server("r1-1", "127.0.0.1:1", 95);
        let busy = || idle().sessions(2);
        assert_eq!(face(busy()), face(idle()));
        assert_ne!(face(busy().admin(0x08)), face(idle().admin(0x08)), "drain");
        let without = |server: Server| Server {
            weight: 0,
            ..server
        };
        assert_ne!(face(without(busy())), face(without(idle())), "weight 0");
    }

    #[test]
    fn only_servers_that_can_receive_have_a_share() {
        let all = |servers| Snapshot { servers }.shares();
        let stable = || server("r1-1", "127.0.0.1:1", 95);
        let candidate = || server("r2-1", "127.0.0.1:2", 5);
        let only = |revision| BTreeMap::from([(Revision(revision), Weight::ALL)]);
        assert_eq!(all(vec![stable(), candidate().down()]), only(1));
        assert_eq!(
            all(vec![stable(), candidate().admin(0x08)]),
            only(1),
            "drain"
        );
        assert_eq!(
            all(vec![stable().admin(0x01), candidate()]),
            only(2),
            "maintenance"
        );
        assert_eq!(
            all(vec![stable().down(), candidate().down()]),
            BTreeMap::new()
        );
    }

    #[test]
    fn a_share_is_all_or_nothing_only_when_it_is() {
        let parts = BTreeMap::from([(Revision(1), 256 * 200), (Revision(2), 1)]);
        let shares = shares_of(&parts);
        assert_eq!(shares[&Revision(1)].hundredths(), 9999);
        assert_eq!(shares[&Revision(2)].hundredths(), 1);
    }
}
