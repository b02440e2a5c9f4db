//! Durations as people write them: `5s`, `500ms`, `1m`.

use std::time::Duration;

/// Reads `500ms`, `5s`, `1.5s` or `1m`; a bare number is seconds.
///
/// # Errors
/// A sentence that says what to write.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: write 500ms, 5s or 1m");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
    // A day is longer than anybody waits for one command, and far below where timers overflow.
    let range = Duration::from_millis(1)..=Duration::from_secs(86_400);
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("{text:?} is not between 1ms and a day"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [("500ms", 500), ("5s", 5000), ("5", 5000), ("1.5s", 1500), ("1m", 60_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5 s", "-1s", "0s", "1h", "..s", "999999999m", "1e3s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(text in any::<String>()) {
            drop(parse(&text));
        }
    }
}
