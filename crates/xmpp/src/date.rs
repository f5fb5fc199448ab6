//! Moments as XMPP writes them (XEP-0082), to and from microseconds of Unix time.

use std::fmt::Write as _;

const MICROS: i64 = 1_000_000;
const DAY_SECS: i64 = 86_400;
/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800 * MICROS;
/// 9999-12-31T23:59:59.999999Z.
const LAST: i64 = 253_402_300_800 * MICROS - 1;

/// Writes a moment as `2002-09-10T23:08:25Z`, with as many digits of the second as it takes: none,
/// three or six (XEP-0082 §3.2). It is always UTC, which tells nobody where we are (XEP-0082 §6).
pub fn write(unix_micros: i64) -> String {
    let (year, month, day, second) = split(unix_micros.div_euclid(MICROS));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let micros = unix_micros.rem_euclid(MICROS);
    // Writing to a string cannot fail.
    let _ = match micros {
        0 => Ok(()),
        _ if micros % 1000 == 0 => write!(text, ".{:03}", micros / 1000),
        _ => write!(text, ".{micros:06}"),
    };
    text.push('Z');
    text
}

/// Writes a day as `2002-09-10` (XEP-0082 §3.1).
pub fn write_day(unix_micros: i64) -> String {
    let (year, month, day, _) = split(unix_micros.div_euclid(MICROS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Writes a moment as `20020910T23:08:25`, for the namespaces that are older than XEP-0082
/// (XEP-0091 §2).
pub fn write_legacy(unix_micros: i64) -> String {
    let (year, month, day, second) = split(unix_micros.div_euclid(MICROS));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Reads a moment (XEP-0082 §3.2); more digits than microseconds are dropped.
///
/// The years are 0001 to 9999: XEP-0082 §5 lets us ignore the others. An hour of 24 is the end of
/// the day, as XML Schema has it, and a second of 60 is the first one of the next minute.
pub fn read(text: &str) -> Option<i64> {
    let mut rest = Rest(text.as_bytes());
    let day = rest.day(true)?;
    rest.skip(b'T')?;
    let micros = rest.time()?;
    let offset = rest.zone()?;
    rest.end()?;
    let moment = (day * DAY_SECS - offset) * MICROS + micros;
    // An offset can lead out of the years that can be written again.
    (FIRST..=LAST).contains(&moment).then_some(moment)
}

/// Reads a day as its first moment in UTC (XEP-0082 §3.1).
pub fn read_day(text: &str) -> Option<i64> {
    let mut rest = Rest(text.as_bytes());
    let day = rest.day(true)?;
    rest.end()?;
    Some(day * DAY_SECS * MICROS)
}

/// Reads a moment in either form, where a namespace older than XEP-0082 wants us to be liberal
/// (XEP-0082 §4); the old form is UTC (XEP-0091 §4).
pub fn read_legacy(text: &str) -> Option<i64> {
    let mut rest = Rest(text.as_bytes());
    let old = rest.day(false).and_then(|day| {
        rest.skip(b'T')?;
        let micros = rest.time()?;
        rest.end()?;
        Some(day * DAY_SECS * MICROS + micros)
    });
    old.or_else(|| read(text))
}

/// What is left to read. Numbers have at most four digits, so no sum of them can overflow.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Days since 1 January 1970.
    fn day(&mut self, dashes: bool) -> Option<i64> {
        let year = self.number(4)?;
        if dashes {
            self.skip(b'-')?;
        }
        let month = self.number(2)?;
        if dashes {
            self.skip(b'-')?;
        }
        let day = self.number(2)?;
        let valid =
            year >= 1 && (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
        valid.then(|| days_before(year, month) + day - 1)
    }

    /// Microseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.skip(b':')?;
        let minute = self.number(2)?;
        self.skip(b':')?;
        let second = self.number(2)?;
        let fraction = if self.skip(b'.').is_some() { self.fraction()? } else { 0 };
        let midnight = hour == 24 && minute == 0 && second == 0 && fraction == 0;
        let valid = (hour < 24 || midnight) && minute < 60 && second <= 60;
        valid.then(|| (hour * 3600 + minute * 60 + second) * MICROS + fraction)
    }

    /// Microseconds from any number of digits, at least one.
    fn fraction(&mut self) -> Option<i64> {
        let (mut micros, mut unit) = (self.number(1)? * MICROS / 10, MICROS / 10);
        while let Some(digit) = self.number(1) {
            unit /= 10;
            micros += digit * unit;
        }
        Some(micros)
    }

    /// Seconds east of UTC; XML Schema knows 14 hours at most.
    fn zone(&mut self) -> Option<i64> {
        if self.skip(b'Z').is_some() {
            return Some(0);
        }
        let sign = match self.skip(b'+') {
            Some(()) => 1,
            None => self.skip(b'-').map(|()| -1)?,
        };
        let hour = self.number(2)?;
        self.skip(b':')?;
        let minute = self.number(2)?;
        let valid = minute < 60 && (hour < 14 || hour == 14 && minute == 0);
        valid.then_some(sign * (hour * 3600 + minute * 60))
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Days from 1 March of the year 0 to 1 January 1970. Counting from March puts the leap day at
/// the end of the year, where it moves no month.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;

/// Days from 1 January 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // The months from March on have 31, 30, 31, 30, 31 days, and so again: 153 in five.
    year * 365 + leap_days + (month * 153 + 2) / 5 - EPOCH_DAYS
}

/// Year, month, day and the second of the day.
fn split(unix_secs: i64) -> (i64, i64, i64, i64) {
    let days = unix_secs.div_euclid(DAY_SECS) + EPOCH_DAYS;
    let cycle = days.div_euclid(CYCLE_DAYS);
    let day = days.rem_euclid(CYCLE_DAYS);
    // Without the leap days that came before it, a year has 365.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (next, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (cycle * 400 + year + next, month, day, unix_secs.rem_euclid(DAY_SECS))
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    #[test]
    fn known_moments_are_read() {
        for (text, secs) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-07-21T02:56:15Z", -14_159_025),
            ("1969-07-20T21:56:15-05:00", -14_159_025),
            ("2002-09-10T23:08:25Z", 1_031_699_305),
            ("2000-02-29T12:00:00+14:00", 951_775_200),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("2016-12-31T24:00:00Z", 1_483_228_800),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(read(text), Some(secs * MICROS), "{text}");
        }
    }

    #[test]
    fn fraction_is_read_to_the_microsecond() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.5Z", 500_000),
            ("1970-01-01T00:00:00.000001Z", 1),
            ("1970-01-01T00:00:00.1234567890123456789Z", 123_456),
            ("1969-12-31T23:59:59.999Z", -1_000),
        ] {
            assert_eq!(read(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2002-09-10",
            "2002-09-10T23:08:25",
            "2002-09-10T23:08:25z",
            "2002-09-10 23:08:25Z",
            "2002-09-10T23:08:25.Z",
            "2002-09-10T23:08:25Z ",
            "2002-09-10T23:08:25+1:00",
            "2002-09-10T23:08:25+14:01",
            "2002-09-10T23:08:25+05:60",
            "2002-09-10T24:00:01Z",
            "2002-09-10T23:60:00Z",
            "2002-09-10T23:00:61Z",
            "2002-13-10T23:08:25Z",
            "2002-00-10T23:08:25Z",
            "2002-09-31T23:08:25Z",
            "2002-09-00T23:08:25Z",
            "1900-02-29T00:00:00Z",
            "2001-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T24:00:00Z",
            "-2002-09-10T23:08:25Z",
            "12002-09-10T23:08:25Z",
            "+002-09-10T23:08:25Z",
            "20020910T23:08:25",
            "2002-09-10T23:08:2\u{663}Z",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn moment_is_written_with_the_digits_it_takes() {
        assert_eq!(write(0), "1970-01-01T00:00:00Z");
        assert_eq!(write(1_031_699_305_120_000), "2002-09-10T23:08:25.120Z");
        assert_eq!(write(1_031_699_305_000_001), "2002-09-10T23:08:25.000001Z");
        assert_eq!(write(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(write_day(1_031_699_305_000_000), "2002-09-10");
        assert_eq!(write_legacy(1_031_699_305_000_000), "20020910T23:08:25");
    }

    #[test]
    fn both_old_and_new_form_are_read_in_old_namespaces() {
        for text in ["20020910T23:08:25", "2002-09-10T23:08:25Z"] {
            assert_eq!(read_legacy(text), Some(1_031_699_305 * MICROS));
        }
        assert_eq!(read_legacy("20020910T23:08:25Z"), None);
        assert_eq!(read_day("2002-09-10"), Some(1_031_616_000 * MICROS));
        assert_eq!(read_day("2002-09-10Z"), None);
    }

    #[test]
    fn days_follow_each_other_as_in_the_calendar() {
        let (mut year, mut month, mut day) = (1599, 1, 1);
        for days in days_before(1599, 1)..days_before(2402, 1) {
            assert_eq!(split(days * DAY_SECS), (year, month, day, 0));
            assert_eq!(days_before(year, month) + day - 1, days);
            day += 1;
            if day > month_days(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn every_moment_can_be_written_and_those_of_four_digit_years_come_back() {
        for micros in [i64::MIN, i64::MAX, i64::MIN + 1, -1, 0, 1] {
            assert!(write(micros).ends_with('Z'));
        }
        let mut noise = Noise::new(1);
        for _ in 0..10_000 {
            let micros = FIRST + noise.below((LAST - FIRST) as u64) as i64;
            assert_eq!(read(&write(micros)), Some(micros));
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic() {
        let mut noise = Noise::new(2);
        for _ in 0..20_000 {
            let text = noise.mutated("2002-09-10T23:08:25.123456+05:30");
            if let Some(micros) = read(&text) {
                assert_eq!(read(&write(micros)), Some(micros), "{text:?}");
            }
            let _ = (read_day(&text), read_legacy(&text));
        }
    }
}
