//! A minimal mail server with a script per test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The replies of the server; recipients after the scripted ones are accepted.
#[derive(Debug, Default)]
struct Script {
    greeting: Option<&'static str>,
    recipients: VecDeque<&'static str>,
    silent_after_data: bool,
    mails: Vec<String>,
    connections: usize,
}

/// A mail server on a free port.
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
                // A client that disconnects ends only its own session.
                tokio::spawn(async move { drop(serving.serve(stream).await) });
            }
        });
        server
    }

    /// Sets the replies to the next recipients.
    pub(crate) fn reply_to_recipients(&self, replies: &[&'static str]) {
        self.script.lock().unwrap().recipients.extend(replies);
    }

    /// Sets the greeting of new connections.
    pub(crate) fn greet(&self, greeting: Option<&'static str>) {
        self.script.lock().unwrap().greeting = greeting;
    }

    /// Sets whether mails are received and never acknowledged.
    pub(crate) fn stop_responding_after_data(&self, silent: bool) {
        self.script.lock().unwrap().silent_after_data = silent;
    }

    /// The received mails, with their headers.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.script.lock().unwrap().mails.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
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
            let reply = match verb.as_str() {
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
            writing.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}

/// Returns a header of a mail.
pub(crate) fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {mail}"))
}
