//! Where a page of a list ended, as the request for the next page says it. Clients send back what they got and read
//! nothing into it; what the API describes of a cursor is all that is taken as one.

use harmony_eventlog::{Place, catalog::AuditPlace};
use harmony_incidents::{IncidentId, ReleaseId, StreamId, promotion::CandidateId, words};
use jiff::Timestamp;

use crate::{
    error::ApiError,
    members::{catalog_id, incident_id},
};

/// A list of incidents ended after this severity and incident.
pub(crate) const OF_INCIDENTS: &str =
    concat!(r#"{ "type": "string", "pattern": "^P[1-4]\\."#, incident_id!(), r#"$" }"#);
/// A list of candidates ended after this time and candidate.
pub(crate) const OF_CANDIDATES: &str =
    r#"{ "type": "string", "pattern": "^-?[0-9]{1,17}\\.[A-Za-z0-9._-]{1,128}$" }"#;
/// A list of services or environments ended after this id.
pub(crate) const OF_IDS: &str = concat!(r#"{ "type": "string", "pattern": "^"#, catalog_id!(), r#"$" }"#);
/// A list of releases ended after this time and release.
pub(crate) const OF_RELEASES: &str =
    concat!(r#"{ "type": "string", "pattern": "^-?[0-9]{1,17}\\."#, catalog_id!(), r#"$" }"#);
/// The audit ended after this time, record and stream.
pub(crate) const OF_AUDIT: &str = concat!(
    r#"{ "type": "string", "pattern": "^-?[0-9]{1,17}\\.[0-9]{1,18}\\.("#,
    incident_id!(),
    "|(svc|env)/",
    catalog_id!(),
    r#")$" }"#
);

/// Digits of a time in microseconds since 1970: no list holds what is after the year 5138.
const TIME_DIGITS: usize = 17;
/// Digits of a record's number.
const SEQ_DIGITS: usize = 18;

pub(crate) fn of_incident(place: &Place) -> String {
    format!("{}.{}", place.severity, place.incident)
}

pub(crate) fn incident(cursor: &str) -> Result<Place, ApiError> {
    let place = cursor.split_once('.').and_then(|(word, incident)| {
        let severity = words::severity(word).ok()?.as_str_name();
        let incident: IncidentId = incident.parse().ok()?;
        (word == severity).then(|| Place { severity: severity.to_owned(), incident })
    });
    place.ok_or_else(unknown)
}

pub(crate) fn of_time(at_us: i64, id: impl std::fmt::Display) -> String {
    format!("{at_us}.{id}")
}

pub(crate) fn candidate(cursor: &str) -> Result<(Timestamp, CandidateId), ApiError> {
    let place = cursor.split_once('.').and_then(|(at, id)| Some((time(at)?, id.parse().ok()?)));
    place.ok_or_else(unknown)
}

pub(crate) fn release(cursor: &str) -> Result<(Timestamp, ReleaseId), ApiError> {
    let place = cursor.split_once('.').and_then(|(at, id)| Some((time(at)?, id.parse().ok()?)));
    place.ok_or_else(unknown)
}

/// The id of the last service or environment of a page.
pub(crate) fn id<T: std::str::FromStr>(cursor: &str) -> Result<T, ApiError> {
    cursor.parse().map_err(|_| unknown())
}

pub(crate) fn of_audit(AuditPlace { ts_us, stream, seq }: &AuditPlace) -> String {
    format!("{ts_us}.{seq}.{stream}")
}

pub(crate) fn audit(cursor: &str) -> Result<AuditPlace, ApiError> {
    let place = cursor.split_once('.').and_then(|(at, rest)| {
        let (seq, stream) = rest.split_once('.')?;
        let stream: StreamId = stream.parse().ok()?;
        let ts_us = time(at)?.as_microsecond();
        Some(AuditPlace { ts_us, stream: stream.to_string(), seq: number(seq, SEQ_DIGITS)?.try_into().ok()? })
    });
    place.ok_or_else(unknown)
}

fn time(text: &str) -> Option<Timestamp> {
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    Timestamp::from_microsecond(sign * number(digits, TIME_DIGITS)?).ok()
}

/// Digits alone: a sign would be another spelling of the same number.
fn number(text: &str, most_digits: usize) -> Option<i64> {
    let fits = (1..=most_digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

fn unknown() -> ApiError {
    ApiError::Invalid("cursor: send the nextCursor of an earlier answer as it was".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(described: &str, cursor: &str) -> bool {
        let schema = serde_json::from_str(described).unwrap();
        jsonschema::validator_for(&schema).unwrap().is_valid(&cursor.into())
    }

    #[test]
    fn every_cursor_is_described_as_what_is_taken() {
        for (cursor, incidents, candidates, releases, audit_trail) in [
            ("P2.INC-2026-0042", true, false, false, false),
            ("p2.INC-2026-0042", false, false, false, false),
            ("high.INC-2026-0042", false, false, false, false),
            ("P2.INC-2026-42", false, false, false, false),
            ("1796056083000000.am-1", false, true, true, false),
            ("-1.am-1", false, true, true, false),
            ("99999999999999999.a.b", false, true, true, false),
            ("100000000000000000.a", false, false, false, false),
            ("+1.a", false, false, false, false),
            ("1._a", false, true, false, false),
            ("1.2.svc/shop", false, false, false, true),
            ("1.2.INC-2026-0042", false, true, true, true),
            ("1.2.shop", false, true, true, false),
            ("1.2.org/shop", false, false, false, false),
            ("UDIgSU5DLTIwMjYtMDA0Mg", false, false, false, false),
            ("", false, false, false, false),
        ] {
            for (described, expected, is_taken) in [
                (OF_INCIDENTS, incidents, incident(cursor).is_ok()),
                (OF_CANDIDATES, candidates, candidate(cursor).is_ok()),
                (OF_RELEASES, releases, release(cursor).is_ok()),
                (OF_AUDIT, audit_trail, audit(cursor).is_ok()),
            ] {
                assert_eq!((takes(described, cursor), is_taken), (expected, expected), "{cursor}");
            }
        }
    }

    #[test]
    fn a_place_comes_back_as_it_was() {
        let place = AuditPlace { ts_us: 1_796_056_083_000_001, stream: "env/prod.eu".to_owned(), seq: 7 };
        let again = audit(&of_audit(&place)).unwrap();
        assert_eq!((again.ts_us, again.stream, again.seq), (place.ts_us, place.stream, place.seq));
        let (at, id) = candidate(&of_time(12, "a.b-c")).unwrap();
        assert_eq!((at.as_microsecond(), id.as_str()), (12, "a.b-c"));
    }
}
