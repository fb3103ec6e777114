//! Two `OpenFeature` providers for flags that are truths: flagd's file format read from a file, and a flagd asked over
//! the Connect protocol (JSON over HTTP) on its evaluation port.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use flagd_evaluation_engine::{FlagParser, Operator, model::feature_flag::ParsingResult};
use open_feature::{
    EvaluationContext, EvaluationError, EvaluationErrorCode, StructValue,
    provider::{FeatureProvider, ProviderMetadata, ResolutionDetails},
};
use serde::Deserialize;
use serde_json::json;

type Resolved<T> = Result<ResolutionDetails<T>, EvaluationError>;

fn failed(code: EvaluationErrorCode, message: impl Into<String>) -> EvaluationError {
    EvaluationError::builder().code(code).message(message).build()
}

/// A provider of truths: `resolve` answers, and to what Harmony never asks it says so.
macro_rules! provider {
    ($type:ty) => {
        #[async_trait]
        impl FeatureProvider for $type {
            fn metadata(&self) -> &ProviderMetadata {
                &self.metadata
            }

            async fn resolve_bool_value(&self, flag: &str, context: &EvaluationContext) -> Resolved<bool> {
                self.resolve(flag, context).await
            }

            async fn resolve_int_value(&self, flag: &str, _: &EvaluationContext) -> Resolved<i64> {
                Err(only_truths(flag))
            }

            async fn resolve_float_value(&self, flag: &str, _: &EvaluationContext) -> Resolved<f64> {
                Err(only_truths(flag))
            }

            async fn resolve_string_value(&self, flag: &str, _: &EvaluationContext) -> Resolved<String> {
                Err(only_truths(flag))
            }

            async fn resolve_struct_value(&self, flag: &str, _: &EvaluationContext) -> Resolved<StructValue> {
                Err(only_truths(flag))
            }
        }
    };
}

provider!(FlagFile);
provider!(Flagd);

fn only_truths(flag: &str) -> EvaluationError {
    failed(EvaluationErrorCode::TypeMismatch, format!("{flag} is read as true or false alone"))
}

/// Flags from a file, read again when it changes.
pub(super) struct FlagFile {
    path: PathBuf,
    metadata: ProviderMetadata,
    operator: Operator,
    read: Mutex<Option<(Version, Result<ParsingResult, String>)>>,
}

/// Reads a file of flags. One without a default variant, which the format allows, has an empty one here: it would make the
/// other flags of the file unreadable.
fn parse(text: &str) -> Result<ParsingResult, String> {
    let mut file: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let flags = file.get_mut("flags").and_then(serde_json::Value::as_object_mut);
    for flag in flags.into_iter().flat_map(|all| all.values_mut()).filter_map(|one| one.as_object_mut()) {
        let variant = flag.entry("defaultVariant").or_insert(serde_json::Value::Null);
        if variant.is_null() {
            *variant = json!("");
        }
    }
    FlagParser::parse_string(&file.to_string()).map_err(|error| error.to_string())
}

/// What tells one version of the file from another.
type Version = (u64, i64, i64, u64);

impl FlagFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let metadata = ProviderMetadata::new("flag file");
        Self { path, metadata, operator: Operator::new(), read: Mutex::default() }
    }

    /// A local file: reading it is no waiting.
    #[expect(clippy::unused_async, reason = "the other provider waits")]
    async fn resolve(&self, flag: &str, context: &EvaluationContext) -> Resolved<bool> {
        let general = |error: String| failed(EvaluationErrorCode::General("unreadable".to_owned()), error);
        let found = fs::metadata(&self.path).map_err(|error| general(error.to_string()))?;
        let version = (found.len(), found.mtime(), found.mtime_nsec(), found.ino());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref().is_none_or(|(known, _)| *known != version) {
            let text = fs::read_to_string(&self.path).map_err(|error| general(error.to_string()))?;
            *read = Some((version, parse(&text)));
        }
        let Some((_, parsed)) = &*read else { return Err(general("it was not read".to_owned())) };
        let parsed = parsed.as_ref().map_err(|error| general(error.clone()))?;
        let absent = || failed(EvaluationErrorCode::FlagNotFound, format!("{flag} is not defined"));
        let one = parsed.flags.get(flag).filter(|one| one.state == "ENABLED").ok_or_else(absent)?;
        let targeted = match one.targeting.as_ref().filter(|rule| **rule != json!({})) {
            None => None,
            Some(rule) => self
                .operator
                .apply(flag, &rule.to_string(), context)
                .map_err(|error| failed(EvaluationErrorCode::ParseError, error.to_string()))?,
        };
        let variant = targeted.as_ref().unwrap_or(&one.default_variant);
        if variant.is_empty() {
            return Err(absent());
        }
        let value = one.variants.get(variant).and_then(serde_json::Value::as_bool).ok_or_else(|| {
            failed(
                EvaluationErrorCode::TypeMismatch,
                format!("its variant {variant} is neither true nor false"),
            )
        })?;
        Ok(ResolutionDetails { value, variant: Some(variant.clone()), ..ResolutionDetails::default() })
    }
}

/// A flagd.
pub(super) struct Flagd {
    http: reqwest::Client,
    url: String,
    metadata: ProviderMetadata,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    value: bool,
    #[serde(default)]
    variant: String,
}

#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Flagd {
    /// `address` has a scheme and a port; `authority` is a certificate in PEM.
    pub(super) fn new(
        address: &str,
        authority: Option<&[u8]>,
        patience: Duration,
    ) -> Result<Self, reqwest::Error> {
        let mut client = harmony_capabilities::address::builder(address)
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = authority {
            client = client.add_root_certificate(reqwest::Certificate::from_pem(pem)?);
        }
        Ok(Self {
            http: client.build()?,
            url: format!("{address}/flagd.evaluation.v1.Service/ResolveBoolean"),
            metadata: ProviderMetadata::new("flagd"),
        })
    }

    async fn resolve(&self, flag: &str, _: &EvaluationContext) -> Resolved<bool> {
        let away = |error: reqwest::Error| {
            let problem =
                if error.is_timeout() { "it does not answer in time" } else { "it does not answer" };
            failed(EvaluationErrorCode::General("unavailable".to_owned()), problem)
        };
        let question = json!({ "flagKey": flag, "context": {} });
        let answer = self.http.post(&self.url).json(&question).send().await.map_err(away)?;
        if answer.status().is_success() {
            let answer: Answer = answer.json().await.map_err(away)?;
            let variant = Some(answer.variant);
            return Ok(ResolutionDetails { value: answer.value, variant, ..ResolutionDetails::default() });
        }
        let status = answer.status();
        let problem: Problem = answer.json().await.unwrap_or_default();
        let code = match problem.code.as_str() {
            "not_found" => EvaluationErrorCode::FlagNotFound,
            "invalid_argument" => EvaluationErrorCode::TypeMismatch,
            "data_loss" => EvaluationErrorCode::ParseError,
            other => EvaluationErrorCode::General(format!("{status} {other}")),
        };
        Err(failed(code, problem.message))
    }
}
