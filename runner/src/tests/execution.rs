//! How cells end, what they see and what they hand on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::{
    eventually, is_alive, outcome, outcome_of, outcome_until, pids_in, run_of, stdout_of, variables,
};
use crate::{CellRun, Ended, ParseError, Progress, Runner};

fn with_timeout(commands: &str, millis: u64) -> CellRun {
    CellRun { timeout: Duration::from_millis(millis), ..run_of(commands) }
}

fn with_secret(commands: &str, secret: &str) -> CellRun {
    CellRun {
        secrets: BTreeMap::from([("TOKEN".to_owned(), SecretString::from(secret))]),
        ..run_of(commands)
    }
}

#[tokio::test]
async fn exit_code_and_streams_are_kept_apart() {
    let outcome = outcome("echo out; echo err >&2; cat; exit 3").await;
    assert_eq!(outcome.ended, Ended::Exited(3));
    assert_eq!((outcome.stdout_tail.as_str(), outcome.stderr_tail.as_str()), ("out\n", "err\n"));
    assert_eq!(outcome.output_bytes, 8);
}

#[tokio::test]
async fn cells_run_as_runme_runs_them() {
    assert_eq!(outcome("false; echo unreachable").await.ended, Ended::Exited(1));
    assert_eq!(outcome("false | true; echo unreachable").await.stdout_tail, "");
    assert_eq!(outcome("set +e; false").await.ended, Ended::Exited(1));
    assert_eq!(outcome("return 4").await.ended, Ended::Exited(4));
    assert_eq!(outcome("kill -9 $$").await.ended, Ended::Signalled(9));
    assert_eq!(outcome("exec bash -c 'exit 5'").await.ended, Ended::Exited(5));
    let syntax = outcome("echo one\nif then").await;
    assert_eq!(syntax.ended, Ended::Exited(2));
    assert!(syntax.stderr_tail.starts_with("cell.sh: line 2: syntax error"), "{}", syntax.stderr_tail);
    // The watcher of the wrapper is no job of the cell.
    let jobs = stdout_of(run_of("sleep 0.1 & wait; jobs; echo \"[${1:-}]\"; wait -n || echo none")).await;
    assert_eq!(jobs, "[]\nnone\n");
}

