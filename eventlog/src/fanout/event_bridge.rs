//! An Amazon EventBridge bus.
//!
//! The whole CloudEvent is the entry's `Detail`; `DetailType` is its type, `Source` is `io.harmony`. A call takes 10
//! entries and may take some of them only: those that were not taken are offered again on their own once more
//! before the rest is left to the next try. A bus keeps no order and may deliver twice: `sequence` and `id` tell.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use aws_sdk_eventbridge::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::PutEventsRequestEntry,
};

use super::{CloudEvent, NotTaken, Sink, SinkName};
use crate::aws;

/// What every entry says it comes from.
const SOURCE: &str = "io.harmony";
/// `PutEvents` takes no more at once.
const ENTRIES: usize = 10;
/// `PutEvents` takes 256 KB at once, names and all; the rest is for those.
const CALL_BYTES: usize = 240 * 1024;
/// Tries of what a call left over.
const ROUNDS: u32 = 2;
/// Between them.
const PAUSE: Duration = Duration::from_millis(100);

/// Name or ARN of a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusName(String);

/// What is no name of a bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither the name nor the ARN of an event bus")]
pub struct BusNameError(String);

impl FromStr for BusName {
    type Err = BusNameError;
    fn from_str(text: &str) -> Result<Self, BusNameError> {
        // The API's own pattern for names and ARNs, which allows no other characters.
        let fits = (1..=1600).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte));
        fits.then(|| Self(text.to_owned())).ok_or_else(|| BusNameError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for BusName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// See the module.
#[derive(Debug)]
pub struct EventBridge {
    name: SinkName,
    client: Client,
    bus: BusName,
}

impl EventBridge {
    /// A bus in the account and region that the environment names.
    pub async fn new(name: SinkName, bus: BusName) -> Self {
        Self::over(Client::new(&aws::config().await), name, bus)
    }

    /// A bus over a client that the caller has made.
    pub fn over(client: Client, name: SinkName, bus: BusName) -> Self {
        Self { name, client, bus }
    }

    /// Offers entries at once; gives for each why it was not taken.
    async fn put(&self, entries: &[&Entry]) -> Vec<Option<NotTaken>> {
        let request = entries.iter().fold(self.client.put_events(), |request, entry| {
            request.entries(
                PutEventsRequestEntry::builder()
                    .event_bus_name(&self.bus.0)
                    .source(SOURCE)
                    .detail_type(&entry.kind)
                    .detail(&entry.detail)
                    .build(),
            )
        });
        match request.send().await {
            Err(error) => {
                let why = match error.as_service_error() {
                    Some(service) => format!(
                        "{}: {}",
                        service.code().unwrap_or("EventBridge"),
                        service.message().unwrap_or("no reason given")
                    ),
                    None => DisplayErrorContext(&error).to_string(),
                };
                entries.iter().map(|_| Some(NotTaken::because(why.clone()))).collect()
            }
            Ok(answer) => {
                let results = answer.entries();
                let told = |place: usize| match results.get(place) {
                    None => Some(NotTaken::because("the bus did not say what became of it")),
                    Some(result) => result.error_code().map(|code| {
                        NotTaken::because(format!("{code}: {}", result.error_message().unwrap_or_default()))
                    }),
                };
                (0..entries.len()).map(told).collect()
            }
        }
    }
}

/// One entry, as long as it may be.
struct Entry {
    kind: String,
    detail: String,
}

impl Entry {
    fn of(event: &CloudEvent) -> Self {
        let mut detail = event.to_json();
        if detail.len() > CALL_BYTES {
            detail = event.without_payload().to_json();
        }
        Self { kind: event.kind.clone(), detail }
    }
}

#[async_trait]
impl Sink for EventBridge {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn at_once(&self) -> usize {
        ENTRIES
    }

    async fn send(&self, events: &[CloudEvent]) -> Vec<Result<(), NotTaken>> {
        let entries: Vec<Entry> = events.iter().map(Entry::of).collect();
        let mut outcomes = Vec::with_capacity(entries.len());
        for call in calls(&entries) {
            let mut left: Vec<(usize, &Entry)> = call.iter().enumerate().collect();
            let mut refused: Vec<Option<NotTaken>> = call.iter().map(|_| None).collect();
            for round in 0..ROUNDS {
                if round > 0 {
                    tokio::time::sleep(PAUSE * round).await;
                }
                let offered: Vec<&Entry> = left.iter().map(|(_, entry)| *entry).collect();
                let told = self.put(&offered).await;
                let places: Vec<usize> = left.iter().map(|(place, _)| *place).collect();
                for (place, outcome) in places.into_iter().zip(told) {
                    refused[place] = outcome;
                }
                left.retain(|(place, _)| refused[*place].is_some());
                if left.is_empty() {
                    break;
                }
            }
            let stop = !left.is_empty();
            outcomes.extend(refused.into_iter().map(|one| one.map_or(Ok(()), Err)));
            if stop {
                break;
            }
        }
        outcomes
    }
}

/// As many at once as a call takes, by number and by size.
fn calls(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut calls = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (place, entry) in entries.iter().enumerate() {
        let full = place - begin == ENTRIES || bytes + entry.detail.len() > CALL_BYTES;
        if full && place > begin {
            calls.push(&entries[begin..place]);
            (begin, bytes) = (place, 0);
        }
        bytes += entry.detail.len();
    }
    if begin < entries.len() {
        calls.push(&entries[begin..]);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(bytes: &[usize]) -> Vec<usize> {
        let entries: Vec<Entry> =
            bytes.iter().map(|bytes| Entry { kind: String::new(), detail: "x".repeat(*bytes) }).collect();
        calls(&entries).iter().map(|call| call.len()).collect()
    }

    #[test]
    fn call_holds_ten_entries_and_its_bytes() {
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[1; 10]), [10]);
        assert_eq!(sizes(&[1; 21]), [10, 10, 1]);
        assert_eq!(sizes(&[CALL_BYTES, 1, CALL_BYTES - 1, 1]), [1, 2, 1]);
        assert_eq!(sizes(&[CALL_BYTES + 1, 1]), [1, 1], "one that is too large is offered on its own");
    }

    #[test]
    fn buses_are_named_or_refused() {
        for good in ["default", "harmony.events", "arn:aws:events:eu-west-1:123456789012:event-bus/harmony"] {
            good.parse::<BusName>().unwrap();
        }
        for bad in ["", "a b", "bus?"] {
            assert!(bad.parse::<BusName>().is_err(), "{bad:?}");
        }
    }
}
