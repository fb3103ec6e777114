//! Bearer tokens of an OpenID Connect issuer: its keys by discovery, and what a token says about whoever sends it.
//!
//! A token is believed when one of the issuer's present keys signed it with an asymmetric algorithm that fits the key,
//! for one of our audiences, and it is valid now. Its claims give an id and roles; a role that we do not know gives
//! nothing. Keys are kept for an hour; a key that is not among them makes us look again, at most [`LOOKS`] times a
//! minute, so that nobody can make us hammer the issuer. While the issuer is away its last keys hold for a day.
//!
//! The browser's sign-in (`oidc/code.rs`) needs the same discovery and the same checks.

mod code;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use harmony_capabilities::address::{self, Address, AddressError};
use harmony_incidents::{OrgId, Principal, Role};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::auth::claimed;

/// What may be signed with, and how keys call it. Never `none`, and nothing symmetric: whoever knows a public key could
/// sign with it.
const ALGORITHMS: [(Algorithm, KeyAlgorithm); 9] = [
    (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
    (Algorithm::ES256, KeyAlgorithm::ES256),
    (Algorithm::ES384, KeyAlgorithm::ES384),
    (Algorithm::PS256, KeyAlgorithm::PS256),
    (Algorithm::PS384, KeyAlgorithm::PS384),
    (Algorithm::PS512, KeyAlgorithm::PS512),
    (Algorithm::RS256, KeyAlgorithm::RS256),
    (Algorithm::RS384, KeyAlgorithm::RS384),
    (Algorithm::RS512, KeyAlgorithm::RS512),
];
/// How far the issuer's clock may be from ours.
const LEEWAY_S: u64 = 30;
/// How long keys are used without looking again. Issuers announce new keys days before they sign with them.
const FRESH: Duration = Duration::from_secs(3_600);
/// How long keys are used while the issuer does not answer.
const STALE: Duration = Duration::from_secs(24 * 3_600);
/// How often the keys are fetched in [`LOOKS_WINDOW`] at most.
pub const LOOKS: usize = 5;
const LOOKS_WINDOW: Duration = Duration::from_secs(60);
/// Longest token; those with hundreds of groups have some 10 KB.
const TOKEN_BYTES: usize = 16 * 1024;
/// Longest document of an issuer; Microsoft's key set has some 20 KB.
const DOCUMENT_BYTES: usize = 256 * 1024;
/// More keys than an issuer ever has at once.
const KEYS: usize = 64;
/// Somebody waits for the answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest id of a principal, as in the directory.
const ID_CHARS: usize = 128;

pub use code::BrowserSettings;
pub(crate) use code::Proofs;

/// Whose tokens are taken, and what their claims mean.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The issuer, exactly as its tokens name it.
    pub issuer: String,
    /// What a token sent to the API must be for: one of these.
    pub audiences: Vec<String>,
    /// The claim that holds the principal's id.
    pub principal_claim: String,
    /// The claim that holds the roles, a list or words: `role`, or `organisation:role`. Dots lead inwards.
    pub roles_claim: String,
    /// The organisation of roles that name none.
    pub org: OrgId,
    /// How people sign in by browser; none where they do not.
    pub browser: Option<BrowserSettings>,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// There is something wrong with it.
    #[error("{0}")]
    Refused(&'static str),
    /// It cannot be checked: the issuer does not answer as it should.
    #[error("the issuer cannot be asked: {0}")]
    Unavailable(String),
}

/// What an issuer says about itself.
#[derive(Debug, Clone, Deserialize)]
struct Provider {
    /// Who it says that it is.
    issuer: String,
    /// Where a browser signs in.
    #[serde(default)]
    authorization_endpoint: String,
    /// Where a code becomes tokens.
    #[serde(default)]
    token_endpoint: String,
    /// Where the keys are.
    jwks_uri: String,
    /// How clients show there who they are; none said is `client_secret_basic`.
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Whether it always says who it is when it sends a browser back.
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    sends_iss: bool,
}

impl Provider {
    fn takes_basic(&self) -> bool {
        let methods = &self.token_endpoint_auth_methods_supported;
        methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic")
    }
}

/// An issuer whose tokens are taken.
pub struct Oidc {
    settings: OidcSettings,
    issuer: Address,
    http: reqwest::Client,
    /// Held while the keys are fetched: whoever comes meanwhile waits for the same answer.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    provider: Option<Arc<Provider>>,
    keys: Vec<Jwk>,
    /// When the keys came; none before.
    fetched: Option<Instant>,
    /// When they were asked for, within the window.
    looks: VecDeque<Instant>,
}

impl Oidc {
    /// Checks the settings; asks nobody yet.
    pub fn new(settings: OidcSettings) -> Result<Self, AddressError> {
        let issuer = Address::parse(&settings.issuer)?;
        let http = address::client(&issuer)?;
        Ok(Self { settings, issuer, http, known: Mutex::default() })
    }

    /// Whose tokens these are.
    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// The principal that a bearer token speaks for, with the roles that its claims give.
    pub async fn principal(&self, token: &str) -> Result<Principal, OidcError> {
        if self.settings.audiences.is_empty() {
            return Err(OidcError::Refused(
                "tokens of the issuer are not taken here: people sign in by browser",
            ));
        }
        let claims = self.claims(token, &self.settings.audiences).await?;
        principal(&self.settings, &claims)
    }

    /// The claims of a token that is valid now for one of these audiences.
    async fn claims(&self, token: &str, audiences: &[String]) -> Result<Map<String, Value>, OidcError> {
        if token.len() > TOKEN_BYTES {
            return Err(OidcError::Refused("the token is too long"));
        }
        let header: jsonwebtoken::Header = jsonwebtoken::decode_header(token)
            .map_err(|_| OidcError::Refused("the token is no JWT with an algorithm that is taken here"))?;
        if !ALGORITHMS.iter().any(|(known, _)| *known == header.alg) {
            return Err(OidcError::Refused("the token's algorithm is not taken here"));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        let key = DecodingKey::from_jwk(&key)
            .map_err(|_| OidcError::Refused("the issuer's key for this token cannot be used"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(audiences);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
            .map(|token| token.claims)
            .map_err(|error| OidcError::Refused(refusal(error.kind())))
    }

    /// What the issuer says about itself.
    async fn provider(&self) -> Result<Arc<Provider>, OidcError> {
        let mut known = self.known.lock().await;
        self.discover(&mut known).await
    }

    /// The issuer's key of this id that signs with this algorithm.
    async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Jwk, OidcError> {
        let mut known = self.known.lock().await;
        let age = known.fetched.map(|at| at.elapsed());
        let fresh = age.is_some_and(|age| age < FRESH);
        if fresh && let Some(key) = known.find(kid, algorithm) {
            return Ok(key);
        }
        let fetched = if known.may_look(Instant::now()) {
            self.fetch(&mut known).await
        } else if fresh {
            Ok(())
        } else {
            Err(OidcError::Unavailable("they were asked for too often just now".to_owned()))
        };
        if let Err(error) = &fetched {
            tracing::warn!(%error, "an issuer's keys were not renewed");
        }
        let usable = known.fetched.is_some_and(|at| at.elapsed() < STALE);
        match known.find(kid, algorithm).filter(|_| usable) {
            Some(key) => Ok(key),
            None => {
                fetched?;
                Err(OidcError::Refused("the token is signed with a key that is not the issuer's"))
            }
        }
    }

    async fn fetch(&self, known: &mut Known) -> Result<(), OidcError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let provider = self.discover(known).await?;
        let address = address::check(&provider.jwks_uri)
            .map_err(|error| OidcError::Unavailable(format!("jwks_uri: {error}")))?;
        let set: KeySet = self.document(address).await?;
        // A key of a kind that we do not know is none of ours to use; the others still are.
        known.keys =
            set.keys.into_iter().take(KEYS).filter_map(|key| serde_json::from_value(key).ok()).collect();
        known.fetched = Some(Instant::now());
        Ok(())
    }

    async fn discover(&self, known: &mut Known) -> Result<Arc<Provider>, OidcError> {
        if let Some(provider) = &known.provider {
            return Ok(provider.clone());
        }
        let address = self.issuer.resource(&[".well-known", "openid-configuration"]);
        let provider: Provider = self.document(address).await?;
        if provider.issuer != self.settings.issuer {
            return Err(OidcError::Unavailable("it says that it is another issuer".to_owned()));
        }
        let provider = Arc::new(provider);
        known.provider = Some(provider.clone());
        Ok(provider)
    }

    async fn document<T: DeserializeOwned>(&self, address: url::Url) -> Result<T, OidcError> {
        let unavailable = |problem: &str| OidcError::Unavailable(problem.to_owned());
        let request = self.http.get(address).timeout(FETCH_TIMEOUT).send();
        let response = request.await.map_err(|_| unavailable("it does not answer"))?;
        if !response.status().is_success() {
            return Err(unavailable(&format!("it answers {}", response.status().as_u16())));
        }
        read(response).await
    }
}

/// An answer of the issuer, if it is as short and as it was agreed.
async fn read<T: DeserializeOwned>(mut response: reqwest::Response) -> Result<T, OidcError> {
    let unavailable = |problem: &str| OidcError::Unavailable(problem.to_owned());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| unavailable("its answer broke off"))? {
        body.extend_from_slice(&chunk);
        if body.len() > DOCUMENT_BYTES {
            return Err(unavailable("its answer is too long"));
        }
    }
    serde_json::from_slice(&body).map_err(|_| unavailable("its answer is not what was agreed"))
}

impl Known {
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Jwk> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| (kid.is_none() || key.common.key_id.as_deref() == kid) && fits(key, algorithm));
        let found = fitting.next()?;
        // A token that names no key is believed only where there is no choice.
        if kid.is_none() && fitting.next().is_some() { None } else { Some(found.clone()) }
    }

    /// Whether the keys may be asked for once more; counts it.
    fn may_look(&mut self, now: Instant) -> bool {
        while self.looks.front().is_some_and(|at| now.duration_since(*at) > LOOKS_WINDOW) {
            self.looks.pop_front();
        }
        let may = self.looks.len() < LOOKS;
        if may {
            self.looks.push_back(now);
        }
        may
    }
}

