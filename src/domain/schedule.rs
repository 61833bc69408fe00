//! AWS cron expressions: six fields, in UTC (`data-contract` 6).
//!
//! Source: "Schedule types in EventBridge Scheduler" (EventBridge Scheduler User Guide), cron-based schedules.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::formation::ScheduledTask;
use super::names::EpochSeconds;

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Seconds after which an occurrence that was missed is left out.
const STILL_IN_TIME: u64 = 5 * 60;

/// An expression that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minute: Vec<Span>,
    hour: Vec<Span>,
    /// Nothing where the day of the week decides.
    day: Option<Vec<MonthDay>>,
    month: Vec<Span>,
    /// Nothing where the day of the month decides.
    weekday: Option<Vec<WeekDay>>,
    year: Vec<Span>,
}

/// Every `step`th number between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u32,
    to: u32,
    step: u32,
}

/// A part of the day-of-month field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MonthDay {
    In(Span),
    Last,
    /// The working day that is nearest to a day, in the same month.
    Nearest(u32),
    LastWorkingDay,
}

/// A part of the day-of-week field; 1 is Sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WeekDay {
    In(Span),
    /// The last such day of the month.
    Last(u32),
    /// The nth such day of the month.
    Nth(u32, u32),
}

/// What numbers and words a field takes.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

/// Says what is wrong with an expression, as far as that can be told without AWS.
///
/// # Errors
/// Names the rule that is broken.
pub fn check(expression: &str) -> Result<(), String> {
    Cron::parse(expression).map(|_| ())
}

impl Cron {
    /// Reads six fields.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn parse(expression: &str) -> Result<Self, String> {
        let fields: Vec<&str> = expression.split(' ').collect();
        let [minute, hour, day, month, weekday, year] = fields[..] else {
            return Err(format!(
                "it has {} fields, and should have six: minute hour day-of-month month day-of-week year",
                fields.iter().filter(|field| !field.is_empty()).count()
            ));
        };
        if (day == "?") == (weekday == "?") {
            return Err("exactly one of day-of-month and day-of-week must be `?`".to_owned());
        }
        let numbers = |name, low, high| Field { name, low, high, words: &[] };
        let days = numbers("day-of-month", 1, 31);
        let weekdays = Field { name: "day-of-week", low: 1, high: 7, words: DAYS };
        Ok(Self {
            minute: numbers("minute", 0, 59).read(minute, Field::span)?,
            hour: numbers("hour", 0, 23).read(hour, Field::span)?,
            day: (day != "?").then(|| days.read(day, Field::month_day)).transpose()?,
            month: Field { name: "month", low: 1, high: 12, words: MONTHS }.read(month, Field::span)?,
            weekday: (weekday != "?").then(|| weekdays.read(weekday, Field::week_day)).transpose()?,
            year: numbers("year", 1970, 2199).read(year, Field::span)?,
        })
    }

    /// Tells whether the minute that a moment lies in is one of those meant.
    pub fn is_due(&self, at: EpochSeconds) -> bool {
        let Some(at) = civil(at) else { return false };
        let date = at.date();
        let holds = |spans: &[Span], value: u32| spans.iter().any(|span| span.holds(value));
        holds(&self.minute, number(at.minute()))
            && holds(&self.hour, number(at.hour()))
            && holds(&self.month, number(date.month()))
            && holds(&self.year, u32::try_from(date.year()).unwrap_or_default())
            && self.day.as_ref().is_none_or(|parts| parts.iter().any(|part| part.holds(date)))
            && self.weekday.as_ref().is_none_or(|parts| parts.iter().any(|part| part.holds(date)))
    }
}

impl Field {
    fn read<T>(&self, text: &str, part: impl Fn(&Self, &str) -> Option<T>) -> Result<Vec<T>, String> {
        let wrong = || format!("`{text}` is no {} ({} to {})", self.name, self.low, self.high);
        text.split(',').map(|text| part(self, text).ok_or_else(wrong)).collect()
    }

    fn value(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let word = word.and_then(|index| u32::try_from(index + 1).ok());
        // A sign is no part of a number here.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (self.low..=self.high).contains(number));
        word.or(number)
    }

    /// A number or word, a range, or all, each with or without a step.
    fn span(&self, text: &str) -> Option<Span> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            // With a step, a single number is where to begin.
            None => (self.value(range)?, if step.is_some() { self.high } else { self.value(range)? }),
        };
        (from <= to).then_some(Span { from, to, step: step.unwrap_or(1) })
    }

    fn month_day(&self, text: &str) -> Option<MonthDay> {
        Some(match text {
            "L" => MonthDay::Last,
            "LW" | "WL" => MonthDay::LastWorkingDay,
            _ => match text.strip_suffix('W') {
                Some(day) => MonthDay::Nearest(self.value(day)?),
                None => MonthDay::In(self.span(text)?),
            },
        })
    }

    fn week_day(&self, text: &str) -> Option<WeekDay> {
        if let Some((day, nth)) = text.split_once('#') {
            return Some(WeekDay::Nth(self.value(day)?, nth.parse().ok().filter(|nth| (1..=5).contains(nth))?));
        }
        Some(match text.strip_suffix('L') {
            // The last day of the week.
            Some("") => WeekDay::In(Span { from: self.high, to: self.high, step: 1 }),
            Some(day) => WeekDay::Last(self.value(day)?),
            None => WeekDay::In(self.span(text)?),
        })
    }
}

