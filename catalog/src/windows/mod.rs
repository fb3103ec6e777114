//! When releases may go out: change windows, freezes and approvals, named by the `policyRefs` of an environment.
//!
//! A policy is a versioned file ([`EnvironmentPolicy`]); all that are in force are [`EnvironmentPolicies`]. Asked about
//! an environment's references, an action and an instant, they answer with a [`ReleaseVerdict`]: whether the
//! environment is open, why not, by which policy, and when it opens next. Each policy that is named may close the
//! environment and none opens it against another: deny beats allow. An environment without policies is open.
//!
//! The verdict is handed to Cedar as the context of the actions `deploy` and `promote`
//! ([`ReleaseVerdict::request`]), so that an installation's own policies may go further.
//!
//! Zones and their changes of the clock are those that are built into the program.

mod clock;
mod cron;
mod exception;
mod file;
mod hours;
mod reference;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use exception::{NotExcepted, RollbackClaim, RollbackException};
pub(crate) use file::toml_key;
pub use file::{EnvironmentPolicy, Mode, PolicyFileError, ReleaseAction};
pub use hours::Hours;
pub use reference::{PolicyKind, PolicyRef, PolicyRefError};
pub use verdict::{PolicyGate, PolicyVerdict, ReleaseVerdict};

/// How far ahead an opening is looked for: a year and a month, so that what opens once a year is found.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Every policy of environments that is in force, by reference and version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EnvironmentPolicies {
    by_ref: BTreeMap<PolicyRef, BTreeMap<u32, EnvironmentPolicy>>,
}

/// Where the policies of environments come from; asked anew each time, since files change.
pub trait EnvironmentPolicySource: Send + Sync {
    /// Those in force, or why they cannot be read.
    fn current(&self) -> Result<EnvironmentPolicies, String>;
}

/// Those that never change.
impl EnvironmentPolicySource for EnvironmentPolicies {
    fn current(&self) -> Result<EnvironmentPolicies, String> {
        Ok(self.clone())
    }
}

/// The same version of the same policy, twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference} has version {version} twice")]
pub struct PolicyTwice {
    /// Which policy.
    pub reference: PolicyRef,
    /// Which version.
    pub version: u32,
}

/// A question to the policies of an environment.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseQuestion<'a> {
    /// The environment's references, as they are stored.
    pub refs: &'a [String],
    /// What somebody wants to do.
    pub action: ReleaseAction,
    /// When.
    pub at: Timestamp,
    /// The incident that a rollback names, where it is one.
    pub rollback: Option<RollbackClaim<'a>>,
}

impl EnvironmentPolicies {
    /// These policies together.
    pub fn new(policies: impl IntoIterator<Item = EnvironmentPolicy>) -> Result<Self, PolicyTwice> {
        let mut by_ref = BTreeMap::<PolicyRef, BTreeMap<u32, EnvironmentPolicy>>::new();
        for policy in policies {
            let (reference, version) = (policy.reference.clone(), policy.version);
            if by_ref.entry(reference.clone()).or_default().insert(version, policy).is_some() {
                return Err(PolicyTwice { reference, version });
            }
        }
        Ok(Self { by_ref })
    }

    /// The policy that a reference names: its highest version.
    pub fn get(&self, reference: &PolicyRef) -> Option<&EnvironmentPolicy> {
        self.by_ref.get(reference)?.last_key_value().map(|(_, policy)| policy)
    }

    /// The policies in force, the highest version of each, by reference.
    pub fn in_force(&self) -> impl Iterator<Item = &EnvironmentPolicy> {
        self.by_ref.values().filter_map(|versions| versions.last_key_value().map(|(_, policy)| policy))
    }

    /// What to warn about when an environment is written with these references. Nothing here refuses the write: the
    /// file may come later. Until it does, whatever needs the policy is refused.
    pub fn warnings(&self, refs: &[String]) -> Vec<String> {
        refs.iter()
            .filter_map(|text| self.named(text).err().map(|problem| format!("{text:?}: {problem}")))
            .collect()
    }

    /// The policy of a reference as it is stored, or why there is none.
    fn named(&self, text: &str) -> Result<&EnvironmentPolicy, String> {
        let reference: PolicyRef = text.parse().map_err(|error: PolicyRefError| error.to_string())?;
        self.get(&reference).ok_or_else(|| {
            let (kind, name) = (reference.kind().name(), reference.name());
            format!(
                "no policy file has kind = {kind:?} and name = {name:?}; releases are refused until one does"
            )
        })
    }

    /// Whether a release may go out, and when if not now.
    pub fn judge(&self, question: ReleaseQuestion<'_>) -> ReleaseVerdict {
        let mut named: Vec<Named<'_>> = Vec::new();
        for reference in question.refs {
            let policy = self.named(reference);
            let has_nothing_to_say = policy.as_ref().is_ok_and(|policy| !policy.is_about(question.action));
            // The same policy twice says nothing more.
            if !has_nothing_to_say && !named.iter().any(|other| other.reference == reference) {
                named.push(Named { reference, policy });
            }
        }
        ReleaseVerdict::of(&named, question)
    }
}

/// A reference of an environment, with the policy that it names or why there is none.
struct Named<'a> {
    reference: &'a str,
    policy: Result<&'a EnvironmentPolicy, String>,
}

/// The first instant, not before this one, at which every policy is open.
fn next_open(policies: &[&EnvironmentPolicy], from: Timestamp) -> Option<Timestamp> {
    let horizon = from.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let mut at = from;
    loop {
        let closed = policies.iter().filter(|policy| !policy.is_open(at));
        // Each of them stays closed until it changes, so nothing opens before the last of them does.
        let changes: Option<Vec<Timestamp>> = closed.map(|policy| policy.next_change(at, horizon)).collect();
        match changes?.into_iter().max() {
            None => return Some(at),
            Some(change) => at = change,
        }
    }
}
