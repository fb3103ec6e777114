//! `harmony temporal setup`: the namespace and the search attributes. May be repeated.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, anyhow};
use serde_json::json;
use temporalio_client::{
    Client,
    tonic::{Code, IntoRequest},
};
use temporalio_common::protos::temporal::api::{
    enums::v1::IndexedValueType,
    namespace::v1::NamespaceConfig,
    operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
    workflowservice::v1::{DescribeNamespaceRequest, RegisterNamespaceRequest, UpdateNamespaceRequest},
};

use crate::{config::Config, output};

/// The search attributes, all of them keywords.
pub(crate) const SEARCH_ATTRIBUTES: [&str; 5] =
    ["HarmonyOrg", "HarmonyIncidentId", "HarmonySeverity", "HarmonyBlueprint", "HarmonyApproval"];
/// How long closed runs can be queried.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often to ask for a namespace that was just made: the server knows it some seconds later.
const TRIES: u32 = 30;

/// Sets Temporal up and says what it did.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<()> {
    let client = config.temporal_client().await?;
    let namespace = config.temporal_namespace.as_str();
    let made = ensure_namespace(&client, namespace).await?;
    let added = ensure_search_attributes(&client, namespace).await?;
    if json {
        output::json(
            &json!({ "namespace": namespace, "created": made, "searchAttributesAdded": added, "retentionDays": 30 }),
        );
    } else {
        let what = if made { "created" } else { "was there" };
        output::data(&format!("namespace {namespace}: {what}, keeps closed workflows for 30 days"));
        let added = if added.is_empty() {
            "all were there".to_owned()
        } else {
            format!("added {}", added.join(", "))
        };
        output::data(&format!("search attributes: {added}"));
    }
    Ok(())
}

async fn ensure_namespace(client: &Client, namespace: &str) -> anyhow::Result<bool> {
    let mut service = client.connection().workflow_service();
    let register = RegisterNamespaceRequest {
        namespace: namespace.to_owned(),
        description: "Harmony: incident response".to_owned(),
        workflow_execution_retention_period: RETENTION.try_into().ok(),
        ..Default::default()
    };
    match service.register_namespace(register.into_request()).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => {
            let update = UpdateNamespaceRequest {
                namespace: namespace.to_owned(),
                config: Some(NamespaceConfig {
                    workflow_execution_retention_ttl: RETENTION.try_into().ok(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            service
                .update_namespace(update.into_request())
                .await
                .context("the retention could not be set")?;
            Ok(false)
        }
        Err(status) => Err(status).context("the namespace could not be made"),
    }
}

async fn ensure_search_attributes(client: &Client, namespace: &str) -> anyhow::Result<Vec<&'static str>> {
    await_namespace(client, namespace).await?;
    let missing = missing_search_attributes(client, namespace).await?;
    if !missing.is_empty() {
        let attributes: HashMap<String, i32> =
            missing.iter().map(|name| ((*name).to_owned(), IndexedValueType::Keyword.into())).collect();
        let add =
            AddSearchAttributesRequest { search_attributes: attributes, namespace: namespace.to_owned() };
        let mut service = client.connection().operator_service();
        service
            .add_search_attributes(add.into_request())
            .await
            .context("the search attributes could not be added")?;
    }
    Ok(missing)
}

/// The search attributes that this namespace lacks: a workflow that sets one of them would wait for it for ever.
pub(crate) async fn missing_search_attributes(
    client: &Client,
    namespace: &str,
) -> anyhow::Result<Vec<&'static str>> {
    let list = ListSearchAttributesRequest { namespace: namespace.to_owned() };
    let known = client.connection().operator_service().list_search_attributes(list.into_request()).await;
    let known = known.context("the search attributes could not be listed")?.into_inner();
    Ok(SEARCH_ATTRIBUTES.into_iter().filter(|name| !known.custom_attributes.contains_key(*name)).collect())
}

/// Waits until the server knows the namespace.
pub(crate) async fn await_namespace(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let mut last = None;
    for _ in 0..TRIES {
        let describe = DescribeNamespaceRequest { namespace: namespace.to_owned(), ..Default::default() };
        match client.connection().workflow_service().describe_namespace(describe.into_request()).await {
            Ok(_) => return Ok(()),
            Err(status) => last = Some(status),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let reason = last.map(|status| status.message().to_owned()).unwrap_or_default();
    Err(anyhow!("namespace {namespace} is not there: {reason}"))
}
