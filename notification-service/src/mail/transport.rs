//! The mail transport: a mail server, or a folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lettre::transport::smtp::response::Category;
use lettre::{AsyncFileTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

/// The time limit of the mail server for one mail.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The destination of mail.
#[derive(Debug)]
pub enum MailTransport {
    /// A folder, one file per mail.
    Folder {
        /// The path of the folder.
        path: PathBuf,
        /// The writer of files.
        transport: AsyncFileTransport<Tokio1Executor>,
    },
    /// A mail server, with one connection per mail: a connection that was aborted in the middle of a mail is not
    /// reused, so that no reply can be taken for that to another mail.
    Server(AsyncSmtpTransport<Tokio1Executor>),
}

/// The failure to send a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// A later attempt may succeed.
    Temporary(String),
    /// No attempt can succeed.
    Permanent(String),
}

impl MailTransport {
    /// Uses a mail server if `smtp_url` is set, otherwise a folder.
    ///
    /// # Errors
    ///
    /// If the URL is not valid; the error does not repeat it, because it may contain a password.
    pub fn new(smtp_url: Option<&str>, folder: PathBuf) -> anyhow::Result<Self> {
        let Some(url) = smtp_url else {
            return Ok(Self::Folder { transport: AsyncFileTransport::new(&folder), path: folder });
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(anyhow::Error::new)
            .context("the URL of the mail server (--smtp-url, SMTP_URL) is not valid")?;
        Ok(Self::Server(builder.timeout(Some(SEND_TIMEOUT)).build()))
    }

    /// Returns the number of mails per batch. Mails to a server are sent concurrently, with a time limit of 30 s; files
    /// are written at once.
    #[must_use]
    pub fn batch(&self) -> u64 {
        match self {
            Self::Folder { .. } => 256,
            Self::Server(_) => 32,
        }
    }

    /// Returns the number of mails that are sent concurrently.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        match self {
            Self::Folder { .. } => 4,
            Self::Server(_) => 32,
        }
    }

    /// Checks whether mail can be sent at all. An error here does not concern a single mail: the server is unavailable,
    /// refuses every client or the password, or the folder cannot be created.
    ///
    /// # Errors
    ///
    /// The reason, for the log.
    pub async fn check(&self) -> Result<(), String> {
        let check = async {
            match self {
                Self::Folder { path, .. } => tokio::fs::create_dir_all(path)
                    .await
                    .map_err(|error| format!("the folder {} cannot be used: {error}", path.display())),
                Self::Server(transport) => match transport.test_connection().await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("the mail server is not ready".to_owned()),
                    Err(error) => Err(error_chain(&error)),
                },
            }
        };
        tokio::time::timeout(SEND_TIMEOUT, check).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends one mail.
    ///
    /// # Errors
    ///
    /// [`SendError`]; after a time-out the mail server may have accepted the mail nevertheless.
    pub async fn send(&self, mail: Message) -> Result<(), SendError> {
        let send = async {
            match self {
                Self::Folder { transport, .. } => {
                    transport.send(mail).await.map(drop).map_err(|error| SendError::Temporary(error_chain(&error)))
                }
                Self::Server(transport) => transport.send(mail).await.map(drop).map_err(|error| send_error(&error)),
            }
        };
        tokio::time::timeout(SEND_TIMEOUT, send).await.unwrap_or_else(|_| Err(SendError::Temporary(timed_out())))
    }
}

/// Classifies an SMTP error. A reply of 550 to 559 concerns the mail and is permanent (RFC 5321, section 4.2.3). Other
/// replies of 500 and more concern commands and passwords: an operator can correct these, and then the mail can be
/// sent.
fn send_error(error: &lettre::transport::smtp::Error) -> SendError {
    let about_the_mail = error.status().is_some_and(|code| code.category == Category::MailSystem);
    if error.is_permanent() && about_the_mail {
        SendError::Permanent(error_chain(error))
    } else {
        SendError::Temporary(error_chain(error))
    }
}

fn timed_out() -> String {
    format!("no reply within {} s", SEND_TIMEOUT.as_secs())
}

/// Returns an error with its causes.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
