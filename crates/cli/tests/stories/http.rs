//! A plain HTTP/1.1 client for stories: one request a connection, nothing hidden.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A request under construction.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn get(url: &str) -> Request {
    request("GET", url)
}

pub(crate) fn post(url: &str, body: impl Into<Vec<u8>>) -> Request {
    Request {
        body: body.into(),
        ..request("POST", url)
    }
}

pub(crate) fn request(method: &str, url: &str) -> Request {
    Request {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends it; panics with the reason where no whole answer came.
    pub(crate) fn send(self) -> Response {
        let url = self.url.clone();
        self.try_send()
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub(crate) fn try_send(self) -> std::io::Result<Response> {
        let headless = self.method == "HEAD";
        let mut answer = self.try_open()?;
        if !headless {
            answer.head.body = answer.rest()?;
        }
        Ok(answer.head)
    }

    /// Sends it; answers once the head of the answer is there.
    pub(crate) fn open(self) -> Answer {
        let url = self.url.clone();
        self.try_open()
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn try_open(self) -> std::io::Result<Answer> {
        let rest = self.url.strip_prefix("http://").expect("an http URL");
        let (authority, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], &rest[slash..]),
            None => (rest, "/"),
        };
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut head = format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", self.method);
        let named = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        if !named("host") {
            head += &format!("Host: {authority}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        stream.write_all(head.as_bytes())?;
        // A server that refuses a body early closes while it is still being sent.
        let _ = stream.write_all(&self.body);
        Answer::read(BufReader::new(stream))
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Without a body.
    pub(crate) head: Response,
    reader: BufReader<TcpStream>,
}

fn invalid(what: &str) -> std::io::Error {
    std::io::Error::other(format!("not HTTP: {what}"))
}

impl Answer {
    fn read(mut reader: BufReader<TcpStream>) -> std::io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid(&line))?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let body = Vec::new();
        let head = Response {
            status,
            headers,
            body,
        };
        Ok(Self { head, reader })
    }

    /// The next chunk; none after the last. An error where the end is missing.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut size = String::new();
        self.reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| invalid(&size))?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// All that has not been read.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.next()? {
                body.extend_from_slice(&chunk);
            }
        } else {
            self.reader.read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}
