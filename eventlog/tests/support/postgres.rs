//! A PostgreSQL that a test starts from the machine's programs.
//!
//! It listens on a socket in its own directory alone, and ends with the process that started it, however that ends: a
//! shell holds the other end of a pipe, and takes server and directory away when it closes. PostgreSQL does not run as
//! root, so root runs it as the user `postgres`.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Says aloud that a test is left out because a tool is missing. On CI (`CI` is set) a missing tool is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
pub(crate) fn left_out(what: &str, why: &str) {
    assert!(env::var_os("CI").is_none(), "{what} cannot be left out on CI: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}

/// See the module.
pub(crate) struct Cluster {
    binaries: PathBuf,
    /// Of the socket.
    directory: PathBuf,
    /// Holds the pipe.
    _keeper: Child,
}

impl Cluster {
    /// Starts one, or says why there is none. One that is not durable may lose a commit when the machine stops.
    pub(crate) fn start(is_durable: bool) -> Result<Self, String> {
        let binaries =
            binaries().ok_or("initdb and postgres are neither in PATH nor in /usr/lib/postgresql")?;
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let directory = tempfile::Builder::new()
            .prefix("harmony-pg-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| error.to_string())?
            .keep();
        let script = r#"
            "$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$DIR/initdb.log" 2>&1 || { echo "failed: initdb"; cat "$DIR/initdb.log"; rm -rf "$DIR"; exit 1; }
            "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync="$FSYNC" -c max_connections=400 >"$DIR/server.log" 2>&1 </dev/null &
            SERVER=$!
            until "$BIN/pg_isready" -q -h "$DIR" -U postgres; do kill -0 $SERVER 2>/dev/null || { echo "failed: postgres"; cat "$DIR/server.log"; rm -rf "$DIR"; exit 1; }; done
            echo ready
            cat >/dev/null
            kill -QUIT $SERVER
            wait $SERVER
            rm -rf "$DIR"
        "#;
        let mut command = if is_root {
            let owned = Command::new("chown").arg("postgres").arg(&directory).status();
            if !owned.is_ok_and(|status| status.success()) {
                return Err("there is no user postgres, and root may not run it".to_owned());
            }
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let mut keeper = command
            .env("BIN", &binaries)
            .env("DIR", &directory)
            .env("FSYNC", if is_durable { "on" } else { "off" })
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines();
        match said.next() {
            Some(Ok(line)) if line == "ready" => Ok(Self { binaries, directory, _keeper: keeper }),
            first => Err(first.into_iter().chain(said).map_while(Result::ok).collect::<Vec<_>>().join(" ")),
        }
    }

    /// One of its programs.
    #[allow(dead_code, reason = "not every test that includes this file runs one")]
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Where a database of it is; `postgres` is always there.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.display())
    }
}

fn binaries() -> Option<PathBuf> {
    let has_all =
        |folder: &Path| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    // A link in PATH may stand for a folder that holds the server's libraries beside it.
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
        .filter_map(|file| file.parent().map(Path::to_path_buf))
        .collect();
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        folders.push(version.path().join("bin"));
    }
    folders.into_iter().find(|folder| has_all(folder))
}
