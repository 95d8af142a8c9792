//! The least HTTP/1.1 client that measures well: one connection, requests written in one piece,
//! answers with a length or in chunks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stopwatch::Stopwatch;

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends a request as made by [`request`] and reads its whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            self.fill().await?;
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let (status, length) = parse_head(&self.buffer[..head])?;
        match length {
            Length::Known(length) => {
                while self.buffer.len() < head + length {
                    self.fill().await?;
                }
                Ok(Answer {
                    status,
                    body: self.buffer[head..head + length].to_vec(),
                })
            }
            Length::Chunked => loop {
                if let Some(body) = dechunk(&self.buffer[head..]) {
                    return Ok(Answer { status, body });
                }
                self.fill().await?;
            },
        }
    }

    /// Sends a request and answers how long the first byte of its body took.
    pub(crate) async fn ask_first(&mut self, request: &[u8]) -> Result<Duration> {
        let watch = Stopwatch::start();
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let first = loop {
            self.fill().await?;
            let Some(head) = find(&self.buffer, b"\r\n\r\n").map(|at| at + 4) else {
                continue;
            };
            let (status, length) = parse_head(&self.buffer[..head])?;
            if status != 200 {
                bail!("status {status}");
            }
            let body = &self.buffer[head..];
            let begun = match length {
                Length::Known(_) => !body.is_empty(),
                // Behind the line that tells the size of the first chunk.
                Length::Chunked => find(body, b"\r\n").is_some_and(|at| body.len() > at + 2),
            };
            if begun {
                break watch.elapsed();
            }
        };
        Ok(first)
    }

    async fn fill(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        if self.buffer.len() > ANSWER_BYTES_MAX {
            bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
        }
        Ok(())
    }
}

/// The bytes of a request without a body.
pub(crate) fn request(method: &str, host: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
}

/// The bytes of a call of the Lambda API, which in `dev` any signature does for.
pub(crate) fn call(method: &str, host: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\
         authorization: AWS4-HMAC-SHA256 \
         Credential=000000000000/20260101/us-east-1/lambda/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\r\n{body}",
        length = body.len()
    )
    .into_bytes()
}

enum Length {
    Known(usize),
    Chunked,
}

fn parse_head(head: &[u8]) -> Result<(u16, Length)> {
    let text = std::str::from_utf8(head).context("an answer's head is no text")?;
    let status = text
        .get(9..12)
        .and_then(|digits| digits.parse().ok())
        .context("no status")?;
    let mut length = Length::Known(0);
    for (name, value) in text.lines().skip(1).filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value.trim().parse().context("no content length")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
        }
    }
    Ok((status, length))
}

/// The body of a whole chunked answer; none while more of it is to come.
fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n")?;
        let digits = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(digits.split(';').next()?.trim(), 16).ok()?;
        let data = rest.get(end + 2..)?;
        if size == 0 {
            return data.starts_with(b"\r\n").then_some(body);
        }
        body.extend_from_slice(data.get(..size)?);
        rest = data.get(size + 2..)?;
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_once_all_are_there() {
        assert_eq!(dechunk(b"5\r\nhello\r\n0\r\n\r\n"), Some(b"hello".to_vec()));
        assert_eq!(
            dechunk(b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"),
            Some(b"hello".to_vec())
        );
        assert_eq!(dechunk(b"5\r\nhello\r\n"), None);
        assert_eq!(dechunk(b"5\r\nhel"), None);
    }
}
