//! When freeze windows come: cron patterns and time zones, worked out from the database's clock.
//!
//! A recurring window begins where its pattern says, in its time zone, and ends when the clock on
//! the wall there has moved on by its duration: one from 22:00 that lasts 8 h ends at 06:00, also in
//! the night in which clocks are set. An end that such a night has twice is the later one.

use croner::{Cron, errors::CronError};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use rollout::Freeze;
use store::{FreezeRow, FreezeRule};

/// Longest window.
pub(crate) const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);
/// How many windows in a row, each beginning before the one before it ends, are told as one. More
/// would only make the end that is told later; it is looked at again then.
const IN_A_ROW: usize = 100;

/// Where a window stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Set while it is on: when it ends.
    pub(crate) until: Option<Timestamp>,
    /// When it begins next; `None`: never again.
    pub(crate) next: Option<Timestamp>,
}

/// Why a rule cannot be understood: which part, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRule {
    /// The part of the rule, e.g. `cron`.
    pub(crate) part: &'static str,
    /// What is wrong and how to put it right.
    pub(crate) detail: String,
}

fn bad(part: &'static str, detail: impl Into<String>) -> BadRule {
    BadRule {
        part,
        detail: detail.into(),
    }
}

/// Checks a rule as a person wrote it, at `now`.
pub(crate) fn check(rule: &FreezeRule, now: Timestamp) -> Result<(), BadRule> {
    let days = LONGEST.as_hours() / 24;
    match rule {
        FreezeRule::Once { from, until } => {
            if until <= from {
                return Err(bad("until", "must be after from"));
            }
            if until.duration_since(*from) > LONGEST {
                return Err(bad(
                    "until",
                    format!("must be at most {days} days after from"),
                ));
            }
            match *until > now {
                true => Ok(()),
                false => Err(bad("until", "is over already")),
            }
        }
        FreezeRule::Recurring { duration, .. } => {
            if !(SignedDuration::from_mins(1)..=LONGEST).contains(duration) {
                let detail = format!("must be from 1m to {days} days, e.g. 62h");
                return Err(bad("duration", detail));
            }
            match standing(rule, now)?.next {
                Some(_) => Ok(()),
                None => Err(bad("cron", "never comes")),
            }
        }
    }
}

/// Where a window stands at `now`.
///
/// # Errors
/// A pattern or a time zone that cannot be understood.
pub(crate) fn standing(rule: &FreezeRule, now: Timestamp) -> Result<Standing, BadRule> {
    match rule {
        FreezeRule::Once { from, until } => Ok(Standing {
            until: (*from <= now && now < *until).then_some(*until),
            next: (now < *from).then_some(*from),
        }),
        FreezeRule::Recurring {
            cron,
            duration,
            time_zone,
        } => {
            let zone = TimeZone::get(time_zone).map_err(|_| {
                let detail =
                    format!("\"{time_zone}\" is not an IANA time zone, e.g. Europe/Zurich or UTC");
                bad("timeZone", detail)
            })?;
            let pattern: Cron = cron
                .parse()
                .map_err(|error: CronError| bad("cron", error.to_string()))?;
            recurring(&pattern, *duration, &now.to_zoned(zone))
        }
    }
}

fn recurring(pattern: &Cron, lasts: SignedDuration, now: &Zoned) -> Result<Standing, BadRule> {
    let last = never(pattern.find_previous_occurrence(now, true))?;
    let mut until = None;
    if let Some(begin) = last {
        until = Some(end(&begin, lasts)?).filter(|it| it > now);
    }
    let mut next = never(pattern.find_next_occurrence(now, false))?;
    for _ in 0..IN_A_ROW {
        match (&until, &next) {
            (Some(ends), Some(begin)) if begin <= ends => {
                until = Some(end(begin, lasts)?);
                next = never(pattern.find_next_occurrence(begin, false))?;
            }
            _ => break,
        }
    }
    Ok(Standing {
        until: until.map(|it| it.timestamp()),
        next: next.map(|it| it.timestamp()),
    })
}

/// Finding no more is not a fault of the pattern: it may name a year.
fn never(found: Result<Zoned, CronError>) -> Result<Option<Zoned>, BadRule> {
    match found {
        Ok(at) => Ok(Some(at)),
        Err(CronError::TimeSearchLimitExceeded | CronError::InvalidDate) => Ok(None),
        Err(error) => Err(bad("cron", error.to_string())),
    }
}

/// When a window that began at `begin` is over, by the clock on the wall.
fn end(begin: &Zoned, lasts: SignedDuration) -> Result<Zoned, BadRule> {
    let ends = begin.datetime().checked_add(lasts).and_then(|it| {
        let zone = begin.time_zone().clone();
        zone.into_ambiguous_zoned(it).later()
    });
    ends.map_err(|error| bad("duration", error.to_string()))
}

/// The windows that are on at `now`, and the moment at which that may change by itself. A window
/// that cannot be understood, which only a newer version can have kept, is on: what must not be done
/// is not done by mistake.
pub(crate) fn on_now(rows: &[FreezeRow], now: Timestamp) -> (Vec<Freeze>, Option<Timestamp>) {
    let (mut on, mut changes) = (Vec::new(), Vec::new());
    for row in rows {
        let freeze = |until, reason: String| Freeze {
            window: row.name.clone(),
            reason,
            until,
            running: row.running,
        };
        match standing(&row.rule, now) {
            Ok(Standing { until, next }) => {
                on.extend(until.map(|it| freeze(it, row.reason.clone())));
                changes.extend(until.into_iter().chain(next));
            }
            Err(BadRule { part, detail }) => {
                let soon = now.checked_add(LONGEST).unwrap_or(Timestamp::MAX);
                let why = format!("{} (its {part} cannot be understood: {detail})", row.reason);
                on.push(freeze(soon, why));
            }
        }
    }
    (on, changes.into_iter().min())
}

#[cfg(test)]
#[path = "freezes_tests.rs"]
mod tests;
