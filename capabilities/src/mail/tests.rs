//! What a relay's address may be, and what a letter looks like on its way.

use super::*;

fn settings(url: &str) -> Result<MailSettings, MailError> {
    MailSettings::parse(url, None, "Harmony <harmony@example.com>")
}

fn relay(url: &str) -> (String, u16, Security) {
    let Relay { host, port, security } = settings(url).unwrap().relay;
    (host, port, security)
}

#[test]
fn a_relay_elsewhere_is_never_spoken_to_in_the_clear() {
    let of = |host: &str, port, security| (host.to_owned(), port, security);
    for (url, expected) in [
        ("smtp://mail.example.com", of("mail.example.com", 587, Security::Upgrade)),
        ("smtp://10.1.2.3:25", of("10.1.2.3", 25, Security::Upgrade)),
        ("smtps://mail.example.com", of("mail.example.com", 465, Security::Implicit)),
        ("smtp://127.0.0.1:2525", of("127.0.0.1", 2525, Security::None)),
        ("smtp://localhost:2525/", of("localhost", 2525, Security::None)),
        ("smtp://[::1]:2525", of("::1", 2525, Security::None)),
        ("smtp://localhost:2525?tls=required", of("localhost", 2525, Security::Upgrade)),
    ] {
        assert_eq!(relay(url), expected, "{url}");
    }
}

#[test]
fn what_is_no_relay_is_refused_without_repeating_a_password() {
    for url in [
        "",
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://169.254.169.254",
        "smtp://metadata.google.internal",
        "smtp://jo:hunter2@mail.example.com/path",
        "smtp://jo:hunter2@mail.example.com?tls=none",
        "smtp://:hunter2@mail.example.com",
        "smtp://jo%0:hunter2@mail.example.com",
    ] {
        let error = settings(url).expect_err(url).to_string();
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
    let from = |from: &str| MailSettings::parse("smtp://mail.example.com", None, from);
    assert!(from("harmony").is_err() && from("").is_err() && from("a@b\r\nBcc: c@d").is_err());
}

#[test]
fn passwords_come_from_the_address_or_beside_it_and_are_not_shown() {
    let given = settings("smtp://jo%40example.com:hunter%202@mail.example.com").unwrap();
    let (user, password) = given.user.as_ref().unwrap();
    let password = password.as_ref().map(ExposeSecret::expose_secret);
    assert_eq!((user.as_str(), password), ("jo@example.com", Some("hunter 2")));
    assert!(!format!("{given:?}").contains("hunter"));
    let beside = Some(SecretString::from("hunter3"));
    let both = MailSettings::parse("smtp://jo:hunter2@mail.example.com", beside, "a@example.com");
    let password = both.unwrap().user.unwrap().1.unwrap();
    assert_eq!(password.expose_secret(), "hunter3", "the secret beside it wins");
    // The console knows that mail is sent, and not the password.
    let without = settings("smtp://jo@mail.example.com").unwrap();
    assert!(matches!(Mail::new(&without, None), Err(MailError::Credentials)));
}

fn letter() -> Letter {
    Letter {
        key: Uuid::from_u128(7),
        at_s: 1_764_000_000,
        to: "jo@example.com".to_owned(),
        subject: "[P1] INC-2026-0042 Kasse fällt aus: resolved".to_owned(),
        text: "Resolved: zurückgerollt\n".to_owned(),
        unsubscribe: Some(
            Url::parse("https://harmony.example/unsubscribe/default/sub-1?at=1&mac=2").unwrap(),
        ),
    }
}

fn mail() -> Mail {
    Mail::new(&settings("smtp://127.0.0.1:1").unwrap(), None).unwrap()
}

#[test]
fn every_try_of_a_letter_is_the_same_bytes() {
    let [one, other] =
        [(); 2].map(|()| String::from_utf8(mail().message(&letter()).unwrap().formatted()).unwrap());
    assert_eq!(one, other);
    for line in [
        "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n",
        "List-Unsubscribe: <https://harmony.example/unsubscribe/default/sub-1?at=1&mac=2>\r\n",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "To: jo@example.com\r\n",
    ] {
        assert!(one.contains(line), "{line:?} in {one}");
    }
}

#[test]
fn nothing_can_add_a_header() {
    for (to, subject) in [
        ("jo@example.com\r\nBcc: all@example.com", "x"),
        ("jo@example.com", "x\r\nBcc: all@example.com"),
        ("jo@example.com, all@example.com", "x"),
    ] {
        let forged = Letter { to: to.to_owned(), subject: subject.to_owned(), ..letter() };
        assert_eq!(mail().message(&forged).unwrap_err().fate(), Fate::Rejected, "{to:?} {subject:?}");
    }
}