impl Span {
    fn holds(self, value: u32) -> bool {
        (self.from..=self.to).contains(&value) && (value - self.from).is_multiple_of(self.step)
    }
}

impl MonthDay {
    fn holds(self, date: Date) -> bool {
        let day = number(date.day());
        match self {
            Self::In(span) => span.holds(day),
            Self::Last => day == last_day(date),
            Self::Nearest(wanted) => day == working_day(date, wanted),
            Self::LastWorkingDay => day == working_day(date, last_day(date)),
        }
    }
}

impl WeekDay {
    fn holds(self, date: Date) -> bool {
        let (day, weekday) = (number(date.day()), weekday(date));
        match self {
            Self::In(span) => span.holds(weekday),
            Self::Last(wanted) => weekday == wanted && day + 7 > last_day(date),
            Self::Nth(wanted, nth) => weekday == wanted && day.div_ceil(7) == nth,
        }
    }
}

fn civil(at: EpochSeconds) -> Option<DateTime> {
    let at = jiff::Timestamp::from_second(i64::try_from(at.0).ok()?).ok()?;
    Some(at.to_zoned(TimeZone::UTC).datetime())
}

fn number(value: i8) -> u32 {
    u32::try_from(value).unwrap_or_default()
}

fn last_day(date: Date) -> u32 {
    number(date.days_in_month())
}

/// The day of the week, from 1 for Sunday.
fn weekday(date: Date) -> u32 {
    number(date.weekday().to_sunday_one_offset())
}

/// The working day nearest to a day of the month that `date` lies in; 0 where the month has no such day.
fn working_day(date: Date, wanted: u32) -> u32 {
    let last = last_day(date);
    let Some(day) = i8::try_from(wanted).ok().and_then(|day| date.with().day(day).build().ok()) else { return 0 };
    match weekday(day) {
        7 if wanted == 1 => 3,
        7 => wanted - 1,
        1 if wanted == last => wanted - 2,
        1 => wanted + 1,
        _ => wanted,
    }
}

/// A run of a command that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence<'a> {
    /// What runs.
    pub task: &'a ScheduledTask,
    /// How many equal ones stand before it in the list.
    pub copy: usize,
    /// The minute that it is meant for.
    pub at: EpochSeconds,
}

