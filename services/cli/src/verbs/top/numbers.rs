//! Numbers for people, in few columns.

/// A whole number with a comma after each three digits.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate with three or four digits: `0`, `3.4`, `812`, `81.2k`, `1.2M`.
pub(super) fn rate(value: f64) -> String {
    scaled(value, 1_000.0, &["", "k", "M", "G", "T"])
}

/// Bytes: `0 B`, `812 B`, `4.5 MiB`.
pub(super) fn bytes(value: f64) -> String {
    scaled(value, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What rounds to the next unit is shown in it.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let whole = !(0.05..99.95).contains(&value) || (unit == 0 && (value - value.round()).abs() < 0.05);
    let decimals = usize::from(!whole);
    format!("{value:.decimals$}{}", units[unit])
}

/// A duration: `640us`, `12.3ms`, `3.4s`, `12m34s`, `5h03m`, `3d04h`.
pub(super) fn duration(micros: u64) -> String {
    let (value, seconds) = (micros as f64, micros / 1_000_000);
    match micros {
        0 => "0".to_owned(),
        1..1_000 => format!("{micros}us"),
        1_000..99_950 => format!("{:.1}ms", value / 1e3),
        99_950..999_500 => format!("{:.0}ms", value / 1e3),
        999_500..59_950_000 => format!("{:.1}s", value / 1e6),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short_whatever_they_are() {
        for (value, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")] {
            assert_eq!(count(value), shown);
        }
        for (value, shown) in [
            (0.0, "0"),
            (0.01, "0"),
            (3.44, "3.4"),
            (7.0, "7"),
            (812.3, "812"),
            (999.7, "1.0k"),
            (81_230.0, "81.2k"),
            (1_234_567.0, "1.2M"),
            (f64::MAX, ""),
        ] {
            assert!(rate(value).starts_with(shown), "{value} {}", rate(value));
        }
        for (value, shown) in [(0.0, "0 B"), (1023.0, "1,023 B"), (1536.0, "1.5 KiB"), (200.0 * 1_048_576.0, "200 MiB")]
        {
            assert_eq!(bytes(value), shown.replace(',', ""));
        }
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        for (micros, shown) in [
            (0, "0"),
            (640, "640us"),
            (12_340, "12.3ms"),
            (120_000, "120ms"),
            (999_600, "1.0s"),
            (3_400_000, "3.4s"),
            (59_970_000, "0m59s"),
            (754_000_000, "12m34s"),
            (18_180_000_000, "5h03m"),
            (273_600_000_000, "3d04h"),
            (u64::MAX, "213503982d08h"),
        ] {
            assert_eq!(duration(micros), shown);
        }
    }
}
