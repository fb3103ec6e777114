//! What others are told of candidates, carried out of the outbox: first one item a sink, then each until its sink has
//! taken it, so that one that is down makes nobody else hear twice.

use std::sync::Arc;

use harmony_eventlog::{
    OutboxItem, Pending, SharedLog,
    fanout::{CloudEvent, Sink},
};
use harmony_incidents::follow_up::{Event, EventSink, FollowUp};

use super::{Carried, Undone};

/// See the module.
pub struct CandidateEvents {
    log: SharedLog,
    sinks: Vec<Arc<dyn Sink>>,
}

impl CandidateEvents {
    /// For these sinks; where there is none, nobody is told.
    pub fn new(log: SharedLog, sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self { log, sinks }
    }

    pub(crate) async fn carry(&self, pending: &Pending, Event { event, to }: &Event) -> Carried {
        let name = &pending.item.name;
        let Some(EventSink { sink, name }) = to else {
            for sink in &self.sinks {
                let to = EventSink { sink: sink.name().to_string(), name: name.clone() };
                let told = Event { event: event.clone(), to: Some(to) };
                let name = format!("{}/{name}", sink.name());
                let item = OutboxItem::new(name, &FollowUp::Event(Box::new(told)));
                self.log.enqueue(&pending.org, None, &item).await?;
            }
            return Ok(());
        };
        send(&self.sinks, sink, &CloudEvent::of_candidate(&pending.org, name, event)).await
    }
}

/// Sends one event to the sink of this name.
pub(super) async fn send(sinks: &[Arc<dyn Sink>], name: &str, event: &CloudEvent) -> Carried {
    let Some(sink) = sinks.iter().find(|one| one.name().as_str() == name) else {
        return Err(Undone::GivenUp(format!("the sink {name} is not configured any more")));
    };
    match sink.send(std::slice::from_ref(event)).await.pop() {
        Some(outcome) => outcome.map_err(|error| Undone::Failed(error.into())),
        None => Err(Undone::failed("the sink did not say what became of it")),
    }
}
