//! A mail server of a few lines that does what a test asks of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server says to the next recipients; those behind them are fine.
#[derive(Debug, Default)]
struct Script {
    greeting: Option<&'static str>,
    recipients: VecDeque<&'static str>,
    silent_after_data: bool,
    mails: Vec<String>,
    connections: usize,
}

/// A mail server on a port of its own.
#[derive(Clone)]
pub(crate) struct SmtpServer {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
}

impl SmtpServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let server = Self { url, script };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // A client that hangs up ends its conversation and nothing else.
                tokio::spawn(async move { drop(serving.converse(stream).await) });
            }
        });
        server
    }

    /// What the next recipients are answered.
    pub(crate) fn answer_recipients(&self, answers: &[&'static str]) {
        self.script.lock().unwrap().recipients.extend(answers);
    }

    /// What everybody is greeted with instead of a welcome.
    pub(crate) fn greet(&self, greeting: Option<&'static str>) {
        self.script.lock().unwrap().greeting = greeting;
    }

    /// Whether mails are taken and never acknowledged.
    pub(crate) fn fall_silent_after_data(&self, silent: bool) {
        self.script.lock().unwrap().silent_after_data = silent;
    }

    /// The mails that were taken, with their headers.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.script.lock().unwrap().mails.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }

    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading).lines();
        let greeting = {
            let mut script = self.script.lock().unwrap();
            script.connections += 1;
            script.greeting.unwrap_or("220 test")
        };
        writing.write_all(format!("{greeting}\r\n").as_bytes()).await?;
        while let Some(line) = lines.next_line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "RCPT" => self.script.lock().unwrap().recipients.pop_front().unwrap_or("250 ok"),
                "DATA" => {
                    writing.write_all(b"354 go on\r\n").await?;
                    let mut mail = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        mail.push_str(&line);
                        mail.push('\n');
                    }
                    let silent = {
                        let mut script = self.script.lock().unwrap();
                        script.mails.push(mail);
                        script.silent_after_data
                    };
                    if silent {
                        std::future::pending::<()>().await;
                    }
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            writing.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}

/// Returns a header of a mail.
pub(crate) fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {mail}"))
}
