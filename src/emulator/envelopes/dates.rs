//! Dates in queries, as the vendor reads them: "any date format supported by .NET's `DateTime.Parse()`" (SPEC:
//! listStatusChanges, `from_date`), of which here the ones that its samples and its users send.
//!
//! ISO 8601 with and without time, fraction and offset; year, month and day with slashes or hyphens; month, day
//! and year with slashes; a time of twelve hours with AM or PM; and RFC 1123. Without an offset the vendor takes
//! its server's zone: here UTC.

use jiff::{
    Timestamp,
    civil::{Date, Time},
    fmt::rfc2822,
    tz::{Offset, TimeZone},
};

/// Reads a date; none is what no form fits.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = rfc2822::parse(text) {
        return Some(at.timestamp());
    }
    let end = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (day, rest) = text.split_at(end);
    let (time, offset) = match rest.get(1..).map(str::trim).filter(|rest| !rest.is_empty()) {
        None => (Time::midnight(), Offset::UTC),
        Some(rest) => clock(rest)?,
    };
    let at = date(day)?.to_datetime(time).to_zoned(TimeZone::fixed(offset)).ok()?;
    Some(at.timestamp())
}

/// `2026-01-31`, `2026/01/31`, `1/31/2026`.
fn date(text: &str) -> Option<Date> {
    let separator = if text.contains('/') { '/' } else { '-' };
    let mut parts = text.split(separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let is_american = third.len() == 4;
    let (year, month, day) = if is_american { (third, first, second) } else { (first, second, third) };
    let is_whole =
        parts.next().is_none() && digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2);
    if !is_whole || (is_american && separator == '-') {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A time of day, AM or PM, and an offset; the last two may be absent.
fn clock(text: &str) -> Option<(Time, Offset)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (time, rest) = text.split_at(end);
    let rest = rest.trim();
    let half = rest.get(..2).map(str::to_ascii_uppercase);
    let (afternoon, rest) = match half.as_deref() {
        Some("AM") => (Some(false), rest[2..].trim()),
        Some("PM") => (Some(true), rest[2..].trim()),
        _ => (None, rest),
    };
    Some((time_of_day(time, afternoon)?, offset(rest)?))
}

fn time_of_day(text: &str, afternoon: Option<bool>) -> Option<Time> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let is_whole = parts.next().is_none()
        && digits(hour, 1..=2)
        && digits(minute, 2..=2)
        && digits(second, 1..=2)
        && digits(fraction, 1..=9);
    if !is_whole {
        return None;
    }
    let hour: i8 = hour.parse().ok()?;
    let hour = match afternoon {
        None => hour,
        Some(is_afternoon) if (1..=12).contains(&hour) => hour % 12 + if is_afternoon { 12 } else { 0 },
        Some(_) => return None,
    };
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Time::new(hour, minute.parse().ok()?, second.parse().ok()?, nanoseconds).ok()
}

/// `Z`, `GMT`, `+02:00`, `-0500`, or nothing. A plus that was not escaped arrives as a blank, and so not at all.
fn offset(text: &str) -> Option<Offset> {
    if text.is_empty() || ["Z", "GMT", "UTC"].iter().any(|zone| zone.eq_ignore_ascii_case(text)) {
        return Some(Offset::UTC);
    }
    let (is_west, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = text.split_once(':').or_else(|| text.split_at_checked(2)).unwrap_or((text, "0"));
    if !digits(hours, 1..=2) || !digits(minutes, 1..=2) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (hours * 60 + minutes) * 60;
    (minutes < 60).then(|| Offset::from_seconds(if is_west { -seconds } else { seconds }).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_common_form_is_the_same_instant() {
        let noon: Timestamp = "2026-01-31T13:05:00Z".parse().unwrap();
        for text in [
            "2026-01-31T13:05Z",
            "2026-01-31T13:05:00",
            "2026-01-31 13:05:00",
            "2026-01-31T13:05:00.0000000Z",
            "2026-01-31T15:05:00+02:00",
            "2026-01-31T15:05:00 02:00",
            "2026-01-31T08:05:00.000-0500",
            "2026/01/31 13:05",
            "2026/1/31T13:05:00Z",
            "1/31/2026 13:05:00",
            "1/31/2026 1:05 PM",
            "01/31/2026 01:05:00 pm",
            "1/31/2026 1:05:00 PM +00:00",
            "Sat, 31 Jan 2026 13:05:00 GMT",
        ] {
            assert_eq!(parse(text), Some(noon), "{text}");
        }
        let midnight: Timestamp = "2026-01-31T00:00:00Z".parse().unwrap();
        for text in ["2026-01-31", "2026/01/31", "2026/1/31", "1/31/2026", "1/31/2026 12:00 AM"] {
            assert_eq!(parse(text), Some(midnight), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in
            ["", "yesterday", "2026-02-30", "31/1/2026", "2026-01-31T25:00", "1/31/2026 13:00 PM", "26-01-31"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9TZtAPM:/. +-]{0,30}|.{0,20}") {
            let _ = parse(&text);
        }
    }
}
