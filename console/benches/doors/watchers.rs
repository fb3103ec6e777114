//! A thousand who watch beside fifty who write.
//!
//! Three kinds of turns: nobody watches; everybody watches one of the fifty incidents that are written to; everybody
//! watches and reads nothing. What counts is the 99th percentile of all writes of a kind.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harmony_capabilities::address::{self, Address};
use harmony_console::{Capacity, Timeouts};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{scaled, world::World};

const WATCHERS: usize = 1_000;
const WRITERS: usize = 50;
/// Notes of each writer in a turn.
const NOTES: usize = 40;
/// Turns of each kind.
const TURNS: usize = 5;
/// A note as people write them.
const NOTE: &str = "error rate of checkout is back at 0.2%, watching it for ten more minutes";

/// The process that is measured: a console over a store of its own. Says its address and its incidents, and serves
/// until its input ends.
pub(crate) async fn serve() {
    let world = World::new().await;
    let address = world.listen(Capacity::default(), Timeouts::default()).await;
    let mut ids = Vec::new();
    for _ in 0..WRITERS {
        ids.push(world.declared("P3").await);
    }
    println!("{address} {}", ids.join(" "));
    until_input_ends().await;
}

/// The process of those who watch: address, how many, whether they read, incidents. Says when all are connected, and
/// how many events came when its input ends.
pub(crate) async fn watch(arguments: &[String]) {
    let [address, count, reads, ids @ ..] = arguments else { panic!("{arguments:?}") };
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut streams = Vec::with_capacity(count);
    for watcher in 0..count {
        // As the page does it: from the record it shows.
        let (id, after) = ids[watcher % ids.len()].split_once(':').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /api/orgs/default/incidents/{id}/stream?after={after} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token-viewer\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut watching = JoinSet::new();
    let mut silent = Vec::new();
    for mut stream in streams {
        let mut buffer = vec![0; 16 * 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read]));
        if reads == "reads" {
            let heard = heard.clone();
            watching.spawn(async move {
                while let Ok(read) = stream.read(&mut buffer).await
                    && read > 0
                {
                    let events = buffer[..read].windows(4).filter(|four| four == b"id: ").count();
                    heard.fetch_add(events, std::sync::atomic::Ordering::Relaxed);
                }
            });
        } else {
            silent.push(stream);
        }
    }
    println!("connected");
    until_input_ends().await;
    println!("{}", heard.load(std::sync::atomic::Ordering::Relaxed));
    // Every connection ends with the process.
    std::process::exit(0);
}

async fn until_input_ends() {
    let end = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    end.await.unwrap();
}

/// A process of this program in another part; it ends with its input.
struct Part {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Part {
    fn new(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Its last line.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let line = self.line();
        self.child.wait().unwrap();
        line
    }

    /// What it takes of the machine's memory now; 0 where nobody tells.
    fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).unwrap_or_default()
            / 1024.0
    }
}

/// A server, and those who write to it.
struct Stage {
    server: Part,
    address: SocketAddr,
    ids: Vec<String>,
    client: reqwest::Client,
}

impl Stage {
    fn new() -> Self {
        let mut server = Part::new(&["serve"]);
        let line = server.line();
        let mut words = line.split(' ').map(str::to_owned);
        let address: SocketAddr = words.next().unwrap().parse().unwrap();
        let client = address::client(&Address::parse(&format!("http://{address}")).unwrap()).unwrap();
        Self { server, address, ids: words.collect(), client }
    }

    /// Every incident with its last record, as those who watch name them.
    async fn heads(&self) -> Vec<String> {
        let mut heads = Vec::new();
        for id in &self.ids {
            let request = self
                .client
                .get(format!("http://{}/api/orgs/default/incidents/{id}", self.address))
                .bearer_auth("token-viewer");
            let incident: Value = request.send().await.unwrap().json().await.unwrap();
            heads.push(format!("{id}:{}", incident["seq"]));
        }
        heads
    }

    async fn watchers(&self, count: usize, reads: &str) -> Part {
        let (address, count, heads) = (self.address.to_string(), count.to_string(), self.heads().await);
        let mut arguments = vec!["watch", &address, &count, reads];
        arguments.extend(heads.iter().map(String::as_str));
        let mut part = Part::new(&arguments);
        assert_eq!(part.line(), "connected");
        part
    }

    /// A turn: each writer writes its notes, one after the other. How long each took.
    async fn write(&self, notes: usize) -> Vec<Duration> {
        let mut writing = JoinSet::new();
        for id in &self.ids {
            let address = format!("http://{}/api/orgs/default/incidents/{id}/notes", self.address);
            let client = self.client.clone();
            writing.spawn(async move {
                let mut took = Vec::with_capacity(notes);
                for _ in 0..notes {
                    let began = Instant::now();
                    let request =
                        client.post(&address).bearer_auth("token-oncall").json(&json!({ "note": NOTE }));
                    let answer = request.send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.unwrap();
                    took.push(began.elapsed());
                }
                took
            });
        }
        writing.join_all().await.concat()
    }
}

/// The turns of one kind.
#[derive(Default)]
struct Turns {
    took: Vec<Duration>,
    memory_mib: f64,
}

impl Turns {
    fn add(&mut self, took: Vec<Duration>, memory_mib: f64) {
        self.took.extend(took);
        self.memory_mib = self.memory_mib.max(memory_mib);
    }

    fn percentile_ms(&mut self, percent: usize) -> f64 {
        self.took.sort_unstable();
        let place = (self.took.len() * percent).div_ceil(100).saturating_sub(1);
        self.took[place].as_secs_f64() * 1_000.0
    }
}

pub(crate) async fn beside_writers() {
    let (count, notes) = (scaled(WATCHERS), scaled(NOTES));
    let stage = Stage::new();
    // Nobody's first write counts: pages of the file, statements and connections are made then.
    stage.write(notes).await;
    let before_mib = stage.server.memory_mib();
    let (mut alone, mut beside, mut silent) = (Turns::default(), Turns::default(), Turns::default());
    let mut heard = 0;
    for turn in 1..=TURNS {
        alone.add(stage.write(notes).await, stage.server.memory_mib());
        for (kind, turns) in [("reads", &mut beside), ("silent", &mut silent)] {
            let watchers = stage.watchers(count, kind).await;
            turns.add(stage.write(notes).await, stage.server.memory_mib());
            heard += watchers.end().parse::<usize>().unwrap();
        }
        print!("\rturn {turn} of {TURNS}");
        std::io::stdout().flush().unwrap();
    }
    let Stage { server, .. } = stage;
    drop(server.end());
    println!("\r{WRITERS} writers, {} writes of a kind, {heard} events were read", alone.took.len());
    let base = (alone.percentile_ms(50), alone.percentile_ms(99));
    println!(
        "nobody watches: median {:.1} ms, p99 {:.1} ms, {before_mib:.0} MiB before anybody did",
        base.0, base.1
    );
    for (name, turns) in [("watch and read", &mut beside), ("watch and never read", &mut silent)] {
        let (median, p99) = (turns.percentile_ms(50), turns.percentile_ms(99));
        println!(
            "{count} {name}: median {median:.1} ms, p99 {p99:.1} ms, {:.0} MiB at most; ratio of the p99 {:.2} (promised: at most 2)",
            turns.memory_mib,
            p99 / base.1
        );
    }
}
