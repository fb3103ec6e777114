//! Windows against an oracle that looks at every minute, and verdicts of several policies together.

use harmony_incidents::{
    authority::{Access, Denied, EnvironmentAsk},
    directory::Directory,
    ids::OrgId,
    log::{IncidentState, Responder, Severity, State},
};
use jiff::{
    Timestamp, ToSpan,
    civil::{DateTime, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;

use super::*;
use crate::words::PolicyOutcome;

fn policy(text: &str) -> EnvironmentPolicy {
    EnvironmentPolicy::parse("test.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn policies(texts: &[&str]) -> EnvironmentPolicies {
    EnvironmentPolicies::new(texts.iter().map(|text| policy(text))).unwrap()
}

fn ask<'a>(refs: &'a [String], at: &str) -> ReleaseQuestion<'a> {
    ReleaseQuestion { refs, action: ReleaseAction::Deploy, at: at.parse().unwrap(), rollback: None }
}

fn refs(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// An instant of a zone's clock that it shows once.
fn local(zone: &str, shown: &str) -> Timestamp {
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    zone.to_ambiguous_timestamp(shown.parse().unwrap()).unambiguous().unwrap()
}

const WEEKDAY: &str = r#"
kind = "change-window"
name = "weekday"
version = 1
zone = "Europe/Berlin"
[[weekly]]
days = ["mon-fri"]
from = "09:00"
to = "17:00"
"#;

const YEAR_END: &str = r#"
kind = "freeze"
name = "year-end"
version = 1
zone = "Europe/Berlin"
[[dates]]
from = "12-20"
to = "01-03"
"#;

const PEOPLE: &str = r#"
kind = "approval"
name = "people"
version = 1
[[levels]]
roles = ["incident-manager"]
within = "4h"
"#;

mod files {
    use super::*;

    #[test]
    fn samples_are_policies() {
        for (file, text) in [
            ("weekday.toml", include_str!("../../../policies/environments/weekday.toml")),
            ("year-end.toml", include_str!("../../../policies/environments/year-end.toml")),
        ] {
            let policy = EnvironmentPolicy::parse(file, text).unwrap();
            assert_eq!(format!("{}.toml", policy.reference.name()), file);
            assert!(!policy.description.is_empty());
        }
    }

    #[test]
    fn highest_version_counts_and_one_version_stands_once() {
        let later = WEEKDAY.replace("version = 1", "version = 2").replace("17:00", "18:00");
        let both = policies(&[&later, WEEKDAY]);
        let reference = "policy:change-window:weekday".parse().unwrap();
        assert_eq!(both.get(&reference).unwrap().version, 2);
        assert_eq!(both.in_force().map(|policy| policy.version).collect::<Vec<_>>(), [2]);
        let twice = EnvironmentPolicies::new([policy(WEEKDAY), policy(WEEKDAY)]).unwrap_err();
        assert_eq!(twice.to_string(), "policy:change-window:weekday has version 1 twice");
    }

    #[test]
    fn toml_times_and_dates_need_no_quotes() {
        let quoted =
            policy(&format!("{WEEKDAY}[[dates]]\nfrom = \"2026-12-20\"\nto = \"2026-12-24T18:00\"\n"));
        let bare = WEEKDAY.replace("\"09:00\"", "09:00:00").replace("\"17:00\"", "17:00:00");
        assert_eq!(
            policy(&format!("{bare}[[dates]]\nfrom = 2026-12-20\nto = 2026-12-24T18:00:00\n")),
            quoted
        );
    }

    #[test]
    fn what_is_wrong_names_file_line_and_key() {
        let head = "kind = \"freeze\"\nname = \"a\"\nversion = 1\nzone = \"UTC\"\n";
        let weekly = "[[weekly]]\ndays = [\"mon\"]\nfrom = \"09:00\"\nto = \"17:00\"\n";
        let cases = [
            ("kind = ".to_owned(), "a.toml:1: "),
            ("kind = \"thaw\"\n".to_owned(), "a.toml:1: kind: unknown variant `thaw`"),
            (format!("{head}surprise = 1\n"), "a.toml:5: surprise: unknown field `surprise`"),
            (head.replace("version = 1", "version = 0") + weekly, "a.toml:3: version: a number from 1"),
            (head.replace("\"a\"", "\"a b\"") + weekly, "a.toml:2: name: a policy's name is 1 to 64"),
            (head.replace("UTC", "Mars/Base") + weekly, "a.toml:4: zone: \"Mars/Base\" is not a time zone"),
            (head.to_owned(), "a.toml: says no time: add [[weekly]]"),
            (head.replace("zone = \"UTC\"\n", "") + weekly, "a.toml: zone: missing: whose clock it is"),
            (format!("{head}mode = \"maybe\"\n{weekly}"), "a.toml:5: mode: unknown variant `maybe`"),
            (
                head.to_owned() + &weekly.replace("17:00", "25:00"),
                "a.toml:8: weekly[0].to: \"25:00\" is not a time of day",
            ),
            (
                head.to_owned() + &weekly.replace("17:00", "09:00"),
                "a.toml:5: weekly[0].to: the same time as `from`",
            ),
            (
                head.to_owned() + &weekly.replace("mon", "monday"),
                "a.toml:6: weekly[0].days[0]: \"monday\" is not a day or days",
            ),
            (
                head.to_owned() + &weekly.replace("[\"mon\"]", "[]"),
                "a.toml:5: weekly[0].days: name one day at least",
            ),
            (
                format!("{head}[[dates]]\nfrom = \"2026-02-30\"\nto = \"2026-03-01\"\n"),
                "a.toml:6: dates[0].from: \"2026-02-30\" is not a date",
            ),
            (
                format!("{head}{weekly}[[dates]]\nfrom = \"2026-03-02\"\nto = \"2026-03-01\"\n"),
                "a.toml:9: dates[0].to: before `from`",
            ),
            (
                format!("{head}[[dates]]\nfrom = \"12-20\"\nto = \"2027-01-03\"\n"),
                "a.toml:5: dates[0].to: with a year where `from` has one",
            ),
            (
                format!("{head}[[cron]]\nstart = \"0 9 * *\"\nduration = \"1h\"\n"),
                "a.toml:6: cron[0].start: \"0 9 * *\" has 4 fields",
            ),
            (
                format!("{head}[[cron]]\nstart = \"* * * * *\"\nduration = \"1h\"\n"),
                "a.toml:5: cron: begins more than 48 times a day",
            ),
            (
                format!("{head}[[cron]]\nstart = \"0 9 * * *\"\nduration = \"0s\"\n"),
                "a.toml:5: cron[0].duration: a time from \"1m\" to 31 days",
            ),
            (format!("{head}actions = []\n{weekly}"), "a.toml:5: actions: \"deploy\", \"promote\" or both"),
            (format!("{head}levels = []\n{weekly}"), "a.toml:5: levels: needs one level at least"),
            (
                format!("{head}{weekly}[[levels]]\nroles = [\"org-admin\"]\nwithin = \"1h\"\n"),
                "a.toml:9: levels: nobody is asked unless mode is \"gate\"",
            ),
            (
                "kind = \"approval\"\nname = \"a\"\nversion = 1\n".to_owned(),
                "a.toml: levels: an approval says who is asked",
            ),
            (format!("{PEOPLE}zone = \"UTC\"\n"), "a.toml:8: levels[0].zone: unknown field `zone`"),
            (
                PEOPLE.replace("version = 1\n", "version = 1\nmode = \"wait\"\n"),
                "a.toml:5: mode: an approval always has a gate",
            ),
            (format!("{PEOPLE}{weekly}"), "a.toml: an approval has no weekly, dates or cron"),
        ];
        let mut wrong = String::new();
        for (text, expected) in cases {
            let error = EnvironmentPolicy::parse("a.toml", &text).unwrap_err().to_string();
            if !error.starts_with(expected) {
                wrong.push_str(&format!("{text}\ngives {error}\nand not {expected}\n\n"));
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}

mod verdicts {
    use super::*;

    #[test]
    fn environment_without_policies_is_open() {
        let verdict = EnvironmentPolicies::default().judge(ask(&[], "2026-11-28T03:00:00Z"));
        assert_eq!((verdict.open, verdict.outcome), (true, PolicyOutcome::Proceed));
        assert_eq!((verdict.by, verdict.next_open), (None, None));
    }

    #[test]
    fn window_says_when_it_opens_next() {
        let all = policies(&[WEEKDAY]);
        let names = refs(&["policy:change-window:weekday"]);
        // A Saturday.
        let verdict = all.judge(ask(&names, "2026-11-28T10:00:00Z"));
        insta::assert_json_snapshot!(verdict, @r#"
        {
          "open": false,
          "reason": "outside policy:change-window:weekday; the environment opens 2026-11-30 09:00 CET",
          "by": "policy:change-window:weekday",
          "nextOpen": "2026-11-30T08:00:00Z",
          "outcome": "refuse",
          "mode": "refuse",
          "policies": [
            {
              "ref": "policy:change-window:weekday",
              "version": 1,
              "open": false,
              "mode": "refuse",
              "reason": "outside the window",
              "nextOpen": "2026-11-30T08:00:00Z"
            }
          ],
          "action": "deploy",
          "at": "2026-11-28T10:00:00Z"
        }
        "#);
        let recorded = verdict.recorded();
        assert_eq!((recorded[0].by.as_str(), recorded[0].mode.as_str()), ("version 1", "refuse"));
        assert_eq!(recorded[0].next_open_us, 1_796_025_600_000_000);
        assert!(all.judge(ask(&names, "2026-11-30T08:00:00Z")).open);
        assert!(!all.judge(ask(&names, "2026-11-30T16:00:00Z")).open, "the end is not inside");
    }

    #[test]
    fn freeze_beats_a_window_and_the_next_opening_is_of_both() {
        let all = policies(&[WEEKDAY, YEAR_END]);
        let names = refs(&["policy:change-window:weekday", "policy:freeze:year-end"]);
        // A Monday at noon, then the Sunday on which the freeze ends.
        for at in ["2026-12-28T11:00:00Z", "2027-01-03T11:00:00Z"] {
            let verdict = all.judge(ask(&names, at));
            assert_eq!(verdict.by.as_deref(), Some("policy:freeze:year-end"), "{at}");
            assert_eq!(verdict.next_open, Some("2027-01-04T08:00:00Z".parse().unwrap()), "{at}");
        }
        let verdict = all.judge(ask(&names, "2026-12-18T22:00:00Z"));
        assert_eq!(verdict.by.as_deref(), Some("policy:change-window:weekday"));
        assert_eq!(verdict.next_open, Some("2027-01-04T08:00:00Z".parse().unwrap()), "over the freeze");
    }

    #[test]
    fn strictest_mode_decides() {
        let wait = WEEKDAY.replace("version = 1", "version = 1\nmode = \"wait\"");
        let gate = YEAR_END.replace("version = 1", "version = 1\nmode = \"gate\"");
        let names =
            refs(&["policy:change-window:weekday", "policy:freeze:year-end", "policy:approval:people"]);
        let night = "2026-12-28T22:00:00Z";
        let step = |texts: &[&str], at| policies(texts).judge(ask(&names, at)).outcome;
        assert_eq!(step(&[&wait, &gate, PEOPLE], night), PolicyOutcome::Wait);
        assert_eq!(step(&[WEEKDAY, &gate, PEOPLE], night), PolicyOutcome::Refuse);
        assert_eq!(step(&[&wait, &gate, PEOPLE], "2026-12-28T11:00:00Z"), PolicyOutcome::Gate);
        assert_eq!(step(&[&wait, YEAR_END, PEOPLE], night), PolicyOutcome::Refuse);
    }

    #[test]
    fn every_policy_that_asks_has_its_gate() {
        let gate = YEAR_END.replace("version = 1", "version = 1\nmode = \"gate\"");
        let all = policies(&[WEEKDAY, &gate, PEOPLE]);
        let names =
            refs(&["policy:change-window:weekday", "policy:freeze:year-end", "policy:approval:people"]);
        let verdict = all.judge(ask(&names, "2026-12-28T11:00:00Z"));
        assert_eq!((verdict.open, verdict.mode), (false, Some(Mode::Gate)));
        let order: Vec<_> = verdict.policies.iter().map(|one| one.reference.clone()).collect();
        assert_eq!(order, names);
        let by: Vec<_> = verdict.gates.iter().map(|gate| (gate.by.join(" "), gate.levels.len())).collect();
        assert_eq!(by, [("policy:freeze:year-end".to_owned(), 0), ("policy:approval:people".to_owned(), 1)]);
        // With the window open and no freeze the approval is all that is left.
        let verdict = all.judge(ask(&names, "2026-11-30T11:00:00Z"));
        assert_eq!((verdict.open, verdict.outcome), (true, PolicyOutcome::Gate));
        assert_eq!(verdict.by.as_deref(), Some("policy:approval:people"));
        assert_eq!(verdict.gates.len(), 1);
    }

    #[test]
    fn policy_of_promotions_says_nothing_about_deployments() {
        let only = PEOPLE.replace("version = 1", "version = 1\nactions = [\"promote\"]");
        let all = policies(&[&only]);
        let names = refs(&["policy:approval:people"]);
        let deploy = ask(&names, "2026-11-30T11:00:00Z");
        assert_eq!(all.judge(deploy).outcome, PolicyOutcome::Proceed);
        let promote = ReleaseQuestion { action: ReleaseAction::Promote, ..deploy };
        assert_eq!(all.judge(promote).outcome, PolicyOutcome::Gate);
    }

    #[test]
    fn unknown_reference_is_a_warning_when_written_and_a_refusal_when_acted_on() {
        let all = policies(&[WEEKDAY]);
        let names = refs(&["policy:change-window:weekday", "policy:freeze:gone", "weekday"]);
        let warnings = all.warnings(&names);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with("\"policy:freeze:gone\": no policy file has kind = \"freeze\""));
        assert!(warnings[1].starts_with("\"weekday\": expected policy:<kind>:<name>"));
        // Inside the window, and by a responder of a P1.
        let incident = incident(Severity::P1, State::Open);
        let rollback = Some(RollbackClaim { incident: &incident, actor: "grace" });
        let verdict = all.judge(ReleaseQuestion { rollback, ..ask(&names, "2026-11-30T11:00:00Z") });
        assert_eq!((verdict.open, verdict.outcome), (false, PolicyOutcome::Refuse));
        assert_eq!(verdict.by.as_deref(), Some("policy:freeze:gone"));
        assert_eq!((verdict.next_open, verdict.excepted), (None, None));
    }

    fn incident(severity: Severity, state: State) -> IncidentState {
        IncidentState {
            incident: "INC-2026-0042".to_owned(),
            severity: severity.into(),
            state: state.into(),
            responders: vec![Responder { principal: "grace".to_owned(), ..Responder::default() }],
            ..IncidentState::default()
        }
    }

    #[test]
    fn rollback_for_an_open_severe_incident_gets_a_gate_where_it_would_be_refused() {
        let names = refs(&["policy:freeze:year-end"]);
        let wait = YEAR_END.replace("version = 1", "version = 1\nmode = \"wait\"");
        for file in [YEAR_END, &wait] {
            let all = policies(&[file]);
            let judge = |severity, state, actor| {
                let incident = incident(severity, state);
                let rollback = Some(RollbackClaim { incident: &incident, actor });
                all.judge(ReleaseQuestion { rollback, ..ask(&names, "2026-12-28T11:00:00Z") })
            };
            let verdict = judge(Severity::P2, State::Mitigating, "grace");
            assert_eq!((verdict.open, verdict.outcome), (false, PolicyOutcome::Gate));
            assert_eq!(verdict.gates[0].by, ["policy:freeze:year-end"]);
            assert!(
                verdict.reason.contains("INC-2026-0042 (P2) by its responder grace"),
                "{}",
                verdict.reason
            );
            let excepted = verdict.excepted.unwrap();
            assert_eq!((excepted.incident.as_str(), excepted.responder.as_str()), ("INC-2026-0042", "grace"));
            for (verdict, expected) in [
                (judge(Severity::P3, State::Open, "grace"), "INC-2026-0042 is P3"),
                (judge(Severity::P1, State::Resolved, "grace"), "INC-2026-0042 is RESOLVED"),
                (judge(Severity::P1, State::Cancelled, "grace"), "INC-2026-0042 is CANCELLED"),
                (judge(Severity::P1, State::Open, "mallory"), "mallory is no responder of INC-2026-0042"),
                (judge(Severity::P1, State::Open, ""), " is no responder of INC-2026-0042"),
            ] {
                assert!(matches!(verdict.outcome, PolicyOutcome::Refuse | PolicyOutcome::Wait), "{expected}");
                assert_eq!((verdict.excepted, verdict.gates), (None, vec![]), "{expected}");
                assert!(verdict.reason.contains(expected), "{}", verdict.reason);
            }
        }
    }

    #[test]
    fn window_that_never_opens_says_so() {
        let past = r#"
            kind = "change-window"
            name = "past"
            version = 1
            zone = "UTC"
            dates = [{ from = "2020-01-01", to = "2020-01-02" }]
        "#;
        let names = refs(&["policy:change-window:past"]);
        let verdict = policies(&[past]).judge(ask(&names, "2026-11-28T10:00:00Z"));
        assert_eq!(verdict.next_open, None);
        assert!(verdict.reason.ends_with("does not open within 400 days"), "{}", verdict.reason);
    }

    #[test]
    fn cedar_has_the_last_word() {
        let all = policies(&[YEAR_END]);
        let names = refs(&["policy:freeze:year-end"]);
        let access = Access::default();
        let file = "[[principal]]\nid = \"grace\"\nroles = { default = [\"deployer\"] }\n\n\
                    [[principal]]\nid = \"rosa\"\nroles = { default = [\"incident-responder\"] }\n\n\
                    [[principal]]\nid = \"vera\"\nroles = { default = [\"incident-viewer\"] }\n";
        let directory = Directory::parse(file).unwrap();
        let org = OrgId::default();
        let may = |access: &Access, who: &str, verdict: &ReleaseVerdict| {
            access.may_release(directory.get(who).unwrap(), &org, verdict.request("env-prod", true, false))
        };
        let open = all.judge(ask(&names, "2026-11-28T11:00:00Z"));
        let frozen = all.judge(ask(&names, "2026-12-28T11:00:00Z"));
        assert_eq!(may(&access, "grace", &open), Ok(()));
        assert_eq!(may(&access, "vera", &open), Err(Denied::NotPermitted));
        let Err(Denied::Forbidden { because, .. }) = may(&access, "grace", &frozen) else { panic!("frozen") };
        assert_eq!(because, "closed-environment");
        let incident = incident(Severity::P1, State::Open);
        let rollback = Some(RollbackClaim { incident: &incident, actor: "grace" });
        let excepted = all.judge(ReleaseQuestion { rollback, ..ask(&names, "2026-12-28T11:00:00Z") });
        assert_eq!(may(&access, "grace", &excepted), Ok(()), "at its gate people decide");
        // A responder may not deploy, and may roll back.
        let rollback = |verdict: &ReleaseVerdict, rollback: bool| {
            let ask = EnvironmentAsk { rollback, ..verdict.request("env-prod", true, false) };
            access.may_release(directory.get("rosa").unwrap(), &org, ask)
        };
        assert_eq!(rollback(&open, false), Err(Denied::NotPermitted));
        assert_eq!(rollback(&open, true), Ok(()));
        assert_eq!(rollback(&excepted, true), Ok(()));
        assert!(matches!(rollback(&frozen, true), Err(Denied::Forbidden { .. })));
        // Nobody deploys in another organisation.
        let elsewhere = "elsewhere".parse().unwrap();
        let other = access.may_release(
            directory.get("grace").unwrap(),
            &elsewhere,
            open.request("env-prod", true, false),
        );
        assert!(matches!(other, Err(Denied::Forbidden { because, .. }) if because == "missing-role"));
        // An installation's own policy may go further.
        let own = format!(
            "{}\n@because(\"house-rule: no\")\nforbid (principal, action == Harmony::Action::\"deploy\", resource is Harmony::Environment)\nwhen {{ context.production && context.excepted }};\n",
            include_str!("../../../incidents/src/authority/policies.cedar")
        );
        let own = Access::parse(&own).unwrap();
        assert!(
            matches!(may(&own, "grace", &excepted), Err(Denied::Forbidden { because, .. }) if because == "house-rule")
        );
    }
}

mod daylight_saving {
    use super::*;

    /// Is it inside, at each of these instants of UTC?
    fn check(text: &str, expected: &[(&str, bool)]) {
        let policy = policy(text);
        for (at, inside) in expected {
            assert_eq!(policy.is_open(at.parse().unwrap()), *inside, "{at}");
        }
    }

    fn berlin(rule: &str) -> String {
        format!("kind = \"change-window\"\nname = \"a\"\nversion = 1\nzone = \"Europe/Berlin\"\n{rule}")
    }

    #[test]
    fn hours_that_are_skipped_are_in_no_window() {
        // On 29 March 2026 the clock in Berlin goes from 02:00 to 03:00, which is 01:00 UTC.
        let text = berlin("[[weekly]]\ndays = [\"sun\"]\nfrom = \"01:30\"\nto = \"03:30\"\n");
        check(
            &text,
            &[
                ("2026-03-29T00:29:00Z", false),
                ("2026-03-29T00:30:00Z", true),
                ("2026-03-29T00:59:00Z", true),
                ("2026-03-29T01:00:00Z", true),
                ("2026-03-29T01:29:00Z", true),
                ("2026-03-29T01:30:00Z", false),
            ],
        );
        // A window inside the hour that does not exist is not there that day; the next one is a week later.
        let skipped = berlin("[[weekly]]\ndays = [\"sun\"]\nfrom = \"02:10\"\nto = \"02:50\"\n");
        let all = policies(&[&skipped]);
        let names = refs(&["policy:change-window:a"]);
        let verdict = all.judge(ask(&names, "2026-03-28T12:00:00Z"));
        assert_eq!(verdict.next_open, Some(local("Europe/Berlin", "2026-04-05T02:10")));
        // One that begins in it begins when the clock is put forward.
        let begins = berlin("[[weekly]]\ndays = [\"sun\"]\nfrom = \"02:30\"\nto = \"04:00\"\n");
        let verdict = policies(&[&begins]).judge(ask(&names, "2026-03-28T12:00:00Z"));
        assert_eq!(verdict.next_open, Some("2026-03-29T01:00:00Z".parse().unwrap()));
    }

    #[test]
    fn hours_that_are_shown_twice_count_twice() {
        // On 25 October 2026 the clock in Berlin goes from 03:00 back to 02:00, which is 01:00 UTC.
        let text = berlin("[[weekly]]\ndays = [\"sun\"]\nfrom = \"02:15\"\nto = \"02:45\"\n");
        check(
            &text,
            &[
                ("2026-10-25T00:14:00Z", false),
                ("2026-10-25T00:15:00Z", true),
                ("2026-10-25T00:45:00Z", false),
                ("2026-10-25T01:00:00Z", false),
                ("2026-10-25T01:15:00Z", true),
                ("2026-10-25T01:45:00Z", false),
            ],
        );
    }

    #[test]
    fn cron_lasts_as_long_as_it_says_over_a_change() {
        // Begins at 22:00 the evening before either change, for eight hours that pass.
        let text = berlin("[[cron]]\nstart = \"0 22 * * sat\"\nduration = \"8h\"\n");
        check(
            &text,
            &[
                ("2026-03-28T20:59:00Z", false),
                ("2026-03-28T21:00:00Z", true),
                ("2026-03-29T04:59:00Z", true),
                ("2026-03-29T05:00:00Z", false),
                ("2026-10-24T20:00:00Z", true),
                ("2026-10-25T03:59:00Z", true),
                ("2026-10-25T04:00:00Z", false),
            ],
        );
    }

    #[test]
    fn cron_begins_even_where_its_time_is_skipped_and_both_times_where_it_is_shown_twice() {
        let text = berlin("[[cron]]\nstart = \"30 2 * * *\"\nduration = \"10m\"\n");
        check(
            &text,
            &[
                ("2026-03-29T01:29:00Z", false),
                ("2026-03-29T01:30:00Z", true),
                ("2026-03-29T01:40:00Z", false),
                ("2026-10-25T00:30:00Z", true),
                ("2026-10-25T00:40:00Z", false),
                ("2026-10-25T01:30:00Z", true),
                ("2026-10-25T01:40:00Z", false),
            ],
        );
    }

    #[test]
    fn zone_of_half_an_hour_and_a_day_that_is_not_there() {
        // Lord Howe puts its clock back by half an hour: 02:00 to 01:30 on 5 April 2026, 15:00 UTC the day before.
        let text = berlin("[[weekly]]\ndays = [\"sun\"]\nfrom = \"01:30\"\nto = \"02:00\"\n")
            .replace("Europe/Berlin", "Australia/Lord_Howe");
        check(
            &text,
            &[
                ("2026-04-04T14:29:00Z", false),
                ("2026-04-04T14:30:00Z", true),
                ("2026-04-04T15:00:00Z", true),
                ("2026-04-04T15:29:00Z", true),
                ("2026-04-04T15:30:00Z", false),
            ],
        );
        // Samoa had no 30 December 2011; the last minute of the 29th is followed by the 31st.
        let text = berlin("[[dates]]\nfrom = \"2011-12-30\"\nto = \"2011-12-30\"\n")
            .replace("Europe/Berlin", "Pacific/Apia");
        check(&text, &[("2011-12-30T09:59:00Z", false), ("2011-12-30T10:00:00Z", false)]);
        let names = refs(&["policy:change-window:a"]);
        assert_eq!(policies(&[&text]).judge(ask(&names, "2011-12-29T00:00:00Z")).next_open, None);
    }
}

/// The zones of the oracle, and instants a few days before each of two changes of their clocks.
const ZONES: [(&str, [&str; 2]); 4] = [
    ("Europe/Berlin", ["2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z"]),
    ("America/New_York", ["2026-03-06T00:00:00Z", "2026-10-30T00:00:00Z"]),
    ("Australia/Lord_Howe", ["2026-04-02T00:00:00Z", "2026-10-01T00:00:00Z"]),
    ("UTC", ["2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z"]),
];

/// Minutes that the oracle looks at from there.
const MINUTES: i64 = 6 * 24 * 60;

/// Rules as somebody reads them, with an answer for one minute of one clock.
#[derive(Debug, Clone)]
enum Written {
    Weekly { first: u8, last: u8, from: u16, to: u16 },
    Dates { from: DateTime, to: DateTime },
}

impl Written {
    fn toml(&self) -> String {
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        match self {
            Self::Weekly { first, last, from, to } => format!(
                "[[weekly]]\ndays = [\"{}-{}\"]\nfrom = \"{}\"\nto = \"{}\"\n",
                clock::DAYS[usize::from(*first)],
                clock::DAYS[usize::from(*last)],
                time(*from),
                time(*to)
            ),
            Self::Dates { from, to } => format!(
                "[[dates]]\nfrom = \"{}\"\nto = \"{}\"\n",
                from.strftime("%Y-%m-%dT%H:%M"),
                to.strftime("%Y-%m-%dT%H:%M")
            ),
        }
    }

    /// Whether a clock that shows this is inside.
    fn holds(&self, shown: DateTime) -> bool {
        match self {
            Self::Dates { from, to } => *from <= shown && shown < *to,
            Self::Weekly { first, last, from, to } => {
                let minute = u16::try_from(i16::from(shown.hour()) * 60 + i16::from(shown.minute())).unwrap();
                let is_on = |day: Weekday| {
                    let mut one = *first;
                    loop {
                        if day.to_monday_zero_offset().unsigned_abs() == one {
                            return true;
                        }
                        if one == *last {
                            return false;
                        }
                        one = (one + 1) % 7;
                    }
                };
                if from < to {
                    return is_on(shown.weekday()) && minute >= *from && minute < *to;
                }
                let before = shown.date().yesterday().unwrap().weekday();
                (is_on(shown.weekday()) && minute >= *from) || (is_on(before) && minute < *to)
            }
        }
    }
}

fn a_rule() -> impl Strategy<Value = Written> {
    let weekly = (0..7u8, 0..7u8, 0..1440u16, 0..=1440u16)
        .prop_filter("the same time", |(_, _, from, to)| from % 1440 != to % 1440)
        .prop_map(|(first, last, from, to)| Written::Weekly { first, last, from, to });
    let near = prop_oneof![Just("2026-03-27T00:00"), Just("2026-10-23T00:00"), Just("2026-04-03T00:00")];
    let dates = (near, 0..8000i64, 1..4000i64).prop_map(|(base, start, length)| {
        let base: DateTime = base.parse().unwrap();
        let from = base.checked_add(start.minutes()).unwrap();
        Written::Dates { from, to: from.checked_add(length.minutes()).unwrap() }
    });
    prop_oneof![3 => weekly, 1 => dates]
}

/// A window and a freeze, of up to three rules each, and a cron window of few minutes.
fn a_policy_file(kind: &str, zone: &str, rules: &[Written]) -> String {
    let rules: String = rules.iter().map(Written::toml).collect();
    format!("kind = \"{kind}\"\nname = \"a\"\nversion = 1\nzone = \"{zone}\"\n{rules}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_minute_over_two_changes_is_as_the_clock_on_the_wall_says(
        (zone, starts) in prop::sample::select(ZONES.to_vec()),
        which in 0..2usize,
        window in prop::collection::vec(a_rule(), 1..4),
        freeze in prop::collection::vec(a_rule(), 0..3),
        offset in 0..2000i64,
    ) {
        let mut files = vec![policy(&a_policy_file("change-window", zone, &window))];
        let mut names = vec!["policy:change-window:a".to_owned()];
        if !freeze.is_empty() {
            files.push(policy(&a_policy_file("freeze", zone, &freeze)));
            names.push("policy:freeze:a".to_owned());
        }
        let all = EnvironmentPolicies::new(files).unwrap();
        let clock: TimeZone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let start: Timestamp = starts[which].parse().unwrap();
        let minute = |number: i64| start.checked_add(number.minutes()).unwrap();
        let expected: Vec<bool> = (0..MINUTES)
            .map(|number| {
                let shown = clock.to_datetime(minute(number));
                window.iter().any(|rule| rule.holds(shown)) && !freeze.iter().any(|rule| rule.holds(shown))
            })
            .collect();
        let question =
            |at| ReleaseQuestion { refs: &names, action: ReleaseAction::Deploy, at, rollback: None };
        let policies: Vec<&EnvironmentPolicy> = all.in_force().collect();
        for (number, expected) in expected.iter().enumerate() {
            let at = minute(i64::try_from(number).unwrap());
            prop_assert_eq!(policies.iter().all(|policy| policy.is_open(at)), *expected, "{}", at);
        }
        // Where the oracle sees an opening, the verdict names that minute.
        let from = usize::try_from(offset).unwrap();
        let verdict = all.judge(question(minute(offset)));
        prop_assert_eq!(verdict.open, expected[from]);
        if !verdict.open && let Some(next) = expected[from..].iter().position(|open| *open) {
            prop_assert_eq!(verdict.next_open, Some(minute(i64::try_from(from + next).unwrap())));
        }
    }

    #[test]
    fn next_opening_is_open_and_the_minute_before_is_not(
        (zone, starts) in prop::sample::select(ZONES.to_vec()),
        rules in prop::collection::vec(a_rule(), 1..4),
        (minute, hours, weekday, lasts) in (0..60u8, 0..12u8, 0..7u8, 1..3000u16),
        frozen_hour in 0..24u8,
        offset in 0..20_000i64,
    ) {
        let cron = format!("[[cron]]\nstart = \"{minute} {hours},{} * * {weekday}\"\nduration = \"{lasts}m\"\n", hours + 12);
        let window = a_policy_file("change-window", zone, &rules) + &cron;
        let freeze = format!(
            "kind = \"freeze\"\nname = \"a\"\nversion = 1\nzone = \"{zone}\"\n[[cron]]\nstart = \"15 {frozen_hour} * * *\"\nduration = \"90m\"\n"
        );
        let all = policies(&[&window, &freeze]);
        let names = refs(&["policy:change-window:a", "policy:freeze:a"]);
        let at = starts[0].parse::<Timestamp>().unwrap().checked_add(offset.minutes()).unwrap();
        let question =
            |at| ReleaseQuestion { refs: &names, action: ReleaseAction::Deploy, at, rollback: None };
        let verdict = all.judge(question(at));
        if !verdict.open {
            let next = verdict.next_open.expect("a weekly window opens");
            prop_assert!(next > at);
            prop_assert!(all.judge(question(next)).open, "{}", next);
            let before = next.checked_sub(1.minutes()).unwrap();
            prop_assert!(!all.judge(question(before)).open, "{}", before);
            prop_assert_eq!(all.judge(question(before)).next_open, Some(next));
        }
    }
}
