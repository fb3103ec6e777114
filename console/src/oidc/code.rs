//! Signing in at the issuer by browser: the authorization code flow with PKCE.
//!
//! A sign-in is bound three times: `state` to the browser that began it, `nonce` to the id token, and the verifier to
//! the code. The id token is checked as every other token of the issuer, for our client id alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use harmony_capabilities::address;
use harmony_incidents::Principal;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::{FETCH_TIMEOUT, Oidc, OidcError, Provider, principal, read};

/// How the browser's sign-in is known to the issuer.
#[derive(Debug, Clone)]
pub struct BrowserSettings {
    /// Our name at the issuer.
    pub client_id: String,
    /// Absent for a public client, which has PKCE alone.
    pub client_secret: Option<SecretString>,
    /// Where the issuer sends the browser back to, exactly as it is registered there.
    pub redirect_uri: Url,
    /// What is asked for, separated by spaces; `openid` is always among it.
    pub scopes: String,
}

/// What one sign-in is bound to. None of it is ever used for another.
pub(crate) struct Proofs {
    /// Comes back with the browser.
    pub(crate) state: String,
    /// Comes back in the id token.
    pub(crate) nonce: String,
    /// Shown when the code is redeemed; 43 to 128 unreserved characters.
    pub(crate) verifier: String,
}

impl Oidc {
    /// Where a browser goes to sign in.
    pub(crate) async fn authorization(
        &self,
        browser: &BrowserSettings,
        proofs: &Proofs,
    ) -> Result<Url, OidcError> {
        let provider = self.provider().await?;
        let mut url = checked("authorization_endpoint", &provider.authorization_endpoint)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(proofs.verifier.as_bytes()));
        let others = browser.scopes.split_whitespace().filter(|scope| *scope != "openid");
        let scopes: Vec<&str> = std::iter::once("openid").chain(others).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &browser.client_id)
            .append_pair("redirect_uri", browser.redirect_uri.as_str())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &proofs.state)
            .append_pair("nonce", &proofs.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Who the code that came back speaks for, with the roles that the id token's claims give. `issuer` is the `iss`
    /// that came with it: from an issuer that always sends it, it must be there (RFC 9207).
    pub(crate) async fn redeem(
        &self,
        browser: &BrowserSettings,
        code: &str,
        issuer: Option<&str>,
        proofs: &Proofs,
    ) -> Result<Principal, OidcError> {
        let provider = self.provider().await?;
        match issuer {
            Some(issuer) if issuer != self.settings.issuer => {
                return Err(OidcError::Refused("the answer came from another issuer"));
            }
            None if provider.sends_iss => {
                return Err(OidcError::Refused("the answer does not say which issuer it came from"));
            }
            _ => {}
        }
        let token = self.id_token(browser, &provider, code, &proofs.verifier).await?;
        let claims = self.claims(&token, std::slice::from_ref(&browser.client_id)).await?;
        if claims.get("nonce").and_then(Value::as_str) != Some(proofs.nonce.as_str()) {
            return Err(OidcError::Refused("the id token belongs to another sign-in"));
        }
        if !is_for(&claims, &browser.client_id) {
            return Err(OidcError::Refused("the id token was made for another client"));
        }
        principal(&self.settings, &claims)
    }

    async fn id_token(
        &self,
        browser: &BrowserSettings,
        provider: &Provider,
        code: &str,
        verifier: &str,
    ) -> Result<String, OidcError> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let endpoint = checked("token_endpoint", &provider.token_endpoint)?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", browser.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(endpoint).timeout(FETCH_TIMEOUT);
        let secret = browser.client_secret.as_ref().map(ExposeSecret::expose_secret);
        match secret {
            Some(secret) if provider.takes_basic() => {
                // RFC 6749, 2.3.1: both are form-encoded before they are put together.
                let encoded =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                request = request.basic_auth(encoded(&browser.client_id), Some(encoded(secret)));
            }
            Some(secret) => {
                form.extend([("client_id", browser.client_id.as_str()), ("client_secret", secret)])
            }
            None => form.push(("client_id", &browser.client_id)),
        }
        let sent = request.form(&form).send().await;
        let response = sent.map_err(|_| OidcError::Unavailable("it does not answer".to_owned()))?;
        match response.status().as_u16() {
            200 => {
                let tokens: Tokens = read(response).await?;
                Ok(tokens.id_token)
            }
            400 => Err(OidcError::Refused("the issuer does not take the code that came back")),
            401 | 403 => Err(OidcError::Unavailable(
                "it does not know us: look at HARMONY_OIDC_CLIENT_ID and HARMONY_OIDC_CLIENT_SECRET"
                    .to_owned(),
            )),
            other => Err(OidcError::Unavailable(format!("it answers {other} to the code"))),
        }
    }
}

fn checked(name: &str, text: &str) -> Result<Url, OidcError> {
    address::check(text).map_err(|error| OidcError::Unavailable(format!("{name}: {error}")))
}

/// Whether a token that is also for others, or names whom it was made for, was made for us.
fn is_for(claims: &Map<String, Value>, client_id: &str) -> bool {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|audiences| audiences.len() > 1);
    match claims.get("azp") {
        Some(party) => party.as_str() == Some(client_id),
        None => !several,
    }
}
