//! E-mail by SMTP (RFC 5321), handed to one relay over STARTTLS or implicit TLS.
//!
//! What is sent is plain text to one recipient, with the headers that let a mail program unsubscribe in one click
//! (RFC 2369, RFC 8058) and keep answering machines quiet (RFC 3834).
//!
//! How a repeated call is recognised: it is not, by SMTP. The caller gives a key, and every try of a message has it in
//! its `Message-ID`, and the same `Date`, so that what arrives twice shows as one in mail programs that compare them.
//!
//! A 4yz answer, and a relay that cannot be reached or does not take our password, say nothing about the recipient:
//! try again. A 5yz answer is final ([`Fate::Rejected`]). A connection that breaks while the message is on its way
//! leaves it unknown.
//!
//! To another machine nothing goes in the clear: without STARTTLS nothing is sent.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::AddressError as MailAddressError,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
        response::Severity,
    },
};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};
use uuid::Uuid;

use crate::{
    address::{self, AddressError},
    error::{CallError, Fate},
};

/// Where mail is handed in with STARTTLS (RFC 6409).
const SUBMISSION_PORT: u16 = 587;
/// And with TLS from the first byte (RFC 8314).
const SUBMISSIONS_PORT: u16 = 465;
/// How long one answer of the relay may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(8);
/// How long all of it may take: less than an item of the outbox is one worker's alone.
const LIMIT: Duration = Duration::from_secs(15);

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It is no address of a relay. The address is not repeated: it may hold a password.
    #[error("not smtp://[USER@]HOST[:PORT] or smtps://[USER@]HOST[:PORT]: {0}")]
    Relay(&'static str),
    /// A host that no relay has.
    #[error(transparent)]
    Host(#[from] AddressError),
    /// A password without a user; and for whoever sends, a user without a password.
    #[error("a user and a password go together: one of them is missing")]
    Credentials,
    /// The sender is no address.
    #[error("the sender is not an e-mail address such as harmony@example.com: {0}")]
    Sender(#[source] MailAddressError),
    /// The authority's certificate cannot be read.
    #[error("the certificate of the authority is not PEM")]
    Authority,
    /// TLS could not be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// How mail is sent.
#[derive(Clone)]
pub struct MailSettings {
    relay: Relay,
    /// The password may be known to the process that sends alone.
    user: Option<(String, Option<SecretString>)>,
    from: Mailbox,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Relay {
    host: String,
    port: u16,
    security: Security,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS, or nothing is sent.
    Upgrade,
    /// In the clear, to this machine.
    None,
}

impl fmt::Debug for MailSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MailSettings({}, from {})", self.host(), self.from)
    }
}

impl MailSettings {
    /// A relay such as `smtp://harmony@mail.example.com`, with the password in the address or beside it, and the address
    /// that mail comes from. To this machine it goes in the clear unless the address ends in `?tls=required`.
    pub fn parse(url: &str, password: Option<SecretString>, from: &str) -> Result<Self, MailError> {
        let parsed = Url::parse(url).map_err(|_| MailError::Relay("it does not parse as an address"))?;
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or(MailError::Relay("there is no host"))?;
        // What no vendor could have, no relay has.
        let checked = address::check(&format!("https://{host}/"))?;
        let is_here = match checked.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if !matches!(parsed.path(), "" | "/") || parsed.fragment().is_some() {
            return Err(MailError::Relay("nothing stands behind the port"));
        }
        let demands_tls = match parsed.query() {
            None => false,
            Some("tls=required") => true,
            Some(_) => return Err(MailError::Relay("the only parameter is tls=required")),
        };
        let (security, port) = match parsed.scheme() {
            "smtps" => (Security::Implicit, SUBMISSIONS_PORT),
            "smtp" if is_here && !demands_tls => (Security::None, SUBMISSION_PORT),
            "smtp" => (Security::Upgrade, SUBMISSION_PORT),
            _ => return Err(MailError::Relay("it begins with neither smtp:// nor smtps://")),
        };
        let relay = Relay {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port().unwrap_or(port),
            security,
        };
        let in_url = parsed.password().map(decoded).transpose()?.map(SecretString::from);
        let user = match (decoded(parsed.username())?, password.or(in_url)) {
            (user, None) if user.is_empty() => None,
            (user, Some(_)) if user.is_empty() => return Err(MailError::Credentials),
            (user, password) => Some((user, password)),
        };
        let from: Mailbox = from.trim().parse().map_err(MailError::Sender)?;
        Ok(Self { relay, user, from })
    }

    /// The relay's host, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.relay.host
    }
}

/// A user or a password as it stood before it was put into an address.
fn decoded(text: &str) -> Result<String, MailError> {
    const REFUSED: MailError = MailError::Relay("its user or password is not percent-encoded UTF-8");
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else { return Err(REFUSED) };
            let digits = [high, low].map(|digit| char::from(digit).to_digit(16));
            let [Some(high), Some(low)] = digits else { return Err(REFUSED) };
            u8::try_from(high * 16 + low).unwrap_or_default()
        } else {
            byte
        });
    }
    String::from_utf8(decoded).map_err(|_| REFUSED)
}

