//! Changes the scaling parameter of an app (`data-contract` 3.3) and leaves alone what it does not know.

use serde_json::{Map, Value, json};

use super::formation::{ParameterError, Scaling, Size};

/// What is to change about one process type; what is not given stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScalingChange {
    /// The fewest and the most processes.
    pub count: Option<(u32, u32)>,
    /// ECS CPU units.
    pub cpu: Option<u32>,
    /// MiB.
    pub memory: Option<u32>,
}

/// Returns the parameter after the change; `usual` is the size of a type that had no entry.
///
/// # Errors
/// Fails when the parameter is not what the contract says: it is never taken for an empty one.
pub fn change(
    current: Option<&str>,
    process: &str,
    change: ScalingChange,
    usual: Size,
) -> Result<String, ParameterError> {
    let text = current.unwrap_or("{}");
    let before = Scaling::new(usual).with(text)?.of(process);
    let mut all: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| ParameterError::Malformed(error.to_string()))?;
    let (min, max) = change.count.unwrap_or((before.min, before.max));
    let entry = all.entry(process.to_owned()).or_insert_with(|| json!({}));
    entry["cpu"] = change.cpu.unwrap_or(before.size.cpu).into();
    entry["memory"] = change.memory.unwrap_or(before.size.memory).into();
    entry["min_processes"] = min.into();
    entry["max_processes"] = max.into();
    let text = Value::Object(all).to_string();
    Scaling::new(usual).with(&text)?;
    Ok(text)
}

/// Reads how many processes are to run: `3`, or `1-4` to choose by load.
///
/// # Errors
/// Says what the text should look like.
pub fn count(text: &str) -> Result<(u32, u32), String> {
    let number =
        |text: &str| text.trim().parse::<u32>().map_err(|_| "use a number such as `2`, or a range such as `1-4`");
    let (min, max) = match text.split_once('-') {
        Some((min, max)) => (number(min)?, number(max)?),
        None => (number(text)?, number(text)?),
    };
    if min > max { Err(format!("{min} is more than {max}")) } else { Ok((min, max)) }
}

/// Reads virtual CPUs, `0.5`, as ECS units.
///
/// # Errors
/// Says what the text should look like.
pub fn cpu(text: &str) -> Result<u32, String> {
    let value: f64 = text.parse().map_err(|_| "use virtual CPUs, such as `0.5` or `2`")?;
    let units = (value * 1024.0).round_ties_even();
    if !(128.0..=16384.0).contains(&units) {
        return Err("use 0.125 to 16 virtual CPUs".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
    Ok(units as u32)
}

/// Reads memory, `512M` or `2G`, as MiB.
///
/// # Errors
/// Says what the text should look like.
pub fn memory(text: &str) -> Result<u32, String> {
    let rule = "use whole megabytes or gigabytes, such as `512M` or `2G`";
    let upper = text.to_ascii_uppercase();
    let digits = upper.trim_end_matches('B').trim_end_matches(['M', 'G']);
    let number: u32 = digits.parse().map_err(|_| rule)?;
    match upper.get(digits.len()..) {
        Some("M" | "MB") => Ok(number),
        Some("G" | "GB") => number.checked_mul(1024).ok_or_else(|| rule.to_owned()),
        _ => Err(rule.to_owned()),
    }
}

/// Says why Fargate runs no task of this size, or nothing when it does (`data-contract` 5.5).
pub fn refused_by_fargate(size: Size) -> Option<String> {
    let (low, high, step) = match size.cpu {
        256 if [512, 1024, 2048].contains(&size.memory) => return None,
        256 => return Some("0.25 virtual CPUs go with 512M, 1G or 2G".to_owned()),
        512 => (1, 4, 1),
        1024 => (2, 8, 1),
        2048 => (4, 16, 1),
        4096 => (8, 30, 1),
        8192 => (16, 60, 4),
        16384 => (32, 120, 8),
        _ => return Some("Fargate has 0.25, 0.5, 1, 2, 4, 8 or 16 virtual CPUs".to_owned()),
    };
    let fits = size.memory.is_multiple_of(1024)
        && (low..=high).contains(&(size.memory / 1024))
        && (size.memory / 1024 - low).is_multiple_of(step);
    (!fits).then(|| {
        let cpu = f64::from(size.cpu) / 1024.0;
        let steps = if step == 1 { String::new() } else { format!(" in steps of {step}G") };
        format!("{cpu} virtual CPUs go with {low}G to {high}G{steps}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_is_not_about() {
        let current = r#"{"web":{"cpu":512,"memory":1024,"min_processes":2,"max_processes":4,"more":1},"x":{"cpu":1,"memory":1,"min_processes":0,"max_processes":0}}"#;
        let wanted = ScalingChange { count: Some((3, 3)), ..ScalingChange::default() };
        let changed: Value =
            serde_json::from_str(&change(Some(current), "web", wanted, Size::default()).unwrap()).unwrap();
        let web = json!({"cpu":512,"memory":1024,"min_processes":3,"max_processes":3,"more":1});
        assert_eq!((&changed["web"], &changed["x"]["cpu"]), (&web, &json!(1)));
    }

    #[test]
    fn a_type_without_an_entry_begins_with_the_usual_size() {
        let wanted = ScalingChange { memory: Some(2048), ..ScalingChange::default() };
        let changed = change(None, "worker", wanted, Size { cpu: 256, memory: 512 }).unwrap();
        assert_eq!(changed, r#"{"worker":{"cpu":256,"max_processes":1,"memory":2048,"min_processes":1}}"#);
    }

    #[test]
    fn a_parameter_that_cannot_be_read_is_never_overwritten() {
        for damaged in ["", "[]", "{\"web\":{}}"] {
            assert!(change(Some(damaged), "web", ScalingChange::default(), Size::default()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn counts_and_sizes_are_read_as_users_write_them() {
        assert_eq!((count("2"), count("1-4")), (Ok((2, 2)), Ok((1, 4))));
        assert_eq!((cpu("0.5"), cpu("1")), (Ok(512), Ok(1024)));
        assert_eq!((memory("512M"), memory("2gb"), memory("1G")), (Ok(512), Ok(2048), Ok(1024)));
        for wrong in [
            count("4-1").is_err(),
            count("many").is_err(),
            cpu("x").is_err(),
            memory("512").is_err(),
            memory("1.5G").is_err(),
        ] {
            assert!(wrong);
        }
    }

    #[test]
    fn fargate_knows_few_sizes() {
        for (cpu, memory, fits) in [
            (256, 2048, true),
            (256, 4096, false),
            (512, 1024, true),
            (1024, 1024, false),
            (8192, 20480, true),
            (8192, 18432, false),
            (300, 512, false),
        ] {
            assert_eq!(refused_by_fargate(Size { cpu, memory }).is_none(), fits, "{cpu} {memory}");
        }
    }
}
