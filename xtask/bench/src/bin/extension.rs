//! The extension of the benchmark: the barest loop over the Extensions API.

use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API")
        .map_err(|_| io::Error::other("AWS_LAMBDA_RUNTIME_API is not set"))?;
    let own = std::env::args().next().unwrap_or_default();
    let name = own.rsplit('/').next().unwrap_or_default();
    let stream = TcpStream::connect(&api)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let events = r#"{"events":["INVOKE"]}"#;
    write!(
        writer,
        "POST /2020-01-01/extension/register HTTP/1.1\r\nhost: {api}\r\n\
         lambda-extension-name: {name}\r\ncontent-length: {}\r\n\r\n{events}",
        events.len()
    )?;
    let id = answered(&mut reader)?.ok_or_else(|| io::Error::other("no identifier"))?;
    let next = format!(
        "GET /2020-01-01/extension/event/next HTTP/1.1\r\nhost: {api}\r\n\
         lambda-extension-identifier: {id}\r\n\r\n"
    );
    loop {
        writer.write_all(next.as_bytes())?;
        answered(&mut reader)?;
    }
}

/// Reads an answer whole; the identifier that it may give.
fn answered(reader: &mut impl BufRead) -> io::Result<Option<String>> {
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
                "lambda-extension-identifier" => id = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(id)
}
