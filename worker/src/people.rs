//! Names instead of ids, for output that people read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{api::Api, commands::show::items};

/// The people of the organisation, by id.
#[derive(Debug, Default)]
pub(crate) struct People(BTreeMap<String, String>);

impl People {
    /// Asks the API. Where it does not say, people are called by their ids: a name is no reason to fail.
    pub(crate) async fn of(api: &Api) -> Self {
        let answer = api.get(&["people"], &[]).await.unwrap_or_default();
        Self::parsed(&answer)
    }

    fn parsed(answer: &Value) -> Self {
        let named = |one: &Value| {
            let (id, name) = (one["principalId"].as_str()?, one["name"].as_str()?);
            (!name.is_empty()).then(|| (id.to_owned(), name.to_owned()))
        };
        Self(items(answer, "people").iter().filter_map(named).collect())
    }

    /// What somebody is called.
    pub(crate) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_has_no_name_is_called_by_their_id() {
        let people = People::parsed(&json!({ "people": [
            { "principalId": "oncall", "name": "Oskar Oncall" },
            { "principalId": "bot", "name": "" },
        ] }));
        assert_eq!(
            ["oncall", "bot", "ghost"].map(|id| people.name(id).to_owned()),
            ["Oskar Oncall", "bot", "ghost"]
        );
        assert_eq!(People::parsed(&Value::Null).name("oncall"), "oncall");
    }
}
