//! As much of PostgreSQL's protocol as it takes to run one statement without a password.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Protocol 3.0, which every version since 7.4 speaks.
const PROTOCOL: i32 = 196_608;

/// Longer messages than this are no answers to the statements sent here.
const LONGEST: usize = 1 << 20;

/// The server answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub(super) struct Refusal {
    /// The SQLSTATE, such as `42P04` for a database that exists already.
    pub(super) code: String,
    pub(super) message: String,
}

/// Connects, runs the statement and disconnects.
pub(super) async fn execute(
    port: u16,
    user: &str,
    database: &str,
    statement: &str,
) -> io::Result<Result<(), Refusal>> {
    let talk = async {
        let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let parameters = format!("user\0{user}\0database\0{database}\0\0");
        let mut hello = PROTOCOL.to_be_bytes().to_vec();
        hello.extend(parameters.as_bytes());
        send(&mut server, None, &hello).await?;
        if let Err(refusal) = until_ready(&mut server).await? {
            return Ok(Err(refusal));
        }
        send(&mut server, Some(b'Q'), format!("{statement}\0").as_bytes()).await?;
        let result = until_ready(&mut server).await?;
        send(&mut server, Some(b'X'), &[]).await?;
        Ok(result)
    };
    tokio::time::timeout(Duration::from_secs(60), talk).await?
}

async fn send(server: &mut BufReader<TcpStream>, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    server.write_all(&message).await
}

/// Reads until the server waits for a statement, or has said that it will not.
async fn until_ready(server: &mut BufReader<TcpStream>) -> io::Result<Result<(), Refusal>> {
    let mut refused = None;
    loop {
        let kind = match server.read_u8().await {
            Ok(kind) => kind,
            // After refusing a connection the server closes it.
            Err(error) => return refused.map_or(Err(error), |refusal| Ok(Err(refusal))),
        };
        let length = server.read_u32().await? as usize;
        if !(4..LONGEST).contains(&length) {
            return Err(io::Error::other("this is no PostgreSQL server"));
        }
        let mut body = vec![0; length - 4];
        server.read_exact(&mut body).await?;
        match kind {
            b'R' if body != [0, 0, 0, 0] => {
                return Err(io::Error::other("the server asks for a password"));
            }
            b'E' => refused = Some(refusal(&body)),
            b'Z' => return Ok(refused.map_or(Ok(()), Err)),
            _ => {}
        }
    }
}

/// The fields of an error: each a letter and a text that ends with a zero.
fn refusal(body: &[u8]) -> Refusal {
    let field = |dead_letter: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&dead_letter))
            .map_or_else(String::new, |field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    Refusal { code: field(b'C'), message: field(b'M') }
}
