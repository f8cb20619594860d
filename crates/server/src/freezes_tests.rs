//! Windows over nights in which clocks are set, against moments worked out by hand.

use super::*;

fn weekly(cron: &str, duration: SignedDuration, zone: &str) -> FreezeRule {
    FreezeRule::Recurring {
        cron: cron.to_owned(),
        duration,
        time_zone: zone.to_owned(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// `from` is the window's first moment and `until` the first after it.
fn is_on_exactly(rule: &FreezeRule, from: &str, until: &str) {
    let (from, until) = (at(from), at(until));
    let minute = SignedDuration::from_mins(1);
    let found = |moment| standing(rule, moment).unwrap().until;
    assert_eq!(found(from - minute), None, "before {from}");
    assert_eq!(found(from), Some(until), "at {from}");
    assert_eq!(found(until - minute), Some(until), "before {until}");
    assert_eq!(found(until), None, "at {until}");
    assert_eq!(standing(rule, from - minute).unwrap().next, Some(from));
}

#[test]
fn a_weekend_ends_on_monday_morning_whether_or_not_clocks_are_set_in_it() {
    let hours = SignedDuration::from_hours(62);
    let zurich = weekly("0 18 * * FRI", hours, "Europe/Zurich");
    // Winter, the spring night (a day of 23 h), summer, the autumn night (25 h).
    is_on_exactly(&zurich, "2026-01-16T17:00:00Z", "2026-01-19T07:00:00Z");
    is_on_exactly(&zurich, "2026-03-27T17:00:00Z", "2026-03-30T06:00:00Z");
    is_on_exactly(&zurich, "2026-07-17T16:00:00Z", "2026-07-20T06:00:00Z");
    is_on_exactly(&zurich, "2026-10-23T16:00:00Z", "2026-10-26T07:00:00Z");
    let new_york = weekly("0 18 * * FRI", hours, "America/New_York");
    is_on_exactly(&new_york, "2026-03-06T23:00:00Z", "2026-03-09T12:00:00Z");
    // Half an hour of summer time, in the other half of the year.
    let lord_howe = weekly(
        "0 22 * * *",
        SignedDuration::from_hours(8),
        "Australia/Lord_Howe",
    );
    is_on_exactly(&lord_howe, "2026-10-03T11:30:00Z", "2026-10-03T19:00:00Z");
    is_on_exactly(&lord_howe, "2026-04-04T11:00:00Z", "2026-04-04T19:30:00Z");
}

#[test]
fn times_that_a_night_has_twice_or_not_at_all_are_covered() {
    // 02:30 is not on that day's clock: it begins as summer time does.
    let spring = weekly("30 2 * * *", SignedDuration::from_hours(1), "Europe/Zurich");
    let on = |moment: &str| standing(&spring, at(moment)).unwrap().until;
    assert_eq!(on("2026-03-29T00:59:00Z"), None);
    assert!(on("2026-03-29T01:10:00Z").is_some());
    // From 02:15 for half an hour, and 02:00 to 03:00 comes twice: to the end of the second time.
    let autumn = weekly("15 2 * * *", SignedDuration::from_mins(30), "Europe/Zurich");
    let on = |moment: &str| standing(&autumn, at(moment)).unwrap().until;
    assert_eq!(on("2026-10-25T00:14:00Z"), None);
    for moment in [
        "2026-10-25T00:15:00Z",
        "2026-10-25T00:50:00Z",
        "2026-10-25T01:44:00Z",
    ] {
        assert_eq!(on(moment), Some(at("2026-10-25T01:45:00Z")), "{moment}");
    }
    assert_eq!(on("2026-10-25T01:45:00Z"), None);
}

#[test]
fn windows_in_a_row_are_one() {
    let days = weekly("0 0 * * MON-FRI", SignedDuration::from_hours(24), "UTC");
    is_on_exactly(&days, "2026-01-05T00:00:00Z", "2026-01-10T00:00:00Z");
    let always = weekly("0 * * * *", SignedDuration::from_hours(2), "UTC");
    let until = standing(&always, at("2026-01-05T00:30:00Z")).unwrap().until;
    assert!(until.unwrap() > at("2026-01-07T00:00:00Z"));
}

#[test]
fn what_cannot_be_a_window_is_refused_by_its_part() {
    let now = at("2026-01-05T00:00:00Z");
    let hour = SignedDuration::from_hours(1);
    let part = |rule: &FreezeRule| check(rule, now).unwrap_err().part;
    assert_eq!(part(&weekly("0 18 * *", hour, "UTC")), "cron");
    assert_eq!(part(&weekly("0 25 * * *", hour, "UTC")), "cron");
    assert_eq!(part(&weekly("0 0 30 2 *", hour, "UTC")), "cron");
    assert_eq!(
        part(&weekly("0 18 * * FRI", hour, "Mars/Olympus")),
        "timeZone"
    );
    assert_eq!(
        part(&weekly("0 18 * * FRI", SignedDuration::ZERO, "UTC")),
        "duration"
    );
    let month = LONGEST + SignedDuration::from_mins(1);
    assert_eq!(part(&weekly("0 18 1 * *", month, "UTC")), "duration");
    let once = |from: &str, until: &str| FreezeRule::Once {
        from: at(from),
        until: at(until),
    };
    assert_eq!(
        part(&once("2026-01-06T00:00:00Z", "2026-01-06T00:00:00Z")),
        "until"
    );
    assert_eq!(
        part(&once("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")),
        "until"
    );
    assert_eq!(
        part(&once("2026-01-06T00:00:00Z", "2026-02-07T00:00:00Z")),
        "until"
    );
    assert_eq!(check(&weekly("0 18 1 * *", LONGEST, "UTC"), now), Ok(()));
    let once = once("2026-01-06T00:00:00Z", "2026-01-07T00:00:00Z");
    assert_eq!(check(&once, now), Ok(()));
    is_on_exactly(&once, "2026-01-06T00:00:00Z", "2026-01-07T00:00:00Z");
}

#[test]
fn a_window_that_is_not_understood_holds() {
    let row = FreezeRow {
        id: uuid::Uuid::nil(),
        name: "odd".to_owned(),
        project: None,
        app: None,
        reason: "who knows".to_owned(),
        rule: weekly(
            "every second full moon",
            SignedDuration::from_hours(1),
            "UTC",
        ),
        running: rollout::Running::Hold,
        created_at: Timestamp::UNIX_EPOCH,
        created_by: "token:ann".to_owned(),
    };
    let now = at("2026-01-05T00:00:00Z");
    let (on, _) = on_now(&[row], now);
    assert!(on[0].until > now && on[0].reason.contains("cron"));
}
