//! Output: its length, its secrets, its progress.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

use super::{outcome, outcome_of, run_of};
use crate::{
    CellRun, Ended, OutcomeLimits, Piece, Printed, Progress, Runner, TAIL_LIMIT_BYTES, WHOLE_LIMIT_BYTES,
    Whole,
};

const SECRET: &str = "Tr0ub4dor&3-is-long-enough";

fn with_secret(commands: &str) -> CellRun {
    CellRun {
        secrets: BTreeMap::from([("TOKEN".to_owned(), SecretString::from(SECRET))]),
        ..run_of(commands)
    }
}

fn assert_no_leak(text: &str) {
    for at in 0..=SECRET.len() - 6 {
        let piece = &SECRET[at..at + 6];
        assert!(!text.contains(piece), "{piece:?} in {text:?}");
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a cell floods its output with; the full run takes a gigabyte.
fn flood_bytes() -> usize {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") {
        1_000_000_000
    } else {
        100_000_000
    }
}

#[tokio::test]
async fn flood_is_read_in_bounded_memory() {
    let before_kib = resident_kib();
    let flood = flood_bytes();
    let outcome = outcome(&format!("head -c {flood} /dev/zero | tr '\\0' x; echo; echo last")).await;
    let written = flood + "\nlast\n".len();
    assert_eq!(outcome.ended, Ended::Exited(0));
    assert_eq!(outcome.output_bytes, written as u64);
    // The number that is cut may have a digit less than the number that came.
    assert!((TAIL_LIMIT_BYTES - 1..=TAIL_LIMIT_BYTES).contains(&outcome.stdout_tail.len()));
    let (_, kept) = outcome.stdout_tail.split_once('\n').unwrap();
    let mark = format!("… {} bytes cut\nxxx", written - kept.len());
    assert!(outcome.stdout_tail.starts_with(&mark), "{}", &outcome.stdout_tail[..40]);
    assert!(outcome.stdout_tail.ends_with("xxx\nlast\n"));
    assert!(resident_kib() - before_kib < 50_000);
}

#[tokio::test]
async fn both_tails_share_the_limit() {
    let both = outcome("for i in {1..2000}; do echo \"öüä out $i\"; echo \"öüä err $i\" >&2; done").await;
    let together = both.stdout_tail.len() + both.stderr_tail.len();
    assert!((TAIL_LIMIT_BYTES - 8..=TAIL_LIMIT_BYTES).contains(&together), "{together}");
    assert!(both.stderr_tail.len() >= TAIL_LIMIT_BYTES / 2 - 8);
    for (tail, last) in [(&both.stdout_tail, "out 2000\n"), (&both.stderr_tail, "err 2000\n")] {
        assert!(tail.starts_with("… ") && tail.ends_with(last), "{tail}");
    }
    let whole =
        outcome("head -c 12000 /dev/zero | tr '\\0' x; head -c 4000 /dev/zero | tr '\\0' y >&2").await;
    assert_eq!((whole.stdout_tail.len(), whole.stderr_tail.len()), (12_000, 4_000));
    let binary = outcome("printf 'a\\0b\\xff'").await;
    assert_eq!(binary.stdout_tail, "a\u{fffd}b\u{fffd}");
}

#[tokio::test]
async fn secrets_do_not_show() {
    let commands = "echo \"token: $TOKEN\"; echo \"$TOKEN\" | base64; set -x; : $TOKEN; { set +x; } 2>/dev/null; printf '%s' \"${TOKEN:0:9}\"";
    let outcome = outcome_of(with_secret(commands)).await;
    assert_eq!(outcome.stdout_tail, "token: ***\n***\n***");
    assert!(outcome.stderr_tail.ends_with(": '***'\n"), "{}", outcome.stderr_tail);
}

#[tokio::test]
async fn secret_that_arrives_in_pieces_does_not_show() {
    let commands = "for ((i = 0; i < ${#TOKEN}; i++)); do printf %s \"${TOKEN:i:1}\"; sleep 0.03; done; echo; \
        printf '%s' \"${TOKEN:0:20}\"; sleep 0.6; echo \"${TOKEN:20}\"; sleep 0.4";
    let (progress, mut seen) = watch::channel(Progress::default());
    let watching = tokio::spawn(async move {
        let mut lines = Vec::new();
        while seen.changed().await.is_ok() {
            lines.push(seen.borrow_and_update().last_line.clone());
        }
        lines
    });
    let outcome = Runner::new(Vec::new()).run_cell(with_secret(commands), progress, pending()).await.unwrap();
    assert_eq!(outcome.stdout_tail, "***\n***\n");
    let lines = watching.await.unwrap();
    assert!(lines.len() >= 3, "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("***"));
    lines.iter().for_each(|line| assert_no_leak(line));
}

#[tokio::test]
async fn secrets_at_every_cut_do_not_show() {
    // Secrets without a gap: some stand across every boundary there is.
    for filler in ["", "x", "12345"] {
        let commands = format!("for i in {{1..6000}}; do printf '%s' \"{filler}$TOKEN\"; done");
        let outcome = outcome_of(with_secret(&commands)).await;
        assert_eq!(outcome.output_bytes, 6000 * (SECRET.len() + filler.len()) as u64);
        assert!(outcome.stdout_tail.starts_with("… "), "{}", outcome.stdout_tail);
        assert!(outcome.stdout_tail.ends_with("***"));
        assert_no_leak(&outcome.stdout_tail);
    }
}

#[tokio::test]
async fn progress_tells_the_last_line_of_whoever_spoke() {
    let (progress, mut seen) = watch::channel(Progress::default());
    let long = "y".repeat(300);
    let commands =
        format!("echo one; sleep 0.6; printf 'two\\a\\n\\n' >&2; sleep 0.6; echo {long}; sleep 0.6");
    let run = tokio::spawn(async move {
        Runner::new(Vec::new()).run_cell(run_of(&commands), progress, pending()).await
    });
    let mut lines = Vec::new();
    while tokio::time::timeout(Duration::from_secs(5), seen.changed()).await.unwrap().is_ok() {
        lines.push(seen.borrow_and_update().clone());
    }
    run.await.unwrap().unwrap();
    let expected = [(4, "one".to_owned()), (10, "two".to_owned()), (311, "y".repeat(200))];
    let expected =
        expected.map(|(output_bytes, last_line)| Progress { output_bytes, last_line, exists: true });
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn what_is_kept_of_a_cell_fits_the_limits_of_its_run() {
    let limits = OutcomeLimits { tail_bytes: 400, exports_bytes: 20 };
    let commands = "seq 1 2000; seq 1 2000 >&2; export SHORT=1 LONG=0123456789012345678901234567890";
    let outcome = outcome_of(CellRun { limits, ..run_of(commands) }).await;
    let together = outcome.stdout_tail.len() + outcome.stderr_tail.len();
    assert!(together <= 400, "{together}");
    assert!(outcome.stdout_tail.ends_with("1999\n2000\n"), "{}", outcome.stdout_tail);
    assert_eq!(outcome.exported, BTreeMap::from([("SHORT".to_owned(), "1".to_owned())]));
    assert!(
        outcome.stderr_tail.contains("LONG is not carried on: there is more than 20 bytes"),
        "{}",
        outcome.stderr_tail
    );
}

/// A run that is followed: how it ended, every piece that was taken while it ran, and the whole.
async fn followed(run: CellRun) -> (Vec<Piece>, Whole) {
    let printed = Printed::default();
    let mut running = std::pin::pin!(outcome_of(CellRun { printed: Some(printed.clone()), ..run }));
    let mut pieces = Vec::new();
    let mut rounds = tokio::time::interval(Duration::from_millis(20));
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            _ = rounds.tick() => pieces.extend(printed.take()),
        }
    };
    assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
    pieces.extend(printed.take());
    (pieces, printed.whole().unwrap().unwrap())
}

fn text(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

#[tokio::test]
async fn secret_that_is_printed_piece_by_piece_is_seen_by_nobody_who_follows() {
    let commands = "for ((i = 0; i < ${#TOKEN}; i++)); do printf %s \"${TOKEN:i:1}\"; sleep 0.03; done
        printf ' and %s\n' \"$TOKEN\" >&2
        printf %s \"$TOKEN\" | base64";
    let (pieces, whole) = followed(with_secret(commands)).await;
    assert_no_leak(&text(&pieces));
    assert_no_leak(std::str::from_utf8(&whole.bytes).unwrap());
    // The streams are read side by side: which comes first is nobody's promise.
    assert_eq!(text(&pieces).matches("***").count(), 3, "{:?}", text(&pieces));
    assert!(text(&pieces).contains(" and ***\n"));
    assert_eq!(whole.bytes, text(&pieces).as_bytes());
}

#[tokio::test]
async fn flood_and_a_million_lines_are_followed_in_bounded_memory() {
    let before_kib = resident_kib();
    let flood = flood_bytes();
    let commands = format!("seq 1 1000000; head -c {flood} /dev/zero | tr '\\0' x; echo; echo last");
    let run = CellRun { timeout: Duration::from_secs(120), ..with_secret(&commands) };
    let (pieces, whole) = followed(run).await;
    let most = 64 * 1024 + 64;
    assert!(pieces.iter().all(|piece| piece.text.len() <= most));
    assert!(
        pieces.windows(2).all(|pair| pair[0].to_bytes == pair[1].from_bytes),
        "no byte is unaccounted for"
    );
    let written = 6_888_896 + flood + "\nlast\n".len();
    assert_eq!(pieces.last().unwrap().to_bytes, written as u64);
    assert!(pieces.last().unwrap().text.ends_with("xxx\nlast\n"));
    assert!(whole.bytes.len() <= WHOLE_LIMIT_BYTES);
    assert!(whole.bytes.starts_with(b"1\n2\n3\n") && whole.bytes.ends_with(b"xxx\nlast\n"));
    let kept: usize = pieces.iter().map(|piece| piece.text.len()).sum();
    let used_kib = resident_kib() - before_kib;
    assert!(used_kib < 60_000 + kept as u64 / 1024, "{used_kib} KiB, {kept} bytes in pieces");
}
