//! The part of PostgreSQL's protocol that is needed to run one statement without a password.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Protocol 3.0, which every version since 7.4 supports.
const PROTOCOL: i32 = 196_608;

/// The maximum length of a message; responses to the statements sent here are shorter.
const MAX_LENGTH: usize = 1 << 20;

/// An error response of the server.
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
    let session = async {
        let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
        let parameters = format!("user\0{user}\0database\0{database}\0\0");
        let mut startup = PROTOCOL.to_be_bytes().to_vec();
        startup.extend(parameters.as_bytes());
        send(&mut server, None, &startup).await?;
        if let Err(refusal) = until_ready(&mut server).await? {
            return Ok(Err(refusal));
        }
        send(&mut server, Some(b'Q'), format!("{statement}\0").as_bytes()).await?;
        let result = until_ready(&mut server).await?;
        send(&mut server, Some(b'X'), &[]).await?;
        Ok(result)
    };
    tokio::time::timeout(Duration::from_secs(60), session).await?
}

async fn send(server: &mut BufReader<TcpStream>, kind: Option<u8>, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len() + 4).map_err(io::Error::other)?;
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    server.write_all(&message).await
}

/// Reads until the server is ready for a statement, or has refused.
async fn until_ready(server: &mut BufReader<TcpStream>) -> io::Result<Result<(), Refusal>> {
    let mut refused = None;
    loop {
        let kind = match server.read_u8().await {
            Ok(kind) => kind,
            // The server closes a connection after refusing it.
            Err(error) => return refused.map_or(Err(error), |refusal| Ok(Err(refusal))),
        };
        let length = server.read_u32().await? as usize;
        if !(4..MAX_LENGTH).contains(&length) {
            return Err(io::Error::other("the port does not belong to a PostgreSQL server"));
        }
        let mut body = vec![0; length - 4];
        server.read_exact(&mut body).await?;
        match kind {
            b'R' if body != [0, 0, 0, 0] => {
                return Err(io::Error::other("the server requires a password"));
            }
            b'E' => refused = Some(refusal(&body)),
            b'Z' => return Ok(refused.map_or(Ok(()), Err)),
            _ => {}
        }
    }
}

/// Parses an error response: fields of a type byte and a zero-terminated text.
fn refusal(body: &[u8]) -> Refusal {
    let field = |code: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))
            .map_or_else(String::new, |field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    Refusal { code: field(b'C'), message: field(b'M') }
}
