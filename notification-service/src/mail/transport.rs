//! Where mail goes: a mail server, or a folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lettre::transport::smtp::response::Category;
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

/// The longest that the mail server may take for one mail.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where mail goes.
#[derive(Debug)]
pub enum MailTransport {
    /// Into a folder, a file each.
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What writes into it.
        transport: AsyncFileTransport<Tokio1Executor>,
    },
    /// To a mail server, over a connection of its own each: one that was left in the middle of a mail is not used
    /// again, so no answer can be taken for that to another mail.
    Server(AsyncSmtpTransport<Tokio1Executor>),
}

/// Why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// It may be later.
    Yet(String),
    /// It never will be.
    Ever(String),
}

impl MailTransport {
    /// Sends to a mail server, where one is named, or else writes into a folder.
    ///
    /// # Errors
    ///
    /// Where the URL is none of a mail server; the error does not repeat it, for it may hold a password.
    pub fn new(smtp_url: Option<&str>, folder: PathBuf) -> anyhow::Result<Self> {
        let Some(url) = smtp_url else {
            return Ok(Self::Folder { transport: AsyncFileTransport::new(&folder), path: folder });
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(anyhow::Error::new)
            .context("the URL of the mail server (--smtp-url, SMTP_URL) cannot be used")?;
        Ok(Self::Server(builder.timeout(Some(SEND_TIMEOUT)).build()))
    }

    /// Returns how many mails are taken on together. A mail server is given 30 s for one, and a batch as much; files are
    /// written in no time.
    #[must_use]
    pub fn batch(&self) -> u64 {
        match self {
            Self::Folder { .. } => 256,
            Self::Server(_) => 32,
        }
    }

    /// Returns how many mails are under way at the same time.
    #[must_use]
    pub fn at_a_time(&self) -> usize {
        match self {
            Self::Folder { .. } => 4,
            Self::Server(_) => 32,
        }
    }

    /// Says whether mail can be sent at all now. What is wrong here is no mail's fault: the server is away, refuses
    /// everybody, or does not know our password; or the folder cannot be made.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub async fn check(&self) -> Result<(), String> {
        let check = async {
            match self {
                Self::Folder { path, .. } => tokio::fs::create_dir_all(path)
                    .await
                    .map_err(|error| format!("the folder {} cannot be used: {error}", path.display())),
                Self::Server(transport) => match transport.test_connection().await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("the mail server does not work".to_owned()),
                    Err(error) => Err(in_words(&error)),
                },
            }
        };
        tokio::time::timeout(SEND_TIMEOUT, check).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// Sends one mail.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; a mail server that did not answer in time may have taken it all the same.
    pub async fn send(&self, mail: Message) -> Result<(), NotTaken> {
        let send = async {
            match self {
                Self::Folder { transport, .. } => {
                    transport.send(mail).await.map(drop).map_err(|error| NotTaken::Yet(in_words(&error)))
                }
                Self::Server(transport) => transport.send(mail).await.map(drop).map_err(|error| not_taken(&error)),
            }
        };
        tokio::time::timeout(SEND_TIMEOUT, send).await.unwrap_or_else(|_| Err(NotTaken::Yet(too_late())))
    }
}

/// A reply of 550 to 559 is about the mail and final (RFC 5321, section 4.2.3). Other replies of 500 and more speak of
/// commands and passwords: those are repaired on this side, and then the mail can go.
fn not_taken(error: &lettre::transport::smtp::Error) -> NotTaken {
    let about_the_mail = error.status().is_some_and(|code| code.category == Category::MailSystem);
    if error.is_permanent() && about_the_mail {
        NotTaken::Ever(in_words(error))
    } else {
        NotTaken::Yet(in_words(error))
    }
}

fn too_late() -> String {
    format!("no answer within {} s", SEND_TIMEOUT.as_secs())
}

/// Returns an error with its causes.
fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_in_words = cause.to_string();
        if !words.contains(&cause_in_words) {
            words = format!("{words}: {cause_in_words}");
        }
        source = cause.source();
    }
    words
}
