//! Subscriptions as a store keeps them: one document a row, under the id of what is followed and who is told.
//!
//! They are no records: an address that somebody takes back is gone. At most
//! [`MOST_SUBSCRIPTIONS`](harmony_incidents::stakeholders::MOST_SUBSCRIPTIONS) an organisation, so that reading all of
//! them is one short query.

use harmony_incidents::stakeholders::{DeliveryProblem, Subscription};

use crate::store::LogError;

/// What became of a subscription that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribed {
    /// It is kept.
    Stored(Subscription),
    /// There is one for the same pair: this one, as it is kept.
    Known(Subscription),
    /// The organisation has as many as it can have.
    Full,
}

pub(crate) fn read(document: &str, id: &str) -> Result<Subscription, LogError> {
    serde_json::from_str(document).map_err(|_| LogError::Corrupt { place: format!("subscription {id}") })
}

pub(crate) fn json(subscription: &Subscription) -> String {
    // Serialising our own types cannot fail: keys are strings.
    serde_json::to_string(subscription).unwrap_or_default()
}

/// The subscription with this problem, if it is still the one that was delivered to and that changes anything.
pub(crate) fn marked(
    stored: Subscription,
    delivered: &Subscription,
    problem: Option<&DeliveryProblem>,
) -> Option<Subscription> {
    let changes = stored.at == delivered.at && stored.problem.as_ref() != problem;
    changes.then(|| Subscription { problem: problem.cloned(), ..stored })
}
