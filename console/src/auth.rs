//! Who asks: a bearer token of the directory, for an organisation that the principal has a role in.
//!
//! An organisation in which the caller has no role looks as if it did not exist. The rules that the caller was looked
//! up in stay with the caller, so that one request is judged by one version of the files.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use harmony_incidents::{OrgId, Principal, Right, Role, RuleSet, Rules, log::IncidentState};

use crate::{App, error::ApiError};

/// An authenticated principal in one organisation.
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) org: OrgId,
    rules: Arc<RuleSet>,
}

impl Caller {
    /// Looks the token up, then the organisation.
    pub(crate) fn authenticate(app: &App, headers: &HeaderMap, org: &str) -> Result<Self, ApiError> {
        let rules = app.doors.rules.current();
        let principal = rules
            .directory
            .by_token(bearer(headers)?)
            .cloned()
            .ok_or(ApiError::Unauthorized("nobody in the directory has this token"))?;
        let unknown =
            || ApiError::NotFound(format!("there is no organisation {org:?} that you have a role in"));
        let org: OrgId = org.parse().map_err(|_| unknown())?;
        if principal.roles(&org, None).is_empty() {
            return Err(unknown());
        }
        Ok(Self { principal, org, rules })
    }

    /// The rules that this request is judged by.
    pub(crate) fn rules(&self) -> Rules<'_> {
        self.rules.rules()
    }

    /// Refuses who has not this right, for this incident where there is one.
    pub(crate) fn require(&self, right: Right, incident: Option<&IncidentState>) -> Result<(), ApiError> {
        if self.principal.may(right, &self.org, incident) {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!(
            "this needs the role {} at least; {} has {}",
            right.least_role().name(),
            self.principal.id,
            self.role_names(incident)
        )))
    }

    /// Gates may be read by whoever reads incidents, and by those whose only task is to decide.
    pub(crate) fn require_gates(&self) -> Result<(), ApiError> {
        if self.principal.roles(&self.org, None).contains(&Role::Approver) {
            return Ok(());
        }
        self.require(Right::Read, None)
    }

    fn role_names(&self, incident: Option<&IncidentState>) -> String {
        let roles = self.principal.roles(&self.org, incident);
        roles.into_iter().map(Role::name).collect::<Vec<_>>().join(", ")
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let header = headers.get(header::AUTHORIZATION).ok_or(ApiError::Unauthorized("there is no token"))?;
    let malformed = ApiError::Unauthorized("the Authorization header is not `Bearer <token>`");
    let Some((scheme, token)) = header.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return Err(malformed);
    };
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(malformed) }
}