#[tokio::test]
async fn time_out_ends_every_process_of_the_cell() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let commands = format!(
        "echo started; sleep 60 & echo $! >>{0}\n\
         timeout 60 sleep 61 & echo $! >>{0}\n\
         setsid sleep 62 & sleep 0.1; pgrep -f 'sleep 62' >/dev/null || :; echo $! >>{0}\nsleep 63",
        pids.display()
    );
    let outcome = outcome_of(with_timeout(&commands, 600)).await;
    assert_eq!(outcome.ended, Ended::TimedOut);
    assert_eq!(outcome.stdout_tail, "started\n");
    assert!(outcome.duration < Duration::from_secs(2), "{:?}", outcome.duration);
    for pid in pids_in(&pids, 3) {
        eventually("processes ended", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn cell_that_ignores_sigterm_is_killed_after_the_grace() {
    let outcome = outcome_of(with_timeout("trap '' TERM; while :; do sleep 0.2; done", 200)).await;
    assert_eq!(outcome.ended, Ended::TimedOut);
    let seconds = outcome.duration.as_secs_f64();
    assert!((5.0..7.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn stop_lets_the_cell_clean_up() {
    let stop = tokio::time::sleep(Duration::from_millis(300));
    let commands = "trap 'sleep 0.3; echo cleaned; exit 0' TERM; export A=1; sleep 60 & wait";
    let outcome = outcome_until(run_of(commands), stop).await;
    assert_eq!(outcome.ended, Ended::Cancelled);
    assert_eq!(outcome.stdout_tail, "cleaned\n");
    assert_eq!(outcome.exported, BTreeMap::new());
    assert!(outcome.duration < Duration::from_secs(3), "{:?}", outcome.duration);
}

#[tokio::test]
async fn cell_that_may_not_run_any_more_is_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("started");
    let commands = format!("touch {}", file.display());
    let stopped = outcome_until(run_of(&commands), std::future::ready(())).await;
    assert_eq!(stopped.ended, Ended::Cancelled);
    let late = outcome_of(with_timeout(&commands, 0)).await;
    assert_eq!(late.ended, Ended::TimedOut);
    assert!(!file.exists());
}

#[tokio::test]
async fn own_timeout_of_a_cell_shortens_the_run() {
    let run =
        CellRun { snapshot: "```sh { name=it timeout=200ms }\nsleep 60\n```\n".to_owned(), ..run_of("") };
    assert_eq!(outcome_of(run).await.ended, Ended::TimedOut);
    let forever = CellRun { timeout: Duration::MAX, ..run_of(":") };
    assert_eq!(outcome_of(forever).await.ended, Ended::Exited(0));
}

#[tokio::test]
async fn child_in_the_background_does_not_hold_up_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let commands = format!(
        "(trap '' TERM HUP; sleep 60) & echo $! >>{0}\nset -m; sleep 61 & echo $! >>{0}\necho done",
        pids.display()
    );
    let outcome = outcome(&commands).await;
    assert_eq!((outcome.ended, outcome.stdout_tail.as_str()), (Ended::Exited(0), "done\n"));
    assert!(outcome.duration < Duration::from_secs(2), "{:?}", outcome.duration);
    for pid in pids_in(&pids, 2) {
        eventually("children killed", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn daemon_in_its_own_session_outlives_a_cell_that_ended_well() {
    let outcome = outcome("setsid sleep 5 & echo $!; sleep 0.2").await;
    assert_eq!(outcome.ended, Ended::Exited(0));
    assert!(outcome.duration < Duration::from_secs(3), "{:?}", outcome.duration);
    assert!(is_alive(outcome.stdout_tail.trim()));
}

#[tokio::test]
async fn dropping_the_run_kills_the_cell() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let commands = format!("echo $$ >>{0}; sleep 60 & echo $! >>{0}; wait", pids.display());
    let run = outcome_of(run_of(&commands));
    assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err());
    for pid in pids_in(&pids, 2) {
        eventually("cell killed", || !is_alive(&pid));
    }
}

#[tokio::test]
async fn exported_variables_carry_on() {
    for commands in [
        "export A='1\n2 \"x\"' B=; C=not-exported; PATH=$PATH:/x",
        "export A='1\n2 \"x\"' B=; PATH=$PATH:/x; exit 0",
        "trap 'echo bye' EXIT; export A='1\n2 \"x\"' B=; PATH=$PATH:/x; exit",
        "set -Cfeux; IFS=,; trap : EXIT; export A='1\n2 \"x\"' B=; PATH=$PATH:/x",
        "cd /; export A='1\n2 \"x\"' B=; PATH=$PATH:/x; (exit 7) || (export D=1; exit 0)",
    ] {
        let run = CellRun { env: variables(&[("PATH", "/usr/bin:/bin"), ("SAME", "1")]), ..run_of(commands) };
        let outcome = outcome_of(run).await;
        assert_eq!(outcome.ended, Ended::Exited(0), "{commands}: {outcome:?}");
        let expected = variables(&[("A", "1\n2 \"x\""), ("B", ""), ("PATH", "/usr/bin:/bin:/x")]);
        assert_eq!(outcome.exported, expected, "{commands}");
        let next = CellRun {
            carried: outcome.exported,
            env: variables(&[("A", "old")]),
            ..run_of("printf '%s|' \"$A\" \"$B\"")
        };
        assert_eq!(stdout_of(next).await, "1\n2 \"x\"||");
    }
    assert_eq!(outcome("export A=1; exit 1").await.exported, BTreeMap::new());
    assert_eq!(outcome("export A=1; false").await.exported, BTreeMap::new());
}

#[tokio::test]
async fn variables_that_cannot_carry_on_are_named() {
    let commands = "export COPY=\"Bearer $TOKEN\" CODED=$(printf %s \"$TOKEN\" | base64) TOKEN=other\n\
        export BIG=$(head -c 17000 /dev/zero | tr '\\0' x) LATIN=$'\\xe9' OK=1; printf 'no newline' >&2";
    let outcome = outcome_of(with_secret(commands, "hunter2-hunter2")).await;
    assert_eq!(outcome.exported, variables(&[("OK", "1")]));
    assert_eq!(
        outcome.stderr_tail,
        "no newline\n\
         [harmony] BIG is not carried on: there is more than 16 KiB in all\n\
         [harmony] CODED is not carried on: it contains a secret\n\
         [harmony] COPY is not carried on: it contains a secret\n\
         [harmony] LATIN is not carried on: it is not UTF-8\n"
    );
}

#[tokio::test]
async fn only_allowed_variables_of_the_worker_are_seen() {
    // Cargo sets these for every test; they stand for the worker's own.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let names = stdout_of(run_of("env | sed 's/=.*//' | sort")).await;
    let allowed =
        ["HARMONY_CELL_RUN", "HOME", "LANG", "LC_ALL", "OLDPWD", "PATH", "PWD", "SHLVL", "TMPDIR", "TZ", "_"];
    for name in names.lines() {
        assert!(allowed.contains(&name), "{name}");
    }
    let runner = Runner::new(vec!["CARGO_PKG_NAME".to_owned()]);
    let (progress, _) = tokio::sync::watch::channel(Progress::default());
    let run = run_of("echo \"$CARGO_PKG_NAME${CARGO_MANIFEST_DIR:-}\"");
    let outcome = runner.run_cell(run, progress, std::future::pending()).await.unwrap();
    assert_eq!(outcome.stdout_tail, "harmony-runner\n");
}

#[tokio::test]
async fn later_sources_of_the_environment_win() {
    let run = CellRun {
        env: variables(&[("A", "env"), ("B", "env"), ("HOME", "/plan")]),
        carried: variables(&[("B", "carried"), ("TOKEN", "carried")]),
        ..with_secret("echo $A $B $HOME ${#TOKEN}", "secret-value")
    };
    assert_eq!(stdout_of(run).await, "env carried /plan 12\n");
}

#[tokio::test]
async fn what_cannot_start_says_why_and_shows_no_value() {
    let bad_name = CellRun { env: variables(&[("A-B", "value")]), ..run_of(":") };
    let bad_value = with_secret(":", "se\0cret");
    let bad_workdir = CellRun { workdir: "/nonexistent".into(), ..run_of(":") };
    for (run, expected) in [
        (bad_name, "\"A-B\" is not the name of a variable"),
        (bad_value, "the value of TOKEN contains a NUL"),
        (bad_workdir, "did not start in /nonexistent"),
    ] {
        let Ended::CouldNotStart(why) = outcome_of(run).await.ended else { panic!() };
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn unknown_cell_is_an_error() {
    let (progress, _) = tokio::sync::watch::channel(Progress::default());
    let run = CellRun { cell: "nope".to_owned(), ..run_of(":") };
    let error = Runner::new(Vec::new()).run_cell(run, progress, std::future::pending()).await;
    let known = vec!["it".to_owned()];
    assert_eq!(error, Err(ParseError::NoSuchCell { name: "nope".to_owned(), known }));
}

#[tokio::test]
async fn nothing_is_left_in_the_temporary_directory() {
    let dir = stdout_of(run_of("echo $HARMONY_CELL_RUN; stat -c %a \"$HARMONY_CELL_RUN\"")).await;
    let (path, mode) = dir.trim().split_once('\n').unwrap();
    assert_eq!(mode, "700");
    assert!(!std::path::Path::new(path).exists());
}

#[tokio::test]
async fn many_cells_run_side_by_side() {
    let started = Instant::now();
    let runs = (0..8).map(|n| {
        tokio::spawn(super::outcome_of(run_of(match n % 2 {
            0 => "sleep 0.5; export N=$$; echo $$",
            _ => "sleep 60 & echo $$",
        })))
    });
    for run in runs.collect::<Vec<_>>() {
        let outcome = run.await.unwrap();
        assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(8));
}
