//! AWS cron expressions: six fields, in UTC (`data-contract` 6).

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Says what is wrong with an expression, as far as that can be told without AWS.
///
/// # Errors
/// Names the rule that is broken.
pub fn check(expression: &str) -> Result<(), String> {
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
    for (name, field, low, high, words) in [
        ("minute", minute, 0, 59, &[][..]),
        ("hour", hour, 0, 23, &[]),
        ("day-of-month", day, 1, 31, &[]),
        ("month", month, 1, 12, MONTHS),
        ("day-of-week", weekday, 1, 7, DAYS),
        ("year", year, 1970, 2199, &[]),
    ] {
        let is_day = name.starts_with("day");
        if !field.split(',').all(|part| fits(part, low, high, words, is_day)) {
            return Err(format!("`{field}` is no {name} ({low} to {high})"));
        }
    }
    Ok(())
}

/// Tells whether a part of a field is a number, a word, a range, or either with a step; days also know `?`, `L`, `W`, `#`.
fn fits(part: &str, low: u32, high: u32, words: &[&str], is_day: bool) -> bool {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    if step.is_some_and(|step| step.parse::<u32>().is_err()) {
        return false;
    }
    let value = |text: &str| {
        let number = text.parse::<u32>().is_ok_and(|number| (low..=high).contains(&number));
        number || words.contains(&text.to_ascii_uppercase().as_str())
    };
    let special = |text: &str| {
        let bare = text.trim_end_matches(['L', 'W']);
        text == "?"
            || (bare.is_empty() && !text.is_empty())
            || (bare != text && value(bare))
            || text.split_once('#').is_some_and(|(day, nth)| value(day) && matches!(nth.parse(), Ok(1_u32..=5)))
    };
    match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => value(from) && value(to),
        None => value(range) || (is_day && special(range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("0  0 * * ? *", "6 fields"),
        ] {
            let told = check(expression).unwrap_err();
            assert!(told.contains(rule), "{expression}: {told}");
        }
    }
}
