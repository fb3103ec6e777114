//! What can be reached from the runbook root, and what cannot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use crate::{LoadError, RootError, RunbookRoot, SNAPSHOT_LIMIT_BYTES};

/// `<temp>/outside.md`, `<temp>/root/…` and what links there are.
fn world() -> (TempDir, RunbookRoot) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("team/.hidden")).unwrap();
    fs::create_dir_all(root.join("..data")).unwrap();
    fs::write(dir.path().join("outside.md"), "secret").unwrap();
    for file in ["a.md", "team/b.markdown", "notes.txt", ".c.md", "team/.hidden/d.md", "..data/mounted.md"] {
        fs::write(root.join(file), format!("# {file}\n")).unwrap();
    }
    symlink(dir.path().join("outside.md"), root.join("out.md")).unwrap();
    symlink(dir.path(), root.join("outfolder")).unwrap();
    symlink("..data/mounted.md", root.join("mounted.md")).unwrap();
    symlink("nowhere.md", root.join("dangling.md")).unwrap();
    let opened = RunbookRoot::new(&root).unwrap();
    (dir, opened)
}

fn why(root: &RunbookRoot, path: &str) -> &'static str {
    match root.load(path).unwrap_err() {
        LoadError::NotFound { .. } => "not found",
        LoadError::OutsideRoot { .. } => "outside",
        LoadError::TooLarge { .. } => "too large",
        LoadError::NotUtf8 { .. } => "not utf-8",
        LoadError::Unreadable { .. } => "unreadable",
        LoadError::NotMarkdown { .. } => "not Markdown",
        LoadError::Exists { .. } => "there already",
    }
}

#[test]
fn paths_are_relative_to_the_root_however_they_are_written() {
    let (_dir, root) = world();
    for path in ["a.md", "./a.md", "runbooks/a.md", "./runbooks/./a.md", "runbooks//a.md"] {
        let snapshot = root.load(path).unwrap();
        assert_eq!((snapshot.path.as_str(), snapshot.text.as_str()), ("a.md", "# a.md\n"), "{path}");
    }
    assert_eq!(root.load("team//b.markdown").unwrap().path, "team/b.markdown");
    assert_eq!(root.load("mounted.md").unwrap().text, "# ..data/mounted.md\n");
}

#[test]
fn nothing_outside_is_reached() {
    let (dir, root) = world();
    let absolute = dir.path().join("root/a.md");
    for path in [
        "../outside.md",
        "team/../a.md",
        "runbooks/../outside.md",
        "..",
        "out.md",
        "outfolder/outside.md",
        absolute.to_str().unwrap(),
        "/etc/passwd",
    ] {
        assert_eq!(why(&root, path), "outside", "{path}");
    }
    for path in ["", ".", "runbooks", "team", "nope.md", "a.md/b", "dangling.md", "a\0.md"] {
        assert_eq!(why(&root, path), "not found", "{path}");
    }
}

#[test]
fn snapshot_is_text_of_bounded_size() {
    let (dir, root) = world();
    let at = |name: &str| dir.path().join("root").join(name);
    fs::write(at("large.md"), vec![b'x'; SNAPSHOT_LIMIT_BYTES + 1]).unwrap();
    fs::write(at("fits.md"), vec![b'x'; SNAPSHOT_LIMIT_BYTES]).unwrap();
    fs::write(at("latin1.md"), b"caf\xe9").unwrap();
    assert_eq!(why(&root, "large.md"), "too large");
    assert_eq!(root.load("fits.md").unwrap().text.len(), SNAPSHOT_LIMIT_BYTES);
    assert_eq!(why(&root, "latin1.md"), "not utf-8");
}

#[test]
fn snapshot_outlives_the_file() {
    let (dir, root) = world();
    let snapshot = root.load("a.md").unwrap();
    fs::write(dir.path().join("root/a.md"), "changed").unwrap();
    assert_eq!(snapshot.text, "# a.md\n");
}

#[test]
fn list_names_what_can_be_loaded() {
    let (dir, root) = world();
    fs::create_dir(dir.path().join("root/runbooks")).unwrap();
    fs::write(dir.path().join("root/runbooks/e.md"), "# e\n").unwrap();
    let listed = root.list().unwrap();
    assert_eq!(listed, ["a.md", "mounted.md", "runbooks/runbooks/e.md", "team/b.markdown"]);
    for path in listed {
        assert_eq!(root.load(&path).unwrap().path, path);
    }
}

#[test]
fn working_directory_is_within_the_root() {
    let (dir, root) = world();
    let canonical = dir.path().join("root").canonicalize().unwrap();
    for path in ["", ".", "runbooks", "runbooks/"] {
        assert_eq!(root.workdir(path).unwrap(), canonical, "{path}");
    }
    assert_eq!(root.workdir("runbooks/team").unwrap(), canonical.join("team"));
    for path in ["..", "/tmp", "outfolder", "team/../.."] {
        assert!(matches!(root.workdir(path), Err(LoadError::OutsideRoot { .. })), "{path}");
    }
    for path in ["nope", "a.md"] {
        assert!(matches!(root.workdir(path), Err(LoadError::NotFound { .. })), "{path}");
    }
}

#[test]
fn root_is_a_directory() {
    let (dir, _) = world();
    assert!(matches!(RunbookRoot::new(dir.path().join("outside.md")), Err(RootError::NotADirectory(_))));
    assert!(matches!(RunbookRoot::new(Path::new("/nonexistent/x")), Err(RootError::Unreadable { .. })));
}
