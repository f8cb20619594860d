//! Durations on the command line: `30s`, `10m`, `1h 30m`, and `90d` as 24-hour days.

use jiff::SignedDuration;

/// Reads one; more than zero and at most ten years.
pub(crate) fn parse(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration such as 30s, 10m, 1h 30m or 90d");
    let days = text.trim().strip_suffix('d').map(str::trim);
    let duration = match days.and_then(|it| it.parse::<i64>().ok()) {
        Some(days) if days <= 3660 => SignedDuration::from_hours(days.saturating_mul(24)),
        Some(_) => return Err(wrong()),
        None => text.parse().map_err(|_| wrong())?,
    };
    match duration > SignedDuration::ZERO && duration <= SignedDuration::from_hours(24 * 3660) {
        true => Ok(duration.unsigned_abs()),
        false => Err(wrong()),
    }
}

/// Reads one that may be zero, as in `--die-after 0s`.
pub(crate) fn parse_or_zero(text: &str) -> Result<std::time::Duration, String> {
    let zero = text.parse::<SignedDuration>().is_ok_and(|it| it.is_zero());
    if zero || text == "0" {
        return Ok(std::time::Duration::ZERO);
    }
    parse(text)
}

/// As people say it: the shorter, the finer.
pub(crate) fn short(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64().max(0.0)),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("1h 30m", 5400),
            ("90d", 7_776_000),
        ] {
            assert_eq!(parse(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "soon", "0s", "-5s", "5", "99999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_or_zero("0s").unwrap().is_zero());
    }

    #[test]
    fn durations_are_shown_short() {
        for (seconds, text) in [
            (0, "0.0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3660, "1h 1m"),
            (200_000, "2d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text);
        }
    }
}
