//! Who may what: the table of rights, cell by cell, and what a policy file may and may not say.

use std::fmt::Write;

use harmony_incidents::{
    Access, Directory, OrgId, Principal, Right, Role,
    authority::{Denied, GateAsk, GateRight},
    log::{Authority, IncidentState, Responder},
    words,
};

fn holding(id: &str, org: &str, roles: &[Role]) -> Principal {
    let names: Vec<String> = roles.iter().map(|role| format!("{:?}", role.name())).collect();
    let file = format!("[[principal]]\nid = \"{id}\"\n[principal.roles]\n{org} = [{}]", names.join(", "));
    Directory::parse(&file).unwrap().get(id).unwrap().clone()
}

fn incident() -> IncidentState {
    IncidentState {
        org: "default".to_owned(),
        incident: "INC-2026-0001".to_owned(),
        ..IncidentState::default()
    }
}

fn commanded_by(id: &str) -> IncidentState {
    let responder = Responder { role: "commander".to_owned(), principal: id.to_owned(), empowered: true };
    IncidentState { responders: vec![responder], ..incident() }
}

/// One row for each holder, one column for each right; the last column is the authority.
fn table(incident: Option<&IncidentState>) -> String {
    table_of(Right::ALL, incident)
}

fn table_of(rights: [Right; 9], incident: Option<&IncidentState>) -> String {
    let (access, org) = (Access::built_in(), OrgId::default());
    let mut text = format!("{:20}", "");
    for right in rights {
        write!(text, "{} ", right.name()).unwrap();
    }
    for role in Role::ALL {
        let holder = holding("holder", "default", &[role]);
        write!(text, "\n{:20}", role.name()).unwrap();
        for right in rights {
            let mark = if access.may(&holder, right, &org, incident) { "yes" } else { "-" };
            write!(text, "{mark:width$} ", width = right.name().len()).unwrap();
        }
        let authority = access.authority(&holder, &org, incident);
        text.push_str(if authority == Authority::None { "-" } else { words::authority_name(authority) });
    }
    text
}

