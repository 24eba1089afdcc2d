//! Durations as callers write them: `90s`, `30m`, `12h`, `21d`, or a number of seconds.

use std::time::Duration;

use crate::domain::draft::MAX_LIFE;

/// What is said of a life that is none, or too long.
pub const LIFE: &str = "must be a duration such as 12h or 21d, at most 365d";

/// Reads the life of a signing or a link; `None` if it is no duration, or longer than a signing may live.
pub fn life(text: &str) -> Option<Duration> {
    parse(text).filter(|life| *life <= MAX_LIFE)
}

/// Reads a duration; `None` if it is not one, or not at least a second.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (total > 0).then(|| Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_life_is_the_one_that_is_said() {
        let longest = LIFE.rsplit(' ').next().unwrap();
        assert_eq!(life(longest), Some(MAX_LIFE));
        assert_eq!(life(&format!("{}s", MAX_LIFE.as_secs() + 1)), None);
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("90", Some(90)), ("90s", Some(90)), ("2h", Some(7_200)), ("21d", Some(1_814_400))]
        {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in [
            "",
            "0",
            " 1d",
            "1d ",
            "1 d",
            "-1",
            "1.5h",
            "1w",
            "d",
            "99999999999999999999",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
