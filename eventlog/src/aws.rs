//! How Amazon's services are reached: region, endpoint and credentials by Amazon's own standard variables and files
//! (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_PROFILE`, a pod's role, …), TLS by the provider that all of Harmony uses.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// Amazon's services answer within milliseconds; who has not connected by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One try. A local activity gives up after 10 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// All tries of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(9);
/// Tries of one call, the first included: lost answers and throttling. Conflicts are judged again by whoever calls.
const ATTEMPTS: u32 = 4;

/// What the environment says.
pub(crate) async fn config() -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .load()
        .await
}
