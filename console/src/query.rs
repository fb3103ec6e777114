//! Query strings: names that may be repeated, words that are checked, and nothing unknown.
//!
//! A filter with a typing mistake would show everything; so an unknown name is an error.

use url::form_urlencoded;

use crate::error::ApiError;

/// A decoded query string.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Refuses every name that is not one of these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::Malformed(format!(
                "query parameter {name:?} is not known; there are {}",
                if known.is_empty() { "none here".to_owned() } else { known.join(", ") }
            ))),
        }
    }

    /// Every value of a name; values may also be separated by commas.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// Every value of a name, as it is.
    pub(crate) fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The last value of a name, as it is.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// A number from 1 to `most`.
    pub(crate) fn limit(&self, default: u32, most: u32) -> Result<u32, ApiError> {
        let Some(text) = self.one("limit") else { return Ok(default) };
        text.parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| ApiError::Invalid(format!("limit {text:?}: a number from 1 to {most}")))
    }
}
