//! Who asks: a bearer token of the directory or of the configured issuer, for an organisation that the principal has a
//! role in. An issuer's token names a principal of the directory, whose roles then add up, or somebody who has only
//! what its claims say.
//!
//! An organisation in which the caller has no role looks as if it did not exist. The rules that the caller was looked
//! up in stay with the caller, so that one request is judged by one version of the files.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, header};
use harmony_incidents::{
    Directory, LinkName, OrgId, Principal, Right, Role, RuleSet, Rules, leading,
    log::{Authority, IncidentState},
};

use crate::{App, error::ApiError, oidc::OidcError};

/// An authenticated principal in one organisation.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) org: OrgId,
    rules: Arc<RuleSet>,
}

impl Caller {
    /// Looks the token up, then the organisation.
    pub(crate) async fn authenticate(app: &App, headers: &HeaderMap, org: &str) -> Result<Self, ApiError> {
        let rules = app.doors.rules.current();
        let principal = principal(app, &rules, bearer(headers)?).await?;
        Self::in_org(principal, rules, org)
    }

    /// Somebody whose session was looked up for this request.
    pub(crate) fn signed_in(app: &App, principal: Principal, org: &str) -> Result<Self, ApiError> {
        Self::in_org(principal, app.doors.rules.current(), org)
    }

    fn in_org(principal: Principal, rules: Arc<RuleSet>, org: &str) -> Result<Self, ApiError> {
        let unknown =
            || ApiError::NotFound(format!("there is no organisation {org:?} that you have a role in"));
        let id: OrgId = org.parse().map_err(|_| unknown())?;
        Self::of(principal, id, rules).ok_or_else(unknown)
    }

    /// A principal whom another door knows; `None` without a role in the organisation.
    pub(crate) fn of(principal: Principal, org: OrgId, rules: Arc<RuleSet>) -> Option<Self> {
        let is_member = !principal.roles(&org, None).is_empty();
        is_member.then_some(Self { principal, org, rules })
    }

    /// The rules that this request is judged by.
    pub(crate) fn rules(&self) -> Rules<'_> {
        self.rules.rules()
    }

    /// Refuses who has not this right, for this incident where there is one.
    pub(crate) fn require(&self, right: Right, incident: Option<&IncidentState>) -> Result<(), ApiError> {
        if self.may(right, incident) {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!(
            "{}; {} has {}",
            self.rules.access.needs(right),
            self.principal.id,
            self.role_names(incident)
        )))
    }

    /// Whether the policies give this right.
    pub(crate) fn may(&self, right: Right, incident: Option<&IncidentState>) -> bool {
        self.rules.access.may(&self.principal, right, &self.org, incident)
    }

    /// Whether a link to a vendor's side of an incident is theirs to see.
    pub(crate) fn may_see(&self, link: &str, incident: &IncidentState) -> bool {
        use LinkName::{
            SlackChannel, SlackChannelArchived, SlackChannelName, SlackMessageTs, StatuspageIncidentId,
            StatuspageStatus,
        };
        let scope = match link.parse() {
            Ok(SlackChannel | SlackChannelArchived | SlackChannelName | SlackMessageTs) => Right::SlackRead,
            Ok(StatuspageIncidentId | StatuspageStatus) => Right::StatuspageRead,
            _ => return true,
        };
        self.may(scope, Some(incident))
    }

    /// Whether they see that this incident exists.
    pub(crate) fn sees(&self, incident: &IncidentState) -> bool {
        sees(&self.principal, &self.org, incident)
    }

    /// Whose incidents a list shall hold: none but theirs, unless they see all.
    pub(crate) fn sees_only(&self) -> Option<String> {
        (!is_admin(&self.principal, &self.org)).then(|| self.principal.id.clone())
    }

    /// The authority that the policies give.
    pub(crate) fn authority(&self, incident: Option<&IncidentState>) -> Authority {
        self.rules.access.authority(&self.principal, &self.org, incident)
    }

    /// Refuses who is known by an issuer's claims alone: what a run may do is asked of the directory, again and later.
    pub(crate) fn require_listed(&self) -> Result<(), ApiError> {
        if self.rules.directory.get(&self.principal.id).is_some() {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!(
            "runs are judged by the directory, in which there is no {}: have an org-admin add it",
            self.principal.id
        )))
    }

    fn role_names(&self, incident: Option<&IncidentState>) -> String {
        let roles = self.principal.roles(&self.org, incident);
        roles.into_iter().map(Role::name).collect::<Vec<_>>().join(", ")
    }
}

/// Whether somebody sees that an incident exists: a private one is for whom it names, and for organisation admins.
pub(crate) fn sees(principal: &Principal, org: &OrgId, incident: &IncidentState) -> bool {
    leading::is_visible(incident, &principal.id, is_admin(principal, org))
}

fn is_admin(principal: &Principal, org: &OrgId) -> bool {
    principal.roles(org, None).contains(&Role::Admin)
}

/// Whose token this is.
async fn principal(app: &App, rules: &RuleSet, token: &str) -> Result<Principal, ApiError> {
    if let Some(principal) = rules.directory.by_token(token) {
        return Ok(principal.clone());
    }
    let unknown = ApiError::Unauthorized("nobody in the directory has this token");
    // A JWT has three parts, and no token that we make has a dot.
    let Some(oidc) = app.doors.oidc.as_ref().filter(|_| token.split('.').count() == 3) else {
        return Err(unknown);
    };
    let claimed = oidc.principal(token).await.map_err(|error| match error {
        OidcError::Refused(reason) => ApiError::Unauthorized(reason),
        OidcError::Unavailable(_) => ApiError::Unavailable(error.to_string()),
    })?;
    Ok(known_as(&rules.directory, claimed))
}

/// Somebody who is known by an issuer's claims alone.
pub(crate) fn claimed(id: String, roles: BTreeMap<OrgId, Vec<Role>>) -> Principal {
    Principal {
        id,
        name: String::new(),
        email: None,
        slack_user_id: None,
        token_sha256: None,
        cost_center: String::new(),
        roles,
    }
}

/// Who an issuer's claims speak of: the directory's principal of this id, with their roles added, else who has only
/// what they say.
pub(crate) fn known_as(directory: &Directory, claimed: Principal) -> Principal {
    let Some(listed) = directory.get(&claimed.id) else { return claimed };
    let mut listed = listed.clone();
    for (org, roles) in claimed.roles {
        listed.roles.entry(org).or_default().extend(roles);
    }
    listed
}

/// Whether a request carries a token that somebody has, whatever it may do with it.
pub(crate) async fn known(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let rules = app.doors.rules.current();
    principal(app, &rules, bearer(headers)?).await.map(drop)
}

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let header = headers.get(header::AUTHORIZATION).ok_or(ApiError::Unauthorized("there is no token"))?;
    let malformed = ApiError::Unauthorized("the Authorization header is not `Bearer <token>`");
    let Some((scheme, token)) = header.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return Err(malformed);
    };
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(malformed) }
}