/// Returns what is due at `now` of what has not been started up to the moment `until`, in the order of the list.
///
/// Of several missed occurrences of a command the last one counts, and none that is older than five minutes: what nobody was
/// there for is left out. One whose expression cannot be read is never due.
pub fn due(tasks: &[ScheduledTask], until: EpochSeconds, now: EpochSeconds) -> Vec<Occurrence<'_>> {
    let (last, before) = (now.0 / 60, until.0.max(now.0.saturating_sub(STILL_IN_TIME)) / 60);
    let occurrence = |(index, task): (usize, &'_ ScheduledTask)| {
        let cron = Cron::parse(task.schedule.trim()).ok()?;
        let at = (before + 1..=last).rev().map(|minute| EpochSeconds(minute * 60)).find(|at| cron.is_due(*at))?;
        Some((index, at))
    };
    let found: Vec<_> = tasks.iter().enumerate().filter_map(occurrence).collect();
    let copy = |index: usize| tasks[..index].iter().filter(|task| **task == tasks[index]).count();
    found.into_iter().map(|(index, at)| Occurrence { task: &tasks[index], copy: copy(index), at }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment in UTC, such as `2026-03-14T09:30`.
    fn at(text: &str) -> EpochSeconds {
        let at: DateTime = text.parse().unwrap();
        EpochSeconds(u64::try_from(at.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second()).unwrap())
    }

    /// The days of a month on which an expression is due at noon.
    fn days(expression: &str, month: &str) -> Vec<u32> {
        let cron = Cron::parse(expression).unwrap();
        (1..=31)
            .filter(|day| {
                let text = format!("{month}-{day:02}T12:00");
                text.parse::<DateTime>().is_ok() && cron.is_due(at(&text))
            })
            .collect()
    }

    #[test]
    fn what_aws_takes_is_taken() {
        for expression in [
            "0 0 * * ? *",
            "0/10 * ? * MON-FRI *",
            "15 3 1,15 * ? 2026-2030",
            "0 8 L * ? *",
            "0 8 ? * 3#2 *",
            "0 8 3W * ? *",
            "0 8 ? * 6L *",
            "*/5 0-12/2 ? jan,JUL fri#1 *",
        ] {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (expression, rule) in [
            ("0 0 * * *", "5 fields"),
            ("0 0 * * * *", "must be `?`"),
            ("0 0 ? * ? *", "must be `?`"),
            ("60 0 * * ? *", "`60` is no minute"),
            ("0 0 * FOO ? *", "`FOO` is no month"),
            ("0 0/x * * ? *", "`0/x` is no hour"),
            ("0 0/0 * * ? *", "`0/0` is no hour"),
            ("0 +1 * * ? *", "`+1` is no hour"),
            ("0 0 3L * ? *", "`3L` is no day-of-month"),
            ("0 0 W * ? *", "`W` is no day-of-month"),
            ("0 0 ? * 3W *", "`3W` is no day-of-week"),
            ("0 0 ? * 3#6 *", "`3#6` is no day-of-week"),
            ("0 0 L L ? *", "`L` is no month"),
            ("30-10 0 * * ? *", "`30-10` is no minute"),
            ("0  0 * * ? *", "6 fields"),
        ] {
            let told = check(expression).unwrap_err();
            assert!(told.contains(rule), "{expression}: {told}");
        }
    }

    #[test]
    fn minutes_and_hours_are_those_that_are_listed_in_ranges_and_steps() {
        let due =
            |expression: &str, time: &str| Cron::parse(expression).unwrap().is_due(at(&format!("2026-03-14T{time}")));
        for (expression, time, expected) in [
            ("5/10 * * * ? *", "00:05", true),
            ("5/10 * * * ? *", "00:55", true),
            ("5/10 * * * ? *", "00:00", false),
            ("*/20 * * * ? *", "07:40", true),
            ("10-30/10 * * * ? *", "07:40", false),
            ("10-30/10 * * * ? *", "07:30", true),
            ("0,45 8-17 * * ? *", "17:45", true),
            ("0,45 8-17 * * ? *", "18:00", false),
            ("0 12 * 4 ? *", "12:00", false),
            ("0 12 * MAR ? 2027", "12:00", false),
            ("0 12 14 mar ? 2026", "12:00", true),
        ] {
            assert_eq!(due(expression, time), expected, "{expression} at {time}");
        }
        assert!(Cron::parse("30 9 * * ? *").unwrap().is_due(EpochSeconds(at("2026-03-14T09:30").0 + 59)));
    }

    #[test]
    fn days_are_counted_from_either_end_of_the_month_and_by_the_week() {
        for (expression, month, expected) in [
            ("0 12 L * ? *", "2028-02", vec![29]),
            ("0 12 L * ? *", "2026-02", vec![28]),
            // The 1st of August 2026 is a Saturday, the 15th too, the 31st of May a Sunday.
            ("0 12 1W * ? *", "2026-08", vec![3]),
            ("0 12 15W * ? *", "2026-08", vec![14]),
            ("0 12 16W * ? *", "2026-08", vec![17]),
            ("0 12 31W * ? *", "2026-05", vec![29]),
            ("0 12 31W * ? *", "2026-06", vec![]),
            ("0 12 LW * ? *", "2026-05", vec![29]),
            ("0 12 ? * 6L *", "2026-08", vec![28]),
            ("0 12 ? * 3#2 *", "2026-09", vec![8]),
            ("0 12 ? * SAT#5 *", "2026-08", vec![29]),
            ("0 12 ? * SAT#5 *", "2026-09", vec![]),
            ("0 12 ? * L *", "2026-02", vec![7, 14, 21, 28]),
            ("0 12 ? * MON,4-5 *", "2026-02", vec![2, 4, 5, 9, 11, 12, 16, 18, 19, 23, 25, 26]),
        ] {
            assert_eq!(days(expression, month), expected, "{expression} in {month}");
        }
    }

    #[test]
    fn an_occurrence_is_due_once_and_late_ones_are_left_out() {
        let task = |schedule: &str| ScheduledTask { schedule: schedule.to_owned(), command: "job".to_owned() };
        let tasks = [task("0/10 * * * ? *"), task("broken"), task("0/10 * * * ? *")];
        let seen = |until: &str, now: &str| {
            let found = due(&tasks, at(until), EpochSeconds(at(now).0 + 7));
            found.iter().map(|found| (found.copy, found.at)).collect::<Vec<_>>()
        };
        let ten = at("2026-03-14T09:10");
        assert_eq!(seen("2026-03-14T09:09", "2026-03-14T09:10"), [(0, ten), (1, ten)]);
        assert_eq!(seen("2026-03-14T09:10", "2026-03-14T09:10"), []);
        assert_eq!(seen("2026-03-14T09:10", "2026-03-14T09:19"), []);
        assert_eq!(seen("2026-03-14T08:00", "2026-03-14T09:14"), [(0, ten), (1, ten)], "the machine slept");
        assert_eq!(seen("2026-03-14T08:00", "2026-03-14T09:16"), []);
        assert_eq!(seen("2026-03-14T10:00", "2026-03-14T09:10"), [], "the clock was put back");
    }
}
