//! What the records of a stream fold to, whosever stream it is.

use harmony_catalog::fold as catalog;
use harmony_incidents::{
    StreamId, Subject,
    log::{EnvironmentState, IncidentState, Record, ServiceState, Text},
    record::{self, Folded},
};
use harmony_protos::{service_texts, state_texts};
use prost::Message;

use crate::entry::Described;

/// Where a chain of any kind ends.
pub(crate) type ChainHead = record::ChainHead<StreamState>;

/// The folded state of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamState {
    /// Of an incident.
    Incident(Box<IncidentState>),
    /// Of a service, with its releases and runs.
    Service(Box<ServiceState>),
    /// Of an environment.
    Environment(Box<EnvironmentState>),
}

impl StreamState {
    /// Before the first record.
    pub(crate) fn before(stream: &StreamId) -> Self {
        match stream.subject() {
            Subject::Incident(_) => Self::Incident(Box::default()),
            Subject::Service(_) => Self::Service(Box::default()),
            Subject::Environment(_) => Self::Environment(Box::default()),
        }
    }

    /// Reads [`encoded`](Folded::encoded) back; `None` where it is no state of this stream's kind.
    pub(crate) fn decode(stream: &StreamId, encoded: &[u8]) -> Option<Self> {
        Some(match stream.subject() {
            Subject::Incident(_) => Self::Incident(Box::new(IncidentState::decode(encoded).ok()?)),
            Subject::Service(_) => Self::Service(Box::new(ServiceState::decode(encoded).ok()?)),
            Subject::Environment(_) => Self::Environment(Box::new(EnvironmentState::decode(encoded).ok()?)),
        })
    }

    /// The id of the incident, the service or the environment.
    pub fn subject_id(&self) -> &str {
        match self {
            Self::Incident(state) => &state.incident,
            Self::Service(state) => &state.id,
            Self::Environment(state) => &state.id,
        }
    }

    /// The incident's, where it is one's.
    pub fn incident(self) -> Option<IncidentState> {
        match self {
            Self::Incident(state) => Some(*state),
            Self::Service(_) | Self::Environment(_) => None,
        }
    }

    /// The service's, where it is one's.
    pub fn service(self) -> Option<ServiceState> {
        match self {
            Self::Service(state) => Some(*state),
            Self::Incident(_) | Self::Environment(_) => None,
        }
    }

    /// The environment's, where it is one's.
    pub fn environment(self) -> Option<EnvironmentState> {
        match self {
            Self::Environment(state) => Some(*state),
            Self::Incident(_) | Self::Service(_) => None,
        }
    }
}

impl Folded for StreamState {
    fn seq(&self) -> u64 {
        match self {
            Self::Incident(state) => state.seq,
            Self::Service(state) => state.seq,
            Self::Environment(state) => state.seq,
        }
    }

    fn fold(self, record: &Record) -> Self {
        match self {
            Self::Incident(state) => Self::Incident(Box::new((*state).fold(record))),
            Self::Service(state) => Self::Service(Box::new(catalog::service(*state, record))),
            Self::Environment(state) => Self::Environment(Box::new(catalog::environment(*state, record))),
        }
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        match self {
            Self::Incident(state) => state_texts(state),
            Self::Service(state) => service_texts(state),
            Self::Environment(_) => Vec::new(),
        }
    }

    fn encoded(&self) -> Vec<u8> {
        match self {
            Self::Incident(state) => state.encode_to_vec(),
            Self::Service(state) => state.encode_to_vec(),
            Self::Environment(state) => state.encode_to_vec(),
        }
    }
}

/// Before the first record of a stream.
pub(crate) fn genesis(stream: &StreamId) -> ChainHead {
    ChainHead::before(StreamState::before(stream))
}

impl Described for StreamState {
    fn stream(&self) -> String {
        match self {
            Self::Incident(state) => state.incident.clone(),
            Self::Service(state) => format!("svc/{}", state.id),
            Self::Environment(state) => format!("env/{}", state.id),
        }
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        Folded::texts(self)
    }
}
