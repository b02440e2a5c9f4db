//! How long a gRPC request may take: its `grpc-timeout` header.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// How long before its deadline a request is answered at most.
const MAX_MARGIN: Duration = Duration::from_millis(50);

/// The timeout of the request, less a tenth (at most 50 ms) for the way back: a client that times out by
/// itself does not learn the outcome of its write. `None` if the header is missing or malformed.
pub(super) fn of(metadata: &MetadataMap) -> Option<Duration> {
    let timeout = parse(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Some(timeout.saturating_sub((timeout / 10).min(MAX_MARGIN)))
}

/// At most eight digits and a unit, as the gRPC protocol specifies.
fn parse(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_protocol_is_understood_and_nothing_else() {
        for (header, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("5S", Some(Duration::from_secs(5))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("999999999S", None),
            ("5é", None),
        ] {
            assert_eq!(parse(header), expected, "{header:?}");
        }
    }

    #[test]
    fn an_answer_leaves_before_the_client_gives_up() {
        let mut metadata = MetadataMap::new();
        assert_eq!(of(&metadata), None);
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        assert_eq!(of(&metadata), Some(Duration::from_millis(90)));
        metadata.insert("grpc-timeout", "5S".parse().unwrap());
        assert_eq!(of(&metadata), Some(Duration::from_millis(4950)));
    }
}
