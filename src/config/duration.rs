//! Durations as people write them: `100ms`, `5s`, `1m 30s`.

use std::ops::RangeInclusive;
use std::time::Duration;

use humantime::format_duration;

/// Reads a duration in whole milliseconds.
///
/// # Errors
/// If the text is not one within `range`: says what to write.
pub fn parse_duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let fits =
        |duration: &Duration| range.contains(duration) && duration.subsec_nanos().is_multiple_of(1_000_000);
    humantime::parse_duration(text).ok().filter(fits).ok_or_else(|| {
        let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
        format!("{text:?} is not a duration from {least} to {most} in whole milliseconds: write 100ms or 5s")
    })
}
