//! Subscriptions over WebSockets, in the protocol graphql-transport-ws. Who asks is told in the payload of
//! `connection_init`, `{"authorization": "Bearer <token>"}`, or by the header of the same name.

use std::{collections::VecDeque, future::ready, time::Duration};

use async_graphql::{
    Data, Subscription as GraphqlSubscription,
    http::{WebSocket as Protocol, WebSocketProtocols, WsMessage},
};
use axum::{
    extract::{
        RawQuery, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt as _, Stream, StreamExt as _, stream};
use harmony_incidents::{ServiceId, StreamId};
use uuid::Uuid;

use super::{
    Asker, BODY_LIMIT_BYTES,
    http::{Gateway, org},
    problem,
    schema::AuditEvent,
};
use crate::{App, auth::Caller, catalog, error::ApiError};

/// How often the log is asked for what is new.
const ROUND: Duration = Duration::from_millis(400);
/// Records of one read.
const PAGE: u32 = 200;
/// A subscriber is asked to come back, and with that to show again that they may.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What can be followed.
pub(super) struct Subscription;

#[GraphqlSubscription]
impl Subscription {
    /// What happens to a service from now on.
    async fn audit_events(
        &self,
        context: &async_graphql::Context<'_>,
        service_id: String,
    ) -> async_graphql::Result<impl Stream<Item = AuditEvent>> {
        let asker = context.data::<Asker>()?.clone();
        let call = asker.call("auditEvents", &serde_json::Value::Null);
        catalog::may_read(&call).map_err(|error| problem(&error))?;
        let service: ServiceId =
            service_id.parse().map_err(|error| problem(&ApiError::Invalid(format!("serviceId: {error}"))))?;
        let state = catalog::service(&call, &service).await.map_err(|error| problem(&error))?;
        let stream: StreamId = service.into();
        Ok(followed(asker, stream, state.seq))
    }
}

/// Records of a stream after one of them, as they are made. The seq is what is followed: a record may have occurred
/// before another that was written earlier.
fn followed(asker: Asker, stream: StreamId, seq: u64) -> impl Stream<Item = AuditEvent> {
    let begun = tokio::time::Instant::now();
    let state = (asker, stream, seq, VecDeque::new());
    stream::unfold(state, move |(asker, stream, mut after, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.pop_front() {
                return Some((event, (asker, stream, after, waiting)));
            }
            if begun.elapsed() > LIFETIME {
                return None;
            }
            match asker.app.doors.log.records(&asker.caller.org, &stream, after, PAGE).await {
                Ok(entries) => {
                    for entry in &entries {
                        after = entry.record.seq;
                        let event = harmony_catalog::audit::event(&entry.record);
                        waiting.extend(event.map(AuditEvent::from));
                    }
                }
                Err(error) => tracing::warn!(%error, "a subscription waits for the store"),
            }
            if waiting.is_empty() {
                tokio::time::sleep(ROUND).await;
            }
        }
    })
}

/// `GET /graphql/ws`
pub(super) async fn socket(
    State(gateway): State<Gateway>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let speaks = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == "graphql-transport-ws");
    if !speaks {
        let why = "this socket speaks graphql-transport-ws";
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    let org = org(query.as_deref());
    let header = headers.get(header::AUTHORIZATION).cloned();
    upgrade
        .protocols(["graphql-transport-ws"])
        .max_message_size(BODY_LIMIT_BYTES)
        .on_upgrade(move |socket| serve(gateway, org, header, socket))
}

async fn serve(gateway: Gateway, org: String, header: Option<HeaderValue>, socket: WebSocket) {
    let (mut out, incoming) = socket.split();
    let incoming = incoming.take_while(|message| ready(message.is_ok())).filter_map(|message| {
        ready(match message {
            Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
            _ => None,
        })
    });
    let app = gateway.app.clone();
    let protocol = Protocol::new(gateway.schema, incoming, WebSocketProtocols::GraphQLWS)
        .on_connection_init(move |payload| async move {
            let asker = asker(&app, &org, header, &payload).await.map_err(|error| problem(&error))?;
            let mut data = Data::default();
            data.insert(asker);
            Ok(data)
        })
        .keepalive_timeout(Some(Duration::from_secs(60)));
    let mut protocol = std::pin::pin!(protocol);
    while let Some(message) = protocol.next().await {
        let message = match message {
            WsMessage::Text(text) => Message::Text(text.into()),
            WsMessage::Close(code, reason) => {
                Message::Close(Some(CloseFrame { code, reason: reason.into() }))
            }
        };
        if out.send(message).await.is_err() {
            return;
        }
    }
    // Whoever is gone by now need not be told.
    drop(out.close().await);
}

async fn asker(
    app: &App,
    org: &str,
    header: Option<HeaderValue>,
    payload: &serde_json::Value,
) -> Result<Asker, ApiError> {
    let named = payload["authorization"].as_str().or_else(|| payload["Authorization"].as_str());
    let value = match named {
        Some(text) => {
            Some(HeaderValue::from_str(text).map_err(|_| ApiError::Unauthorized("there is no token"))?)
        }
        None => header,
    };
    let mut headers = HeaderMap::new();
    if let Some(value) = value {
        headers.insert(header::AUTHORIZATION, value);
    }
    let caller = Caller::authenticate(app, &headers, org).await?;
    app.limits.count(&caller.principal.id)?;
    Ok(Asker::new(app.clone(), caller, &Uuid::now_v7().to_string()))
}
