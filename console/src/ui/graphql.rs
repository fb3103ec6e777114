//! The GraphQL explorer: a query, its variables, and what came of it. Runs on the server, with the rights of whoever is
//! signed in; nothing on it comes from elsewhere.

use askama::Template;
use axum::{
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    Page, Pages, assets,
    form::Submission,
    guarded_now, html,
    visit::{self, Frame},
};
use crate::{auth::Caller, error::ApiError, graphql::typed};

/// What stands there at first.
const EXAMPLE: &str = "{
  services(first: 10) {
    edges {
      node {
        id
        name
        latestReleases { id version envId status }
        openIncidents { critical high medium low }
      }
    }
  }
}";

#[derive(Template)]
#[template(path = "graphql.html")]
struct GraphqlPage {
    frame: Option<Frame>,
    assets: &'static str,
    query: String,
    variables: String,
    /// Empty where nothing was run.
    result: String,
    /// Whether something is wrong with it.
    failed: bool,
    key: Uuid,
}

/// `GET /graphql` by a browser: needs no sign-in; what it runs does.
pub(crate) fn page(site: &Pages, headers: &HeaderMap, query: &str) -> Response {
    let parameter = |name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    };
    let frame = visit::session(site, headers, "/graphql").ok().and_then(|session| {
        let own = session.principal.roles.keys().next()?.to_string();
        let org = parameter("org").unwrap_or(own);
        let caller = Caller::signed_in(&site.app, session.principal, &org).ok()?;
        Some(visit::frame(&caller, &session.csrf, "explorer", None))
    });
    let page = html(&GraphqlPage {
        frame,
        assets: assets::version(),
        query: parameter("query").unwrap_or_else(|| EXAMPLE.to_owned()),
        variables: parameter("variables").unwrap_or_default(),
        result: String::new(),
        failed: false,
        key: Uuid::now_v7(),
    });
    guarded_now(page.into_response())
}

/// `POST /orgs/{org}/graphql`: runs what was typed and shows what came of it.
pub(crate) async fn run(form: Submission) -> Page {
    let whole = |name: &str| {
        let found = form.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.replace("\r\n", "\n")).unwrap_or_default()
    };
    let (query, variables) = (whole("query"), whole("variables"));
    let request = match form.field("key") {
        "" => Uuid::now_v7().to_string(),
        key => key.to_owned(),
    };
    let answer = typed(&form.site.app, form.caller.clone(), request, &query, &variables).await;
    let (result, failed) = match answer {
        Ok(answer) => {
            let failed = answer["errors"].is_array();
            (serde_json::to_string_pretty(&answer).map_err(|_| ApiError::Internal)?, failed)
        }
        Err(error) => (error.told().1, true),
    };
    html(&GraphqlPage {
        frame: Some(Frame { at: "explorer", ..form.frame.clone() }),
        assets: assets::version(),
        query,
        variables,
        result,
        failed,
        key: Uuid::now_v7(),
    })
}