/// Hands mail to one relay.
#[derive(Clone)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl fmt::Debug for Mail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mail(from {})", self.from)
    }
}

/// One message to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What its `Message-ID` is made of.
    pub key: Uuid,
    /// When what it tells of happened.
    pub at_s: u64,
    /// The recipient.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// What its recipient unsubscribes with; none where nobody knows our own address.
    pub unsubscribe: Option<Url>,
}

impl Mail {
    /// Hands mail to this relay. `authority` is the PEM certificate of who signed the relay's, where this machine does not
    /// know them.
    pub fn new(settings: &MailSettings, authority: Option<&[u8]>) -> Result<Self, MailError> {
        let Relay { host, port, security } = &settings.relay;
        let mut tls = TlsParameters::builder(host.clone());
        if let Some(pem) = authority {
            tls = tls.add_root_certificate(Certificate::from_pem(pem).map_err(|_| MailError::Authority)?);
        }
        let tls = match security {
            Security::Implicit => Tls::Wrapper(tls.build().map_err(MailError::Tls)?),
            Security::Upgrade => Tls::Required(tls.build().map_err(MailError::Tls)?),
            Security::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(*port)
            .tls(tls)
            .hello_name(ClientId::Domain(settings.from.email.domain().to_owned()))
            .timeout(Some(COMMAND_LIMIT));
        if let Some((user, password)) = &settings.user {
            let password = password.as_ref().ok_or(MailError::Credentials)?;
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            builder = builder.credentials(credentials);
        }
        Ok(Self { transport: builder.build(), from: settings.from.clone() })
    }

    /// Sends one message. Every try of it is the same to the byte.
    pub async fn send_letter(&self, letter: &Letter) -> Result<(), CallError> {
        let message = self.message(letter)?;
        match tokio::time::timeout(LIMIT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => {
                let why = format!("no answer within {} s", LIMIT.as_secs());
                Err(CallError::new("SMTP", "send", Fate::Unknown, None, why))
            }
        }
    }

    fn message(&self, letter: &Letter) -> Result<Message, CallError> {
        let refused = |why: String| CallError::new("SMTP", "send", Fate::Rejected, None, why);
        // What a header cannot hold is not left to a library to find.
        if letter.subject.chars().any(char::is_control) {
            return Err(refused("a subject is one line".to_owned()));
        }
        let to = letter.to.parse().map_err(|error| refused(format!("the recipient: {error}")))?;
        let id = format!("<{}@{}>", letter.key, self.from.email.domain());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .date(UNIX_EPOCH + Duration::from_secs(letter.at_s))
            .message_id(Some(id))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        if let Some(link) = &letter.unsubscribe {
            // An address has neither blanks nor angle brackets.
            builder = builder.header(ListUnsubscribe(format!("<{link}>"))).header(OneClick);
        }
        builder.body(letter.text.clone()).map_err(|error| refused(error.to_string()))
    }
}

/// What became of a message that was not taken.
fn failed(error: &lettre::transport::smtp::Error) -> CallError {
    let status = error.status();
    // Those are about us, not about the recipient: no password, one that is not taken, no encryption (RFC 4954).
    let is_ours = status.is_some_and(|code| [530, 534, 535, 538].contains(&u16::from(code)));
    let fate = match status.map(|code| code.severity) {
        Some(_) if is_ours => Fate::Unauthorized,
        Some(Severity::PermanentNegativeCompletion) => Fate::Rejected,
        Some(_) => Fate::Unavailable,
        None => Fate::Unknown,
    };
    CallError::new("SMTP", "send", fate, status.map(u16::from), with_causes(error))
}

/// The relay's words stand in the causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// A header that holds what we wrote and nothing of anybody else's.
macro_rules! written_header {
    ($type:ident, $name:literal, $value:expr) => {
        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }

            fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Err("it is only written".into())
            }

            fn display(&self) -> HeaderValue {
                let value: fn(&Self) -> String = $value;
                let value = value(self);
                HeaderValue::dangerous_new_pre_encoded(Self::name(), value.clone(), value)
            }
        }
    };
}

#[derive(Clone)]
struct ListUnsubscribe(String);
written_header!(ListUnsubscribe, "List-Unsubscribe", |header| header.0.clone());

#[derive(Clone)]
struct OneClick;
written_header!(OneClick, "List-Unsubscribe-Post", |_| "List-Unsubscribe=One-Click".to_owned());

#[derive(Clone)]
struct AutoSubmitted;
written_header!(AutoSubmitted, "Auto-Submitted", |_| "auto-generated".to_owned());