/// Whether a key signs, and with this algorithm.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let own = common.key_algorithm.as_ref();
    let named =
        own.is_none_or(|own| ALGORITHMS.iter().any(|(known, name)| *known == algorithm && name == own));
    signs
        && named
        && DecodingKey::from_jwk(key).is_ok_and(|key| key.family().algorithms().contains(&algorithm))
}

fn refusal(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::ExpiredSignature => "the token is not valid any more",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for somebody else",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks one of exp, iss and aud",
        _ => "the token's signature does not hold",
    }
}

/// Who claims speak of.
fn principal(settings: &OidcSettings, claims: &Map<String, Value>) -> Result<Principal, OidcError> {
    let id = claim(claims, &settings.principal_claim).and_then(Value::as_str).unwrap_or_default();
    if id.is_empty() || id.chars().count() > ID_CHARS || id.chars().any(char::is_control) {
        return Err(OidcError::Refused("the token's claims name nobody"));
    }
    // Anybody can write any address into their profile.
    if settings.principal_claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(OidcError::Refused("the token's address is not verified"));
    }
    let mut roles: BTreeMap<OrgId, Vec<Role>> = BTreeMap::new();
    for word in words(claim(claims, &settings.roles_claim)) {
        let (org, role) = match word.split_once(':') {
            Some((org, role)) => (org.parse().ok(), role),
            None => (Some(settings.org.clone()), word),
        };
        let role = serde_json::from_value::<Role>(Value::String(role.to_owned())).ok();
        if let (Some(org), Some(role)) = (org, role) {
            let of_org = roles.entry(org).or_default();
            if !of_org.contains(&role) {
                of_org.push(role);
            }
        }
    }
    Ok(claimed(id.to_owned(), roles))
}

/// A claim by its name, or by the way to it.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn words(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.split_whitespace().collect(),
        _ => Vec::new(),
    }
}
