//! The native function of the benchmark: the barest loop over the Runtime API. The same program
//! answers behind the platform and behind the bare relay that is its floor.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

const NEXT: &str = "/2018-06-01/runtime/invocation/next";

fn main() -> io::Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API")
        .map_err(|_| io::Error::other("AWS_LAMBDA_RUNTIME_API is not set"))?;
    let stream = TcpStream::connect(&api)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let next = format!("GET {NEXT} HTTP/1.1\r\nhost: {api}\r\n\r\n");
    writer.write_all(next.as_bytes())?;
    loop {
        let event = Answer::read(&mut reader)?;
        let id = event
            .id
            .ok_or_else(|| io::Error::other("an event without an id"))?;
        if let Some(hold) = hold(&event.body) {
            std::thread::sleep(hold);
        }
        let body = r#"{"statusCode":200,"body":"hello"}"#;
        let length = body.len();
        // The answer and the next poll in one write: the fewest wake-ups that the API allows.
        let requests = format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: {api}\r\n\
             content-length: {length}\r\n\r\n{body}{next}"
        );
        writer.write_all(requests.as_bytes())?;
        Answer::read(&mut reader)?;
    }
}

struct Answer {
    id: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let (mut id, mut length) = (None, 0);
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some((name, value)) = text.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "lambda-runtime-aws-request-id" => id = Some(value.trim().to_owned()),
                    "content-length" => length = value.trim().parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self { id, body })
    }
}

/// How long the query string `hold=MILLISECONDS` asks to stay busy.
fn hold(event: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(event).ok()?;
    let digits = text
        .split("\"rawQueryString\":\"hold=")
        .nth(1)?
        .split('"')
        .next()?;
    digits.parse().ok().map(Duration::from_millis)
}
