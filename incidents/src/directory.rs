//! Who there is and which roles they hold: the directory file. What a role may do is said in [`crate::authority`].
//!
//! Roles are always looked up here (or among an incident's responders), never believed from a payload. The file is
//! strict: an unknown field or role is an error, so that a typing mistake never widens or silently drops a right.

use std::collections::{BTreeMap, BTreeSet};

use harmony_protos::log::IncidentState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{ids::OrgId, promotion::AUTO_ACTOR};

/// A role in an organisation. Ordered: each on the [`Role::LADDER`] may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Reads, notes, actions.
    #[serde(rename = "incident-viewer", alias = "MEMBER")]
    Viewer,
    /// Declares, updates, assigns, starts blueprints, stops.
    #[serde(rename = "incident-responder")]
    Responder,
    /// Status and close-out; a gate role.
    #[serde(rename = "sre-oncall", alias = "ONCALL_ENGINEER")]
    OnCall,
    /// Severity, the review and its sign-off; a gate role. Also held by assignment, for one incident.
    #[serde(rename = "incident-commander")]
    Commander,
    /// A gate role of the second level.
    #[serde(rename = "incident-manager", alias = "SRE_LEAD")]
    Manager,
    /// Redaction; a gate role.
    #[serde(rename = "org-admin", alias = "ORG_ADMIN")]
    Admin,
    /// Decides gates; the default policy names it at every level. Nothing else.
    #[serde(rename = "incident-approver")]
    Approver,
    /// What a viewer may, the catalog, deploying and promoting.
    #[serde(rename = "deployer")]
    Deployer,
}

impl Role {
    /// Every role, in order.
    pub const ALL: [Self; 8] = [
        Self::Viewer,
        Self::Responder,
        Self::OnCall,
        Self::Commander,
        Self::Manager,
        Self::Admin,
        Self::Approver,
        Self::Deployer,
    ];

    /// Those of which each is also every one before it.
    pub const LADDER: [Self; 6] =
        [Self::Viewer, Self::Responder, Self::OnCall, Self::Commander, Self::Manager, Self::Admin];

    /// The role's name in files and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "incident-viewer",
            Self::Responder => "incident-responder",
            Self::OnCall => "sre-oncall",
            Self::Commander => "incident-commander",
            Self::Manager => "incident-manager",
            Self::Admin => "org-admin",
            Self::Approver => "incident-approver",
            Self::Deployer => "deployer",
        }
    }

    /// Whether it stands on the [`Role::LADDER`].
    pub fn is_on_ladder(self) -> bool {
        Self::LADDER.contains(&self)
    }

    /// The most of these: on the ladder if any is, else the last beside it.
    pub fn highest(roles: &[Self]) -> Option<Self> {
        roles.iter().copied().max_by_key(|role| (role.is_on_ladder(), *role))
    }
}

/// One person or machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The id that records and decisions carry.
    pub id: String,
    /// For people to read.
    #[serde(default)]
    pub name: String,
    /// Address; shown to nobody without need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Slack user id (`U…`), which interactive callbacks are mapped by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack_user_id: Option<String>,
    /// SHA-256 of the bearer token, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// Who pays for the incidents that they declare, where neither they nor the policy say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cost_center: String,
    /// Roles per organisation.
    #[serde(default)]
    pub roles: BTreeMap<OrgId, Vec<Role>>,
}

/// Everybody who is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Invariant: ids, Slack ids and token hashes are unique; the hashes are in lower case.
    #[serde(default, rename = "principal")]
    principals: Vec<Principal>,
}

/// What is wrong with a directory file.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not TOML, or not this form.
    #[error("the directory does not parse: {0}")]
    Syntax(#[from] toml::de::Error),
    /// Two principals could be taken for each other.
    #[error("the directory names {what} {value:?} twice: each must be unique")]
    Ambiguous {
        /// Which field.
        what: &'static str,
        /// What stands there twice (for a token, the principal's id).
        value: String,
    },
    /// An empty id, or a token hash that is none.
    #[error("principal {id:?}: {problem}")]
    Invalid {
        /// The principal.
        id: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Directory {
    /// Reads a directory file and checks its invariants.
    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        Self::new(toml::from_str::<Self>(text)?.principals)
    }

    /// A directory of these principals.
    pub fn new(mut principals: Vec<Principal>) -> Result<Self, DirectoryError> {
        for hash in principals.iter_mut().filter_map(|one| one.token_sha256.as_mut()) {
            hash.make_ascii_lowercase();
        }
        for (index, one) in principals.iter().enumerate() {
            let invalid = |problem| DirectoryError::Invalid { id: one.id.clone(), problem };
            if one.id.is_empty() || one.id.len() > 128 || one.id.chars().any(char::is_control) {
                return Err(invalid("an id has 1 to 128 printable characters"));
            }
            if one.id == AUTO_ACTOR {
                return Err(invalid("this id is Harmony's own, for what no person does"));
            }
            if one
                .token_sha256
                .as_ref()
                .is_some_and(|hash| hex::decode(hash).map_or(0, |raw| raw.len()) != 32)
            {
                return Err(invalid("token_sha256 is the SHA-256 of a token, 64 hex digits"));
            }
            for other in &principals[..index] {
                let twice = |what, value: &str| DirectoryError::Ambiguous { what, value: value.to_owned() };
                if one.id == other.id {
                    return Err(twice("the id", &one.id));
                }
                if one.slack_user_id.is_some() && one.slack_user_id == other.slack_user_id {
                    return Err(twice("the Slack user of", &one.id));
                }
                if one.token_sha256.is_some() && one.token_sha256 == other.token_sha256 {
                    return Err(twice("the token of", &one.id));
                }
            }
        }
        Ok(Self { principals })
    }

    /// Everybody, in file order.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }

    /// Every organisation that somebody has a role in, in order.
    pub fn orgs(&self) -> BTreeSet<OrgId> {
        self.principals.iter().flat_map(|principal| principal.roles.keys().cloned()).collect()
    }

    /// The principal with this id.
    pub fn get(&self, id: &str) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.id == id)
    }

    /// What somebody is called; their id where the directory has no name for it.
    pub fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.get(id).map(|one| one.name.as_str()).filter(|name| !name.is_empty()).unwrap_or(id)
    }

    /// The principal whose Slack user this is.
    pub fn by_slack_user(&self, user: &str) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.slack_user_id.as_deref() == Some(user))
    }

    /// The principal whose token this is. Compares hashes in constant time, all of them.
    pub fn by_token(&self, token: &str) -> Option<&Principal> {
        let hash = hex::encode(Sha256::digest(token.as_bytes()));
        let mut found = None;
        for principal in &self.principals {
            if let Some(known) = &principal.token_sha256
                && bool::from(known.as_bytes().ct_eq(hash.as_bytes()))
            {
                found = Some(principal);
            }
        }
        found
    }
}

