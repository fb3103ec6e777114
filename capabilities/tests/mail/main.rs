//! Mail to a real server (go-smtp, built once into the cache): STARTTLS, AUTH, and everything that a relay may answer.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it, and aloud what it had to skip"
)]

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use harmony_capabilities::{
    error::Fate,
    mail::{Letter, Mail, MailSettings},
};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

const PASSWORD: &str = "hunter2-of-mail";

/// Ends with us: it reads our end of its standard input.
struct Server {
    child: Child,
    told: BufReader<ChildStdout>,
    port: u64,
    root: String,
}

impl Server {
    /// `None` where there is nothing to build it with; on CI that is a failure.
    fn start() -> Option<Self> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/mail_server/build");
        let built = Command::new(build).stderr(Stdio::inherit()).output().unwrap();
        if !built.status.success() {
            assert!(env::var_os("CI").is_none(), "the mail server cannot be left out on CI, see above");
            eprintln!("SKIPPED: mail: the server cannot be built");
            return None;
        }
        let program = String::from_utf8(built.stdout).unwrap();
        let mut child =
            Command::new(program.trim()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let mut server = Self { child, told, port: 0, root: String::new() };
        let first = server.next();
        server.port = first["port"].as_u64().unwrap();
        server.root = first["root"].as_str().unwrap().to_owned();
        Some(server)
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn mail_with(&self, user: &str, password: Option<&str>, root: Option<&str>) -> Mail {
        let url = format!("smtp://{user}localhost:{}?tls=required", self.port);
        let password = password.map(SecretString::from);
        let settings = MailSettings::parse(&url, password, "Harmony <harmony@example.com>").unwrap();
        Mail::new(&settings, root.map(str::as_bytes)).unwrap()
    }

    fn mail(&self) -> Mail {
        self.mail_with("harmony@", Some(PASSWORD), Some(&self.root))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn letter(to: &str) -> Letter {
    Letter {
        key: Uuid::from_u128(42),
        at_s: 1_764_000_000,
        to: to.to_owned(),
        subject: "[P1] INC-2026-0042 Kasse fällt aus: resolved".to_owned(),
        text: "Resolved by Otto.\n.\nSeverity: P1\n".to_owned(),
        unsubscribe: Some(
            Url::parse("https://harmony.example/unsubscribe/default/sub-1?at=1&mac=2").unwrap(),
        ),
    }
}

#[tokio::test]
async fn a_letter_arrives_encrypted_and_whole() {
    let Some(mut server) = Server::start() else { return };
    server.mail().send_letter(&letter("jo@example.com")).await.unwrap();
    let taken = server.next();
    assert_eq!((&taken["tls"], taken["user"].as_str()), (&Value::Bool(true), Some("harmony")));
    assert_eq!(
        (taken["from"].as_str(), taken["to"][0].as_str()),
        (Some("harmony@example.com"), Some("jo@example.com"))
    );
    let message = taken["message"].as_str().unwrap();
    assert!(
        message.contains("\r\nMessage-ID: <00000000-0000-0000-0000-00000000002a@example.com>\r\n"),
        "{message}"
    );
    assert!(message.contains("\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{message}");
    let (_, body) = message.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body.trim_end(),
        "Resolved by Otto.\r\n.\r\nSeverity: P1",
        "a line with a dot ends no message"
    );
}

#[tokio::test]
async fn a_recipient_who_is_turned_away_for_now_gets_it_later() {
    let Some(mut server) = Server::start() else { return };
    let mail = server.mail();
    let refused = mail.send_letter(&letter("busy-1@example.com")).await.unwrap_err();
    assert_eq!((refused.fate(), refused.status()), (Fate::Unavailable, Some(451)), "{refused}");
    mail.send_letter(&letter("busy-1@example.com")).await.unwrap();
    assert_eq!(server.next()["to"][0], "busy-1@example.com");
}

#[tokio::test]
async fn a_recipient_who_does_not_exist_is_final_and_the_reason_is_the_servers() {
    let Some(server) = Server::start() else { return };
    let refused = server.mail().send_letter(&letter("nobody@example.com")).await.unwrap_err();
    assert_eq!((refused.fate(), refused.status()), (Fate::Rejected, Some(550)));
    assert!(refused.message().contains("no such user here"), "{refused}");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_it_open_and_a_second_try_is_the_same_message() {
    let Some(mut server) = Server::start() else { return };
    let mail = server.mail();
    let broken = mail.send_letter(&letter("gone-1@example.com")).await.unwrap_err();
    assert_eq!((broken.fate(), broken.status()), (Fate::Unknown, None), "{broken}");
    mail.send_letter(&letter("gone-1@example.com")).await.unwrap();
    assert_eq!(server.next()["to"][0], "gone-1@example.com", "of the first nothing was taken");
    // Taken, and the answer lost: what comes twice can be told to be one.
    let lost = mail.send_letter(&letter("late-1@example.com")).await.unwrap_err();
    assert_eq!(lost.fate(), Fate::Unknown, "{lost}");
    mail.send_letter(&letter("late-1@example.com")).await.unwrap();
    assert_eq!(server.next()["message"], server.next()["message"]);
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_who_it_should_be() {
    let Some(server) = Server::start() else { return };
    let unknown = server.mail_with("harmony@", Some(PASSWORD), None);
    let refused = unknown.send_letter(&letter("jo@example.com")).await.unwrap_err();
    assert_eq!(refused.fate(), Fate::Unknown, "an unknown authority is for the operator to mend: {refused}");
    let wrong = server.mail_with("harmony@", Some("wrong"), Some(&server.root));
    let refused = wrong.send_letter(&letter("jo@example.com")).await.unwrap_err();
    assert_eq!((refused.fate(), refused.status()), (Fate::Unauthorized, Some(535)));
    assert!(!refused.to_string().contains("wrong"), "{refused}");
    let nobody = server.mail_with("", None, Some(&server.root));
    let refused = nobody.send_letter(&letter("jo@example.com")).await.unwrap_err();
    assert_eq!(refused.fate(), Fate::Unauthorized, "{refused}");
}

#[tokio::test]
async fn a_server_without_encryption_gets_no_password() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = tokio::io::BufReader::new(reader).lines();
        let mut heard = Vec::new();
        writer.write_all(b"220 plain\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer: &[u8] =
                if line.starts_with("EHLO") { b"250-plain\r\n250 AUTH PLAIN\r\n" } else { b"221 bye\r\n" };
            heard.push(line);
            if writer.write_all(answer).await.is_err() {
                break;
            }
        }
        heard
    });
    let url = format!("smtp://harmony@localhost:{port}?tls=required");
    let settings = MailSettings::parse(&url, Some(PASSWORD.into()), "harmony@example.com").unwrap();
    let refused =
        Mail::new(&settings, None).unwrap().send_letter(&letter("jo@example.com")).await.unwrap_err();
    assert!(refused.to_string().to_uppercase().contains("STARTTLS"), "{refused}");
    let heard = heard.await.unwrap();
    assert!(heard.iter().all(|line| line.starts_with("EHLO") || line == "QUIT"), "{heard:?}");
}
