//! What a confined cell cannot reach, held by the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;

use tokio::sync::watch;

use super::run_of;
use crate::{CellOutcome, CellRun, Confinement, Progress, Runner, Support};

/// Whether this kernel can be held to it; says so where it cannot.
fn supported(what: &str, is_supported: bool) -> bool {
    if !is_supported {
        assert!(std::env::var_os("CI").is_none(), "{what}: CI runs on a kernel with Landlock");
        eprintln!("SKIPPED: {what}: this kernel has no Landlock for it");
    }
    is_supported
}

async fn run(confinement: Confinement, workdir: &Path, source: &str, env: &[(&str, &str)]) -> CellOutcome {
    let snapshot = format!("```sh {{name=cell}}\n{source}\n```\n");
    let env: BTreeMap<String, String> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let run = CellRun { snapshot, cell: "cell".to_owned(), env, workdir: workdir.to_owned(), ..run_of("") };
    let (sender, _progress) = watch::channel(Progress::default());
    let runner = Runner::new(Vec::new()).confined(confinement);
    runner.run_cell(run, sender, std::future::pending()).await.unwrap()
}

#[tokio::test]
async fn confined_cell_writes_only_to_its_folders_and_reads_no_keys_no_other_cell_and_no_memory() {
    if !supported("files of a cell", Support::of_this_kernel().files) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (data, books) = (home.path().join("data"), home.path().join("data/runbooks"));
    std::fs::create_dir_all(&books).unwrap();
    std::fs::write(data.join("ticket.key"), "KEY").unwrap();
    std::fs::write(home.path().join("open"), "OPEN").unwrap();
    let other = tempfile::Builder::new().prefix("harmony-cell-").tempdir().unwrap();
    std::fs::write(other.path().join("cell.sh"), "OTHER").unwrap();
    let confinement = Confinement::new(vec![data.clone()], BTreeSet::new());
    let worker = std::process::id().to_string();
    let (data, home, other) =
        (data.display().to_string(), home.path().display().to_string(), other.path().display().to_string());
    let env = [("DATA", data.as_str()), ("OUT", &home), ("OTHER", &other), ("WORKER", &worker)];
    let source = r#"
try() { if "$@" 2>/dev/null; then echo "yes: $1 ${*: -1}"; else echo "no: $1 ${*: -1}"; fi; }
put() { echo x >"$1"; }
try cat "$DATA/ticket.key"
try cat "$OTHER/cell.sh"
try head -c1 "/proc/$WORKER/mem"
try put "$OUT/written"
try put "$HOME/.harmony-was-here"
echo ---
try put here
try put "$TMPDIR/there"
try put /dev/null
try cat "$OUT/open"
(try cat /etc/hostname)
export LEFT=fine
"#;
    let outcome = run(confinement, &books, source, &env).await;
    let (denied, allowed) = outcome.stdout_tail.split_once("---").unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(!denied.contains("yes:") && denied.matches("no:").count() == 5, "{outcome:?}");
    assert!(!allowed.contains("no:") && allowed.matches("yes:").count() == 5, "{outcome:?}");
    assert!(!allowed.contains("KEY") && !denied.contains("KEY") && !denied.contains("OTHER"), "{outcome:?}");
    assert_eq!(outcome.exported.get("LEFT").map(String::as_str), Some("fine"), "{outcome:?}");
    assert!(books.join("here").exists());
}

#[tokio::test]
async fn confined_cell_connects_to_no_denied_port_and_to_the_others() {
    if !supported("connections of a cell", Support::of_this_kernel().connections) {
        return;
    }
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, open) = (listen(), listen());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let confinement = Confinement::new(Vec::new(), BTreeSet::from([port(&closed)]));
    let source = format!(
        "try() {{ (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && echo yes || echo no; }}\ntry {}\ntry {}",
        port(&closed),
        port(&open)
    );
    let workdir = tempfile::tempdir().unwrap();
    let outcome = run(confinement, workdir.path(), &source, &[]).await;
    assert_eq!(outcome.stdout_tail, "no\nyes\n", "{outcome:?}");
}

#[tokio::test]
async fn confined_cell_is_stopped_and_swept_as_every_other() {
    if !supported("files of a cell", Support::of_this_kernel().files) {
        return;
    }
    let workdir = tempfile::tempdir().unwrap();
    let source = "sleep 600 & echo $! >child; exit 3";
    let outcome = run(Confinement::default(), workdir.path(), source, &[]).await;
    assert_eq!(outcome.ended, crate::Ended::Exited(3), "{outcome:?}");
    let child = std::fs::read_to_string(workdir.path().join("child")).unwrap();
    assert!(!Path::new(&format!("/proc/{}/exe", child.trim())).exists(), "{child} is still there");
}
