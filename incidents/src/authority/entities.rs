//! People, incidents and gates in Cedar's words.

use std::sync::LazyLock;

use cedar_policy::{Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use harmony_protos::log::IncidentState;

use super::{EnvironmentAsk, GateAsk};
use crate::{
    directory::{Principal, Role},
    ids::OrgId,
};

/// Roles that a level of a gate can name; it cannot be filled by naming another.
const GATE_ROLES: [Role; 5] = [Role::OnCall, Role::Commander, Role::Manager, Role::Admin, Role::Approver];

/// The schema's entity types.
#[derive(Clone, Copy)]
enum Kind {
    Action,
    Environment,
    Gate,
    Incident,
    Organisation,
    Person,
    Role,
}

/// Their names, in the order of [`Kind`].
static KINDS: LazyLock<[EntityTypeName; 7]> = LazyLock::new(|| {
    ["Action", "Environment", "Gate", "Incident", "Organisation", "Person", "Role"]
        .map(|name| format!("Harmony::{name}").parse().expect("these are names"))
});

/// Who asks, with what they hold in one organisation.
pub(super) struct Subject {
    pub(super) uid: EntityUid,
    /// With every lesser role.
    roles: Vec<Role>,
    organisations: Vec<EntityUid>,
}

impl Subject {
    /// A principal of the directory. What they are assigned to is an attribute of the incident.
    pub(super) fn of(principal: &Principal, org: &OrgId) -> Self {
        Self {
            uid: person(&principal.id),
            roles: with_lesser(principal.roles(org, None)),
            organisations: principal
                .roles
                .iter()
                .filter(|(_, roles)| !roles.is_empty())
                .map(|(org, _)| organisation(org))
                .collect(),
        }
    }

    /// Nobody in particular who holds one role.
    pub(super) fn holder(role: Role, org: &OrgId) -> Self {
        // No id in a directory is empty.
        Self { uid: person(""), roles: with_lesser(vec![role]), organisations: vec![organisation(org)] }
    }

    /// The subject and their organisations.
    pub(super) fn entities(&self) -> Vec<Entity> {
        let organisations = RestrictedExpression::new_set(
            self.organisations.iter().cloned().map(RestrictedExpression::new_entity_uid),
        );
        let attributes = [("organisations".to_owned(), organisations)];
        let parents = self.roles.iter().map(|role| uid(Kind::Role, role.name()));
        Entity::new_with_tags(self.uid.clone(), attributes, parents, []).into_iter().collect()
    }
}

/// Each role on the ladder is also every one before it.
fn with_lesser(held: Vec<Role>) -> Vec<Role> {
    let ladder =
        |role: Role| Role::LADDER.into_iter().filter(move |lesser| role.is_on_ladder() && *lesser <= role);
    let mut roles: Vec<Role> = held.iter().copied().flat_map(ladder).chain(held.iter().copied()).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

/// The incident as a resource; adds it to what is known.
pub(super) fn incident(state: &IncidentState, org: &OrgId, known: &mut Vec<Entity>) -> Option<EntityUid> {
    let id = uid(Kind::Incident, &state.incident);
    known.push(Entity::new_with_tags(id.clone(), of_incident(state), [of(state, org)], []).ok()?);
    Some(id)
}

/// A gate of the incident as a resource; adds it to what is known.
pub(super) fn gate(
    state: &IncidentState,
    org: &OrgId,
    gate: GateAsk<'_>,
    known: &mut Vec<Entity>,
) -> Option<EntityUid> {
    let id = uid(Kind::Gate, &state.incident);
    let required = GATE_ROLES.into_iter().filter(|role| gate.roles.iter().any(|name| name == role.name()));
    let required = required.map(|role| RestrictedExpression::new_entity_uid(uid(Kind::Role, role.name())));
    let attributes = of_incident(state).into_iter().chain([
        ("kind".to_owned(), RestrictedExpression::new_string(gate.kind.to_owned())),
        ("requester".to_owned(), RestrictedExpression::new_entity_uid(person(gate.requester))),
        ("fourEyes".to_owned(), RestrictedExpression::new_bool(gate.four_eyes)),
        ("requiredRoles".to_owned(), RestrictedExpression::new_set(required)),
    ]);
    known.push(Entity::new_with_tags(id.clone(), attributes, [of(state, org)], []).ok()?);
    Some(id)
}

/// An environment of the catalog as a resource; adds it to what is known.
pub(super) fn environment(id: &str, org: &OrgId, known: &mut Vec<Entity>) -> Option<EntityUid> {
    let id = uid(Kind::Environment, id);
    known.push(Entity::new_with_tags(id.clone(), [], [organisation(org)], []).ok()?);
    Some(id)
}

/// What is known about the environment at the instant of the question.
pub(super) fn release_context(ask: &EnvironmentAsk<'_>) -> Option<Context> {
    let flag = RestrictedExpression::new_bool;
    let pairs = [
        ("production", flag(ask.production)),
        ("open", flag(ask.open)),
        ("mode", RestrictedExpression::new_string(ask.mode.to_owned())),
        ("excepted", flag(ask.excepted)),
        ("rollback", flag(ask.rollback)),
    ];
    Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value))).ok()
}

fn of_incident(state: &IncidentState) -> Vec<(String, RestrictedExpression)> {
    let commanders = state.responders.iter().filter(|one| one.role == "commander" && one.empowered);
    let commanders = commanders.map(|one| RestrictedExpression::new_entity_uid(person(&one.principal)));
    vec![
        ("severity".to_owned(), RestrictedExpression::new_string(state.severity().as_str_name().to_owned())),
        ("commanders".to_owned(), RestrictedExpression::new_set(commanders)),
    ]
}

/// The organisation that an incident belongs to: its own word where it has one.
fn of(state: &IncidentState, org: &OrgId) -> EntityUid {
    if state.org.is_empty() { organisation(org) } else { uid(Kind::Organisation, &state.org) }
}

pub(super) fn organisation(org: &OrgId) -> EntityUid {
    uid(Kind::Organisation, org.as_str())
}

pub(super) fn action(name: &str) -> EntityUid {
    uid(Kind::Action, name)
}

/// An action that belongs to a scope: a policy that speaks of the scope's actions speaks of it.
pub(super) fn action_in(name: &str, scope: &str) -> Option<Entity> {
    Entity::new_with_tags(action(name), [], [action(scope)], []).ok()
}

fn person(id: &str) -> EntityUid {
    uid(Kind::Person, id)
}

fn uid(kind: Kind, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(KINDS[kind as usize].clone(), EntityId::new(id))
}
