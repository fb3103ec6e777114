//! The tutorial, as somebody follows it: every command of docs/tutorial.md on a terminal, in its order.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use nix::pty::{OpenptyResult, Winsize, openpty};
use serde_json::Value;

use crate::world::{HARMONY, World};

/// Fewer than a gate of the tutorial has lines.
const ROWS: u16 = 12;
const PAGE: &str = include_str!("../../docs/tutorial.md");

#[tokio::test]
async fn every_command_of_the_tutorial_works_as_it_is_written() {
    // What `harmony dev` of the page starts.
    let world = World::start("").await;
    let home = tempfile::tempdir().unwrap();
    symlink(world.dir.path(), home.path().join(".harmony")).unwrap();
    let commands: Vec<&str> = blocks(PAGE).filter(|line| *line != "harmony dev").collect();
    assert!(commands.len() >= 20, "{commands:?}");
    for command in commands {
        // A workflow takes a moment to come to what the next command is about; so does somebody who types.
        let done = async || {
            let (path, line) = (home.path().to_owned(), command.to_owned());
            let (code, shown) =
                tokio::task::spawn_blocking(move || on_a_terminal(&path, &line)).await.unwrap();
            println!("$ {command}\n{shown}");
            (code == Some(0)).then_some(())
        };
        world.until(command, done).await;
    }
    // What does not fit on the terminal went through the pager; what the gate comes to stood below it.
    let pages = std::fs::read_to_string(home.path().join("pages")).unwrap();
    assert!(pages.starts_with("gate ") && pages.contains("\ncell \""), "{pages}");
    assert!(!pages.contains("\ndigest: ") && !pages.contains("Approve this?"), "{pages}");
    let shown = world.harmony(&["incident", "show", "1", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["state"], "CLOSED", "{shown}");
    world.verified().await;
}

/// The lines of the blocks that are for a shell.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().filter(move |line| {
        if line.starts_with("```") {
            inside = *line == "```sh";
            return false;
        }
        inside
    })
}

/// Runs a line in a shell on a terminal, where somebody says yes; gives the exit code, and what was shown.
fn on_a_terminal(home: &Path, line: &str) -> (Option<i32>, String) {
    let size = Winsize { ws_row: ROWS, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let program = Path::new(HARMONY);
    let name = program.file_name().unwrap().to_str().unwrap();
    let mut command = Command::new("bash");
    // The program of the tests, under the name that the page uses.
    command.arg("-c").arg(format!("harmony() {{ {name} \"$@\"; }}; {line}"));
    command.current_dir(home).env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()));
    command.env("PAGER", "tee -a pages");
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut terminal = File::from(master);
    terminal.write_all(b"y\n").unwrap();
    let mut shown = Vec::new();
    // A terminal that nobody holds any more ends with an error.
    drop(terminal.read_to_end(&mut shown));
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}
