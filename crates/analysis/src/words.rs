//! Numbers as people read them.

/// With commas between thousands: `1,204`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two significant digits: `2.4`, `12`, `0.031`; more before the point where there are more.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = libm::floor(libm::log10(value.abs().max(1e-12))) as i32;
    let decimals = (1 - magnitude).clamp(0, 12) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// As a percentage: `5 %`, `0.031 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", short(share * 100.0))
}

/// Seconds as `31 s`, `4 min 5 s`, `1 h 2 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, 0, rest) => format!("{rest} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let counts = [0, 12, 999, 1000, 1204, 1_000_000].map(count);
        assert_eq!(counts, ["0", "12", "999", "1,000", "1,204", "1,000,000"]);
        let numbers = [8.97, 2.4, 12.3, 1234.5, 0.0312, 0.0, 10.0].map(short);
        assert_eq!(numbers, ["9", "2.4", "12", "1234", "0.031", "0", "10"]);
        assert_eq!(short(f64::INFINITY), "inf");
        assert_eq!([0.05, 0.0005].map(percent), ["5 %", "0.05 %"]);
        let durations = [31.2, 245.0, 120.0, 3720.0, 7200.0].map(duration);
        assert_eq!(
            durations,
            ["31 s", "4 min 5 s", "2 min", "1 h 2 min", "2 h"]
        );
    }
}
