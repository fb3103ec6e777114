//! Query strings: names that may be repeated, words that are checked, and nothing unknown.
//!
//! A filter with a typing mistake would show everything; so an unknown name is an error. A blank text looks for nothing
//! and counts as left out; a blank where a number, a time or one of some words belongs is an error, except in what a form
//! of ours sends, which names every field whether it was filled in or not.

use url::form_urlencoded;

use crate::error::ApiError;

/// A decoded query string.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The query string of a page: what a form left blank is left out.
    pub(crate) fn of_page(text: &str) -> Self {
        let Self(mut all) = Self::parse(text);
        all.retain(|(_, value)| !value.trim().is_empty());
        Self(all)
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

    /// Every text of a name; several may also be separated by commas.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.words(name).filter(|value| !value.is_empty())
    }

    /// Every word of a name, blank ones too; several may also be separated by commas.
    pub(crate) fn words<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.flat_map(|(_, value)| value.split(',')).map(str::trim)
    }

    /// Every text of a name, as it is.
    pub(crate) fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The last text of a name.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.given(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The last value of a name that takes only some values, as it is.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.given(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::Invalid(format!("{name} {other:?}: true or false"))),
        }
    }

    /// A number from 1 to `most`.
    pub(crate) fn limit(&self, default: u32, most: u32) -> Result<u32, ApiError> {
        let Some(text) = self.given("limit") else { return Ok(default) };
        text.parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| ApiError::Invalid(format!("limit {text:?}: a number from 1 to {most}")))
    }
}
