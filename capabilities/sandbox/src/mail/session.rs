//! One conversation over SMTP.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Letter, Letters};

/// Longest line (RFC 5321, 4.5.3.1.6, with room for what no command needs).
const LINE_BYTES: u64 = 4_096;
/// Largest message.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Most recipients of one message (4.5.3.1.8).
const RECIPIENTS: usize = 100;
/// A client that is silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(300);

/// Talks until the client says QUIT or hangs up.
pub(super) async fn hold(stream: TcpStream, letters: &Letters) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut greeted = false;
    let mut from: Option<String> = None;
    let mut to: Vec<String> = Vec::new();
    writer.write_all(b"220 localhost ESMTP sandbox\r\n").await?;
    while let Some(line) = next_line(&mut reader).await? {
        let upper = line.to_ascii_uppercase();
        let answer: String = if upper.starts_with("EHLO") {
            (greeted, from) = (true, None);
            to.clear();
            format!("250-localhost\r\n250-8BITMIME\r\n250 SIZE {MESSAGE_BYTES}")
        } else if upper.starts_with("HELO") {
            (greeted, from) = (true, None);
            to.clear();
            "250 localhost".to_owned()
        } else if upper == "QUIT" {
            writer.write_all(b"221 bye\r\n").await?;
            return Ok(());
        } else if upper == "NOOP" {
            "250 ok".to_owned()
        } else if upper == "RSET" {
            from = None;
            to.clear();
            "250 ok".to_owned()
        } else if !greeted {
            "503 EHLO first".to_owned()
        } else if let Some(path) = upper.strip_prefix("MAIL FROM:").and_then(|_| path(&line)) {
            from = Some(path);
            to.clear();
            "250 ok".to_owned()
        } else if let Some(path) = upper.strip_prefix("RCPT TO:").and_then(|_| path(&line)) {
            if from.is_none() {
                "503 MAIL FROM first".to_owned()
            } else if !path.contains('@') {
                "553 no such mailbox".to_owned()
            } else if to.len() >= RECIPIENTS {
                "452 too many recipients".to_owned()
            } else {
                to.push(path);
                "250 ok".to_owned()
            }
        } else if upper == "DATA" {
            match &from {
                Some(sender) if !to.is_empty() => {
                    writer.write_all(b"354 end with a dot on a line of its own\r\n").await?;
                    let Some(message) = message(&mut reader).await? else { return Ok(()) };
                    let answer = match message {
                        Some(raw) => {
                            letters.lock().push(Letter::of(sender, &to, raw));
                            "250 taken"
                        }
                        None => "552 too large",
                    };
                    from = None;
                    to.clear();
                    answer.to_owned()
                }
                _ => "503 MAIL FROM and RCPT TO first".to_owned(),
            }
        } else {
            "500 not understood".to_owned()
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// Between the angle brackets of a command.
fn path(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    rest.split_once('>').map(|(path, _)| path.to_owned())
}

/// A line without its end; `None` at the end of the connection.
async fn next_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let reading = async { reader.take(LINE_BYTES).read_until(b'\n', &mut line).await };
    let read = tokio::time::timeout(SILENCE, reading).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if read == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long or was cut off"));
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A message without the dots that were doubled; `Some(None)` where it is too large, `None` where the connection ended.
async fn message(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Option<String>>> {
    let (mut text, mut bytes) = (String::new(), 0);
    while let Some(line) = next_line(reader).await? {
        if line == "." {
            return Ok(Some((bytes <= MESSAGE_BYTES).then_some(text)));
        }
        bytes += line.len() + 2;
        if bytes <= MESSAGE_BYTES {
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
    }
    Ok(None)
}