#[test]
fn every_role_has_exactly_the_rights_of_the_table() {
    insta::assert_snapshot!(table(None), @r"
                        read read-gates note respond resolve sign-off change-severity administer override 
    incident-viewer     yes  yes        yes  -       -       -        -               -          -        -
    incident-responder  yes  yes        yes  yes     -       -        -               -          -        HUMAN_OPERATOR
    sre-oncall          yes  yes        yes  yes     yes     -        -               -          yes      ON_CALL_SRE
    incident-commander  yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    incident-manager    yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    org-admin           yes  yes        yes  yes     yes     yes      yes             yes        yes      ON_CALL_SRE
    incident-approver   -    yes        -    -       -       -        -               -          -        -
    deployer            yes  yes        yes  -       -       -        -               -          -        HUMAN_OPERATOR
    ");
    assert_eq!(table(Some(&incident())), table(None), "an incident of theirs changes nothing by itself");
}

/// The matrix of roles and scopes as the lifecycle's architecture draws it, row by row.
const MATRIX: [(&str, &[&str]); 4] = [
    ("incident-viewer", &["statuspage:read", "slack:read"]),
    (
        "incident-responder",
        &["statuspage:read", "statuspage:write", "slack:read", "slack:write", "operations:execute"],
    ),
    (
        "incident-manager",
        &[
            "statuspage:read",
            "statuspage:write",
            "slack:read",
            "slack:write",
            "operations:execute",
            "confluence:write",
        ],
    ),
    ("incident-approver", &["workflow:approve"]),
];

#[test]
fn every_row_of_the_matrix_of_scopes_holds() {
    let (access, org) = (Access::built_in(), OrgId::default());
    for (role, scopes) in MATRIX {
        let role = Role::ALL.into_iter().find(|one| one.name() == role).unwrap();
        let holder = holding("holder", "default", &[role]);
        for scope in Right::SCOPES {
            // A manager is a gate role besides: somebody must decide where there are no approvers.
            let beside = role == Role::Manager && scope == Right::WorkflowApprove;
            let expected = scopes.contains(&scope.name()) || beside;
            assert_eq!(access.may(&holder, scope, &org, None), expected, "{role:?} {}", scope.name());
        }
    }
}

#[test]
fn every_role_has_exactly_the_scopes_of_the_table() {
    insta::assert_snapshot!(table_of(Right::SCOPES, None), @r"
                        statuspage:read statuspage:write slack:read slack:write operations:execute confluence:write workflow:approve catalog:write deploy:execute 
    incident-viewer     yes             -                yes        -           -                  -                -                -             -              -
    incident-responder  yes             yes              yes        yes         yes                -                -                -             -              HUMAN_OPERATOR
    sre-oncall          yes             yes              yes        yes         yes                -                yes              -             -              ON_CALL_SRE
    incident-commander  yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-manager    yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    org-admin           yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-approver   -               -                -          -           -                  -                yes              -             -              -
    deployer            yes             -                yes        -           -                  -                -                yes           yes            HUMAN_OPERATOR
    ");
    assert_eq!(table_of(Right::SCOPES, Some(&incident())), table_of(Right::SCOPES, None));
    insta::assert_snapshot!(table_of(Right::SCOPES, Some(&commanded_by("holder"))), @r"
                        statuspage:read statuspage:write slack:read slack:write operations:execute confluence:write workflow:approve catalog:write deploy:execute 
    incident-viewer     yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-responder  yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    sre-oncall          yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-commander  yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-manager    yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    org-admin           yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    incident-approver   yes             yes              yes        yes         yes                yes              yes              -             -              ON_CALL_SRE
    deployer            yes             yes              yes        yes         yes                yes              yes              yes           yes            ON_CALL_SRE
    ");
}

#[test]
fn scope_of_approving_is_every_decision_and_no_gate_by_itself() {
    let (access, org) = (Access::built_in(), OrgId::default());
    let approver = holding("approver", "default", &[Role::Approver]);
    let names = |roles: &[Role]| roles.iter().map(|role| role.name().to_owned()).collect::<Vec<_>>();
    let decides = |access: &Access, roles: &[String]| {
        let gate = GateAsk { kind: "remediate", requester: "x", four_eyes: true, roles };
        access.may_decide(&approver, GateRight::Approve, &org, &incident(), gate).is_ok()
    };
    assert!(!decides(&access, &names(&[Role::Commander, Role::Admin])));
    assert!(decides(&access, &names(&[Role::Commander, Role::Approver])));
    let file = format!(
        "{}\nforbid (principal, action in Harmony::Action::\"workflow:approve\", resource);",
        include_str!("../../src/authority/policies.cedar")
    );
    let frozen = Access::parse(&file).unwrap();
    assert!(!decides(&frozen, &names(&[Role::Approver])));
    assert!(!frozen.may(&approver, Right::WorkflowApprove, &org, None));
}

#[test]
fn default_policy_names_the_approver_at_every_level() {
    let policy = harmony_incidents::Policy::default();
    for table in [&policy.urgent, &policy.close_out, &policy.review] {
        for (severity, level) in
            table.iter().flat_map(|(severity, levels)| levels.iter().map(move |one| (severity, one)))
        {
            assert_eq!(level.roles.last(), Some(&Role::Approver), "{severity}");
        }
    }
}

#[test]
fn assigned_commander_has_a_commanders_rights_on_that_incident_alone() {
    insta::assert_snapshot!(table(Some(&commanded_by("holder"))), @r"
                        read read-gates note respond resolve sign-off change-severity administer override 
    incident-viewer     yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    incident-responder  yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    sre-oncall          yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    incident-commander  yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    incident-manager    yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    org-admin           yes  yes        yes  yes     yes     yes      yes             yes        yes      ON_CALL_SRE
    incident-approver   yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    deployer            yes  yes        yes  yes     yes     yes      yes             -          yes      ON_CALL_SRE
    ");
    assert_eq!(table(Some(&commanded_by("somebody else"))), table(None));
}

#[test]
fn who_took_command_has_no_right_by_it() {
    let mut taken = commanded_by("holder");
    taken.responders[0].empowered = false;
    assert_eq!(table(Some(&taken)), table(None));
    let (access, org) = (Access::built_in(), OrgId::default());
    let roles = ["incident-commander".to_owned(), "sre-oncall".to_owned()];
    let gate = GateAsk { kind: "remediate", requester: "x", four_eyes: true, roles: &roles };
    for role in Role::ALL {
        let holder = holding("holder", "default", &[role]);
        for decision in GateRight::ALL {
            let decide = |state: &IncidentState| access.may_decide(&holder, decision, &org, state, gate);
            assert_eq!(decide(&taken), decide(&incident()), "{role:?} {decision:?}");
        }
        assert_eq!(holder.roles(&org, Some(&taken)), holder.roles(&org, None), "{role:?}");
    }
}

#[test]
fn assigned_commander_does_not_break_the_glass_on_what_they_asked_for() {
    let (access, org) = (Access::built_in(), OrgId::default());
    let roles = ["org-admin".to_owned()];
    for role in Role::ALL {
        let holder = holding("holder", "default", &[role]);
        let breaks = |requester: &str| {
            let gate = GateAsk { kind: "remediate", requester, four_eyes: true, roles: &roles };
            let state = commanded_by("holder");
            access.may_decide(&holder, GateRight::BreakGlass, &org, &state, gate).is_ok()
        };
        assert!(breaks("somebody else"), "{role:?}");
        // Who is on call by the directory may, whatever they asked for.
        assert_eq!(breaks("holder"), role >= Role::OnCall && role.is_on_ladder(), "{role:?}");
    }
}

#[test]
fn another_organisation_gives_nothing() {
    let access = Access::built_in();
    let admin = holding("admin", "acme", &Role::ALL);
    let theirs = IncidentState { org: "acme".to_owned(), ..commanded_by("admin") };
    let roles = ["org-admin".to_owned()];
    let gate = GateAsk { kind: "remediate", requester: "x", four_eyes: false, roles: &roles };
    for org in ["default", "other"].map(|org| org.parse::<OrgId>().unwrap()) {
        for right in Right::ALL {
            assert!(!access.may(&admin, right, &org, None), "{right:?}");
            // Not even as the assigned commander of an incident there.
            assert!(!access.may(&admin, right, &org, Some(&commanded_by("admin"))), "{right:?}");
        }
        assert_eq!(access.authority(&admin, &org, None), Authority::None);
        for decision in GateRight::ALL {
            let denied = access.may_decide(&admin, decision, &org, &commanded_by("admin"), gate).unwrap_err();
            assert!(matches!(denied, Denied::Forbidden { because, .. } if because == "missing-role"));
        }
    }
    let own: OrgId = "acme".parse().unwrap();
    assert!(access.may(&admin, Right::Administer, &own, Some(&theirs)));
    assert!(access.may_decide(&admin, GateRight::Approve, &own, &theirs, gate).is_ok());
    // The incident's own word on whose it is beats what the caller says.
    assert!(!access.may(&admin, Right::Read, &own, Some(&incident())));
}

/// Every level that a policy file can name, against every holder: by the rule as people know it.
#[test]
fn level_is_filled_by_the_gate_roles_it_names_and_those_above() {
    let (access, org) = (Access::built_in(), OrgId::default());
    let gate_roles = [Role::OnCall, Role::Commander, Role::Manager, Role::Admin];
    for named in 0_usize..1 << Role::ALL.len() {
        let named: Vec<Role> = Role::ALL
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| named >> bit & 1 == 1)
            .map(|(_, role)| role)
            .collect();
        let roles: Vec<String> = named.iter().map(|role| role.name().to_owned()).collect();
        let gate = GateAsk { kind: "remediate", requester: "somebody else", four_eyes: true, roles: &roles };
        for role in Role::ALL {
            let expected = if role.is_on_ladder() {
                named.iter().any(|least| gate_roles.contains(least) && role >= *least)
            } else {
                role == Role::Approver && named.contains(&role)
            };
            let holder = holding("holder", "default", &[role]);
            for decision in [GateRight::Approve, GateRight::Reject] {
                let found = access.may_decide(&holder, decision, &org, &incident(), gate);
                assert_eq!(found.is_ok(), expected, "{role:?} {decision:?} {roles:?}");
            }
            let acts_as = access.acts_as(&holder, GateRight::Approve, &org, &incident(), gate);
            assert_eq!(acts_as, expected.then_some(role));
            let breaks = access.may_decide(&holder, GateRight::BreakGlass, &org, &incident(), gate);
            assert_eq!(breaks.is_ok(), role >= Role::OnCall && role.is_on_ladder(), "{role:?}");
        }
    }
}

#[test]
fn requester_may_reject_and_break_the_glass_and_not_approve() {
    let (access, org) = (Access::built_in(), OrgId::default());
    let admin = holding("admin", "default", &Role::ALL);
    let roles = ["sre-oncall".to_owned()];
    let gate = GateAsk { kind: "remediate", requester: "admin", four_eyes: true, roles: &roles };
    let asked = |decision, gate| access.may_decide(&admin, decision, &org, &incident(), gate);
    let because = "four-eyes".to_owned();
    let explanation = "who asked for it may not approve it".to_owned();
    assert_eq!(asked(GateRight::Approve, gate), Err(Denied::Forbidden { because, explanation }));
    assert_eq!(asked(GateRight::Reject, gate), Ok(()));
    assert_eq!(asked(GateRight::BreakGlass, gate), Ok(()));
    assert_eq!(asked(GateRight::Approve, GateAsk { four_eyes: false, ..gate }), Ok(()));
}

#[test]
fn assigned_commander_fills_the_first_level_and_no_higher_one() {
    let (access, org) = (Access::built_in(), OrgId::default());
    let viewer = holding("viewer", "default", &[Role::Viewer]);
    for (roles, expected) in [
        (vec!["incident-commander"], true),
        (vec!["sre-oncall"], true),
        (vec!["incident-manager"], false),
        (vec!["org-admin", "incident-approver"], false),
        (vec![], false),
    ] {
        let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
        let gate = GateAsk { kind: "remediate", requester: "x", four_eyes: true, roles: &roles };
        let decide =
            |state: &IncidentState| access.may_decide(&viewer, GateRight::Approve, &org, state, gate).is_ok();
        assert_eq!(decide(&commanded_by("viewer")), expected, "{roles:?}");
        assert!(!decide(&incident()));
    }
}

#[test]
fn policy_file_is_strict() {
    let permit = |scope: &str, when: &str| format!("// who\npermit (principal, {scope}, resource){when};");
    for (text, expected) in [
        (String::new(), "there is no policy in it"),
        ("permit (principal, action, resource)".to_owned(), "line 1: "),
        (permit("action == Harmony::Action::\"reed\"", ""), "line 2: "),
        (permit("action == Harmony::Action::\"read\"", " when { principal.age > 3 }"), "`age`"),
        (permit("action", " when { principal in Harmony::Role::\"boss\" }"), "boss"),
        // It could never apply: no organisation is a gate.
        (permit("action == Harmony::Action::\"read\"", " when { resource is Harmony::Gate }"), "impossible"),
    ] {
        let error = Access::parse(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{text}: {error:?}");
    }
}

#[test]
fn policy_file_replaces_the_rights_and_forbid_wins() {
    let file = r#"
        permit (principal, action == Harmony::Action::"read", resource);
        permit (principal, action == Harmony::Action::"approve", resource);
        @because("freeze: nothing is approved for a P1 today")
        forbid (principal, action == Harmony::Action::"approve", resource is Harmony::Gate)
        when { resource.severity == "P1" };
    "#;
    let (access, org) = (Access::parse(file).unwrap(), OrgId::default());
    let approver = holding("approver", "default", &[Role::Approver]);
    assert!(access.may(&approver, Right::Read, &org, None));
    assert!(!access.may(&holding("admin", "default", &[Role::Admin]), Right::Administer, &org, None));
    assert_eq!(access.least_role(Right::Read), Some(Role::Viewer));
    assert_eq!(access.needs(Right::Note), "no role gives the right \"note\" here");
    let gate = GateAsk { kind: "remediate", requester: "x", four_eyes: true, roles: &[] };
    let mut state = incident();
    state.set_severity(harmony_incidents::log::Severity::P2);
    assert_eq!(access.may_decide(&approver, GateRight::Approve, &org, &state, gate), Ok(()));
    state.set_severity(harmony_incidents::log::Severity::P1);
    let explanation = "nothing is approved for a P1 today".to_owned();
    assert_eq!(
        access.may_decide(&approver, GateRight::Approve, &org, &state, gate),
        Err(Denied::Forbidden { because: "freeze".to_owned(), explanation })
    );
    assert_eq!(
        access.may_decide(&approver, GateRight::Reject, &org, &state, gate),
        Err(Denied::NotPermitted)
    );
}
