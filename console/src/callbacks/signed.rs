//! Who may post to us without an account: whoever knows a secret, and shows it by signing the raw body or by a bearer
//! token. Several secrets are good at once while they are rotated. Compared in constant time.

use axum::http::{HeaderMap, header};
use harmony_incidents::record;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Whether one of these signatures, in hex, was made over the body with one of the secrets (HMAC-SHA256).
pub(crate) fn is_signed<'a>(
    secrets: &[SecretString],
    signatures: impl Iterator<Item = &'a str> + Clone,
    body: &[u8],
) -> bool {
    secrets.iter().any(|secret| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
            return false;
        };
        mac.update(body);
        signatures.clone().any(|signature| {
            hex::decode(signature.trim()).is_ok_and(|digest| mac.clone().verify_slice(&digest).is_ok())
        })
    })
}

/// Whether the request carries one of the secrets as its bearer token.
pub(crate) fn is_bearer(secrets: &[SecretString], headers: &HeaderMap) -> bool {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, token)) = header.and_then(|header| header.split_once(' ')) else { return false };
    scheme.eq_ignore_ascii_case("bearer") && is_secret(secrets, token.trim())
}

/// Whether this is one of the secrets.
pub(crate) fn is_secret(secrets: &[SecretString], given: &str) -> bool {
    secrets.iter().any(|secret| bool::from(secret.expose_secret().as_bytes().ct_eq(given.as_bytes())))
}

/// A header as text; empty where it is missing.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Longest id that stands in a key as it is.
const ID_BYTES: usize = 120;

/// The key under which a delivery is recorded, so that the same one again changes nothing.
pub(crate) fn delivery_key(source: &str, id: &str) -> String {
    if id.len() <= ID_BYTES {
        return format!("webhook/{source}/{id}");
    }
    format!("webhook/{source}/{}", hex::encode(record::hash(id.as_bytes())))
}

/// One line of what a sender wrote: their titles have newlines, no limit, and maybe characters that show something else
/// than what is there.
pub(crate) fn one_line(text: &str) -> String {
    let shown = text.chars().filter(|one| !is_invisible(*one));
    let line: String = shown.map(|one| if one.is_control() { ' ' } else { one }).take(LINE_CHARS).collect();
    line.trim().to_owned()
}

/// Changes the direction of the text around it, or has no width.
fn is_invisible(one: char) -> bool {
    matches!(one, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Longest line of a candidate.
const LINE_CHARS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_no_breaks_and_nothing_that_reorders_it() {
        assert_eq!(one_line("pay\u{202e}ments\n\u{200b}fail \u{2066}now\u{2069} "), "payments fail now");
        assert_eq!(one_line(&"a".repeat(300)).len(), LINE_CHARS);
    }
}
