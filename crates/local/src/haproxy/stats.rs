//! HAProxy's counters, as `show stat` prints them.

use std::collections::HashMap;

use anyhow::{Context, ensure};

/// What a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Where users come in.
    Frontend,
    /// All servers of a backend together, and what HAProxy answered for it.
    Backend,
    /// One server.
    Server,
}

/// One row of `show stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The proxy it belongs to (`pxname`).
    pub proxy: String,
    /// The server's name, or `FRONTEND` or `BACKEND` (`svname`).
    pub name: String,
    /// What it counts.
    pub kind: Kind,
    values: HashMap<String, String>,
}

impl Row {
    /// A field by its name in the header, e.g. `status`; `None` if it is empty.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.values
            .get(field)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A numeric field; an empty one counts 0, as HAProxy leaves out what a kind
    /// of row does not count.
    pub fn number(&self, field: &str) -> u64 {
        self.get(field)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// Answers of any status (`hrsp_1xx` to `hrsp_other`).
    pub fn answers(&self) -> u64 {
        [
            "hrsp_1xx",
            "hrsp_2xx",
            "hrsp_3xx",
            "hrsp_4xx",
            "hrsp_5xx",
            "hrsp_other",
        ]
        .iter()
        .map(|field| self.number(field))
        .sum()
    }
}

/// What one server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTotals {
    /// Its name.
    pub name: String,
    /// The state of its checks and administration, e.g. `UP` or `MAINT`.
    pub status: String,
    /// Its weight now.
    pub weight: u64,
    /// Answers of any status.
    pub requests: u64,
    /// Answers with a 5xx status.
    pub errors: u64,
}

/// Errors that HAProxy answered by itself since it started.
///
/// The frontend counts every answer that a user got. A server counts what it
/// answered itself. So, for each class of status,
///
/// ```text
///   HAProxy's own = frontend's hrsp_Nxx − sum over its servers of hrsp_Nxx
/// ```
///
/// This holds while no server has been removed (its counters go with it), and
/// for a frontend with one backend. [`crate::haproxy::tally`] over the request
/// log has neither limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendErrors {
    /// 5xx answers that no server gave: 503 without a server, 502, 504.
    pub own_5xx: u64,
    /// 4xx answers that no server gave: bad or timed-out requests of users.
    pub own_4xx: u64,
    /// Connections to servers that failed (`econ` of the backend). Those that
    /// succeeded on another server are no error to the user.
    pub connection_errors: u64,
    /// Answers that broke off or made no sense (`eresp` of the backend).
    pub response_errors: u64,
    /// Connections tried again (`wretr`) or given to another server (`wredis`).
    pub retries: u64,
}

impl FrontendErrors {
    /// From all rows, of the frontend and the backend called `proxy`.
    pub(crate) fn of(rows: &[Row], proxy: &str) -> anyhow::Result<Self> {
        let find = |kind| {
            rows.iter()
                .find(|row| row.proxy == proxy && row.kind == kind)
                .with_context(|| format!("read HAProxy's counters: no {kind:?} {proxy}"))
        };
        let (frontend, backend) = (find(Kind::Frontend)?, find(Kind::Backend)?);
        let own = |field: &str| {
            let servers = rows
                .iter()
                .filter(|row| row.proxy == proxy && row.kind == Kind::Server);
            frontend
                .number(field)
                .saturating_sub(servers.map(|row| row.number(field)).sum())
        };
        Ok(Self {
            own_5xx: own("hrsp_5xx"),
            own_4xx: own("hrsp_4xx"),
            connection_errors: backend.number("econ"),
            response_errors: backend.number("eresp"),
            retries: backend.number("wretr") + backend.number("wredis"),
        })
    }
}

/// The totals of each server of one backend.
pub(crate) fn server_totals(rows: &[Row], proxy: &str) -> Vec<ServerTotals> {
    rows.iter()
        .filter(|row| row.proxy == proxy && row.kind == Kind::Server)
        .map(|row| ServerTotals {
            name: row.name.clone(),
            status: row.get("status").unwrap_or_default().to_owned(),
            weight: row.number("weight"),
            requests: row.answers(),
            errors: row.number("hrsp_5xx"),
        })
        .collect()
}

/// Reads the CSV by the names in its header, so that fields may come and go
/// with HAProxy's version. Field texts with commas are quoted by HAProxy; the
/// quotes are kept out.
pub(crate) fn parse(csv: &str) -> anyhow::Result<Vec<Row>> {
    let mut lines = csv.lines().filter(|line| !line.is_empty());
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let header = header.context("read HAProxy's counters: the answer has no header")?;
    let names: Vec<&str> = header.split(',').collect();
    ensure!(
        names.contains(&"svname"),
        "read HAProxy's counters: unknown header {header}"
    );
    Ok(lines.filter_map(|line| row(&names, line)).collect())
}

fn row(names: &[&str], line: &str) -> Option<Row> {
    let values: HashMap<String, String> = names
        .iter()
        .map(|name| (*name).to_owned())
        .zip(fields(line))
        .collect();
    // `type` is 0 frontend, 1 backend, 2 server, 3 listener.
    let kind = match values.get("type")?.as_str() {
        "0" => Kind::Frontend,
        "1" => Kind::Backend,
        "2" => Kind::Server,
        _ => return None,
    };
    Some(Row {
        proxy: values.get("pxname")?.clone(),
        name: values.get("svname")?.clone(),
        kind,
        values,
    })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(character);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "# pxname,svname,status,weight,type,hrsp_2xx,hrsp_4xx,hrsp_5xx,econ,eresp,wretr,wredis,desc,\n\
        shop,FRONTEND,OPEN,,0,90,1,14,,,,,,\n\
        shop,r1-1,UP,100,2,60,0,0,0,0,0,0,,\n\
        shop,r2-1,UP,10,2,30,0,10,2,0,1,1,\"a, b\",\n\
        shop,BACKEND,UP,110,1,90,0,14,2,0,1,1,,\n\n";

    #[test]
    fn what_no_server_answered_is_haproxys_own() {
        let rows = parse(CSV).unwrap();
        let errors = FrontendErrors::of(&rows, "shop").unwrap();
        assert_eq!((errors.own_5xx, errors.own_4xx, errors.retries), (4, 1, 2));
        let totals = server_totals(&rows, "shop");
        assert_eq!(
            (totals[1].requests, totals[1].errors, totals[1].weight),
            (40, 10, 10)
        );
        assert_eq!(rows[2].get("desc"), Some("a, b"));
    }

    #[test]
    fn an_answer_that_is_no_table_is_refused() {
        assert!(parse("Unknown command.").is_err());
        assert!(parse("").is_err());
    }
}