impl Principal {
    /// What people call them: the name, or the id where there is none.
    pub fn display_name(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// The roles held in an organisation, and for one incident by assignment.
    pub fn roles(&self, org: &OrgId, incident: Option<&IncidentState>) -> Vec<Role> {
        let mut roles = self.roles.get(org).cloned().unwrap_or_default();
        let commands = incident.is_some_and(|state| {
            state
                .responders
                .iter()
                .any(|one| one.role == "commander" && one.empowered && one.principal == self.id)
        });
        if commands {
            roles.push(Role::Commander);
        }
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [[principal]]
        id = "commander"
        slack_user_id = "U0COMMANDER"
        [principal.roles]
        default = ["incident-commander"]

        [[principal]]
        id = "viewer"
        [principal.roles]
        default = ["MEMBER"]
    "#;

    #[test]
    fn people_are_found_by_id_and_by_slack_user() {
        let directory = Directory::parse(FILE).unwrap();
        let commander = directory.by_slack_user("U0COMMANDER").unwrap();
        assert_eq!(commander.roles(&OrgId::default(), None), [Role::Commander]);
        assert!(commander.roles(&"acme".parse().unwrap(), None).is_empty());
        assert_eq!(directory.get("viewer").unwrap().roles(&OrgId::default(), None), [Role::Viewer]);
        assert!(directory.by_slack_user("U0STRANGER").is_none() && directory.get("stranger").is_none());
    }

    #[test]
    fn assignment_gives_the_gate_role_for_one_incident_alone() {
        let directory = Directory::parse(FILE).unwrap();
        let viewer = directory.get("viewer").unwrap();
        let mut incident = IncidentState::default();
        assert!(!viewer.roles(&OrgId::default(), Some(&incident)).contains(&Role::Commander));
        incident.responders.push(harmony_protos::log::Responder {
            role: "commander".to_owned(),
            principal: "viewer".to_owned(),
            empowered: false,
        });
        assert!(!viewer.roles(&OrgId::default(), Some(&incident)).contains(&Role::Commander));
        incident.responders[0].empowered = true;
        assert!(viewer.roles(&OrgId::default(), Some(&incident)).contains(&Role::Commander));
    }

    #[test]
    fn one_token_in_upper_and_lower_case_is_one_token() {
        let hash = hex::encode(Sha256::digest("secret"));
        let entry =
            |id: &str, hash: &str| format!("[[principal]]\nid = \"{id}\"\ntoken_sha256 = \"{hash}\"\n");
        let upper = entry("a", &hash.to_uppercase());
        let twice = Directory::parse(&format!("{upper}{}", entry("b", &hash))).unwrap_err().to_string();
        assert!(twice.contains("the token of \"b\" twice"), "{twice}");
        assert_eq!(Directory::parse(&upper).unwrap().by_token("secret").unwrap().id, "a");
    }

    #[test]
    fn typing_mistakes_and_doubles_are_errors() {
        for (bad, expected) in [
            ("[[principal]]\nid = \"a\"\nrole = \"x\"", "unknown field `role`"),
            ("[[principal]]\nid = \"a\"\n[principal.roles]\ndefault = [\"boss\"]", "unknown variant `boss`"),
            ("[[principal]]\nid = \"a\"\n[[principal]]\nid = \"a\"", "names the id \"a\" twice"),
            ("[[principal]]\nid = \"\"", "an id has 1 to 128 printable characters"),
            ("[[principal]]\nid = \"opx-candidate-processor\"", "this id is Harmony's own"),
            ("[[principal]]\nid = \"a\"\ntoken_sha256 = \"abc\"", "64 hex digits"),
        ] {
            let error = Directory::parse(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
