//! The control API from the other end: typed questions to a running node, signed where there are keys
//! to sign with.

mod connection;
mod sign;
mod upload;

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use store::Clock as _;
use tokio::net::TcpStream;

use crate::wire::{
    CreatedKey, Deployed, Deployment, ErrorBody, Function, Info, Instance, Invoked, Key, LogRecord,
    NewKey, StoredCode,
};
use connection::Connection;
pub use sign::{Credentials, SERVICE};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer that needs no function to run.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an invocation: the longest timeout, initialisation and some.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(960);
/// Longest wait for a deployment: a runtime may have to be fetched first.
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest that sending an archive may take: the largest, over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// Largest answer that is read, in bytes: a response of 6 MiB, escaped.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest line of a log stream, in bytes: a record of 256 KiB, escaped.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not one.
    #[error("'{endpoint}' is no endpoint: write it as http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// Nobody answers there.
    #[error("nothing is listening on {authority}; start it with `dayfly dev`")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// What the connection attempt said.
        #[source]
        cause: std::io::Error,
    },
    /// No TLS could be agreed on.
    #[error("speak TLS with {authority}: {cause}")]
    Tls {
        /// Host and port.
        authority: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// It wants a signature, and there was nothing to sign with.
    #[error(
        "{authority} wants to know who asks: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to one \
         of its keys, or AWS_PROFILE to a profile that has one"
    )]
    NoKey {
        /// Host and port.
        authority: String,
    },
    /// It went away in the middle of its answer.
    #[error("the dayfly on {authority} has stopped")]
    Stopped {
        /// Host and port.
        authority: String,
    },
    /// What answers there is a function.
    #[error(
        "{authority} is a function's own port; the endpoint is the port of dayfly itself, 4566 \
         where --port says nothing else"
    )]
    WrongPort {
        /// Host and port.
        authority: String,
    },
    /// What was asked for is not there.
    #[error("{message}")]
    NotFound {
        /// In the server's words.
        message: String,
    },
    /// It is refused for now: there is no room for it, or the server is stopping.
    #[error("{message}")]
    Throttled {
        /// In the server's words.
        message: String,
    },
    /// The server refuses the question.
    #[error("{message}")]
    Refused {
        /// The server's code.
        code: String,
        /// In the server's words.
        message: String,
    },
    /// The server failed.
    #[error("{message}")]
    Platform {
        /// In the server's words.
        message: String,
    },
    /// The answer ended early or makes no sense.
    #[error(
        "the answer of {authority} was not understood: {detail}; is it a dayfly of this version?"
    )]
    Answer {
        /// Host and port.
        authority: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Asks one node. Cheap; every question opens a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    host: String,
    port: u16,
    authority: String,
    tls: bool,
    credentials: Option<Credentials>,
}

/// What is under way. Boxed, so that it is compiled here, once.
type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// The body of questions that say all by where they go.
const NOTHING: Result<Bytes, Error> = Ok(Bytes::new());

impl Client {
    /// A client for `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let invalid = || Error::Endpoint {
            endpoint: endpoint.to_owned(),
        };
        let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let tls = match uri.scheme_str() {
            None | Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(invalid()),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            host,
            port,
            authority: authority.as_str().to_owned(),
            tls,
            credentials: None,
        })
    }

    /// The client, its questions signed.
    #[must_use]
    pub fn signed(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// What answers there.
    pub fn info(&self) -> Answer<'_, Info> {
        self.read(
            Method::GET,
            "/_dayfly/v1/info".into(),
            NOTHING,
            ANSWER_TIMEOUT,
        )
    }

    /// Every deployed function, by name.
    pub fn functions(&self) -> Answer<'_, Vec<Function>> {
        self.read(
            Method::GET,
            "/_dayfly/v1/functions".into(),
            NOTHING,
            ANSWER_TIMEOUT,
        )
    }

    /// One function, by name, `name:qualifier` or ARN.
    pub fn function(&self, name: &str) -> Answer<'_, Function> {
        self.read(
            Method::GET,
            function_path(name, ""),
            NOTHING,
            ANSWER_TIMEOUT,
        )
    }

    /// Removes a function with everything of it; answers what was removed.
    pub fn remove(&self, name: &str) -> Answer<'_, Function> {
        self.read(
            Method::DELETE,
            function_path(name, ""),
            NOTHING,
            ANSWER_TIMEOUT,
        )
    }

    /// Every live instance.
    pub fn instances(&self) -> Answer<'_, Vec<Instance>> {
        self.read(
            Method::GET,
            "/_dayfly/v1/instances".into(),
            NOTHING,
            ANSWER_TIMEOUT,
        )
    }

    /// The access keys of the caller's account.
    pub fn keys(&self) -> Answer<'_, Vec<Key>> {
        let path = "/_dayfly/v1/keys".into();
        self.read(Method::GET, path, NOTHING, ANSWER_TIMEOUT)
    }

    /// Makes an access key.
    pub fn create_key(&self, new: &NewKey) -> Answer<'_, CreatedKey> {
        let body = self.written(new);
        let path = "/_dayfly/v1/keys".into();
        self.read(Method::POST, path, body, ANSWER_TIMEOUT)
    }

    /// Removes an access key.
    pub fn remove_key(&self, id: &str) -> Answer<'_, Key> {
        let path = format!("/_dayfly/v1/keys/{}", escaped(id));
        self.read(Method::DELETE, path, NOTHING, ANSWER_TIMEOUT)
    }

    /// Whether code is stored there.
    pub fn has_code(&self, digest: &str) -> Answer<'_, bool> {
        let path = format!("/_dayfly/v1/code/{}", escaped(digest));
        let known = self.read::<StoredCode>(Method::GET, path, NOTHING, ANSWER_TIMEOUT);
        Box::pin(async {
            match known.await {
                Ok(_) => Ok(true),
                Err(Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Sends code, as the archive of a folder, from a file that holds it and nothing else.
    pub fn send_code<'a>(&'a self, digest: &str, archive: &'a Path) -> Answer<'a, StoredCode> {
        let path = format!("/_dayfly/v1/code/{}", escaped(digest));
        Box::pin(self.upload(path, archive))
    }

    async fn upload(&self, path: String, archive: &Path) -> Result<StoredCode, Error> {
        let read = upload::Upload::open(archive).await;
        let upload = read.map_err(|error| self.odd(&error))?;
        let sent = async {
            let digest = upload.digest.clone();
            let response = self.send_body(Method::PUT, path, &digest, upload).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            let answer = self.collect(response).await?;
            serde_json::from_slice(&answer).map_err(|error| self.odd(&error))
        };
        self.within(UPLOAD_TIMEOUT, sent).await
    }

    /// Makes a function what the deployment says.
    pub fn deploy(&self, name: &str, deployment: &Deployment) -> Answer<'_, Deployed> {
        let body = self.written(deployment);
        let path = function_path(name, "");
        self.read(Method::PUT, path, body, DEPLOY_TIMEOUT)
    }

    /// Runs a function once with a JSON event. `tail` asks for the end of its log.
    pub fn invoke(&self, name: &str, event: Bytes, tail: bool) -> Answer<'_, Invoked> {
        let path = function_path(
            name,
            if tail {
                "/invocations?tail=true"
            } else {
                "/invocations"
            },
        );
        self.read(Method::POST, path, Ok(event), INVOKE_TIMEOUT)
    }

    /// A function's log from `since_ms` (milliseconds since the Unix epoch) on, oldest first.
    /// With `follow` it goes on until the stream is dropped.
    pub fn logs(&self, name: &str, since_ms: Option<u64>, follow: bool) -> Answer<'_, LogStream> {
        let since = since_ms.unwrap_or(0);
        let path = function_path(name, &format!("/logs?since={since}&follow={follow}"));
        Box::pin(self.open_log(path))
    }

    async fn open_log(&self, path: String) -> Result<LogStream, Error> {
        let sent = self.send(Method::GET, path, Bytes::new());
        let response = self.within(ANSWER_TIMEOUT, sent).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        Ok(LogStream {
            body: response.into_body(),
            pending: BytesMut::new(),
            authority: self.authority.clone(),
        })
    }

    fn written(&self, body: &impl serde::Serialize) -> Result<Bytes, Error> {
        let written = serde_json::to_vec(body).map_err(|error| self.odd(&error));
        written.map(Bytes::from)
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Result<Bytes, Error>,
        timeout: Duration,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let answer = self.answer(method, path, body?, timeout).await?;
            serde_json::from_slice(&answer).map_err(|error| self.odd(&error))
        })
    }

    fn answer(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        timeout: Duration,
    ) -> Answer<'_, Bytes> {
        let ask = async move {
            let response = self.send(method, path, body).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            self.collect(response).await
        };
        Box::pin(self.within(timeout, ask))
    }

    async fn within<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = || self.odd(&format_args!("none came within {} s", timeout.as_secs()));
        tokio::time::timeout(timeout, work)
            .await
            .map_err(|_| late())?
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let digest = sign::digest(&body);
        self.send_body(method, path, &digest, Full::new(body)).await
    }

    /// Sends a request whose body has this digest.
    async fn send_body<B>(
        &self,
        method: Method,
        path: String,
        digest: &str,
        body: B,
    ) -> Result<Response<Incoming>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<crate::BodyError>,
    {
        let unreachable = |cause| Error::Unreachable {
            authority: self.authority.clone(),
            cause,
        };
        let stream = tokio::time::timeout(
            CONNECT_TIMEOUT,
            TcpStream::connect((self.host.as_str(), self.port)),
        )
        .await
        .map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?
        .map_err(unreachable)?;
        let stream = if self.tls {
            let tls = |cause| Error::Tls {
                authority: self.authority.clone(),
                cause,
            };
            connection::wrap(stream, &self.host).await.map_err(tls)?
        } else {
            Connection::Plain(stream)
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.odd(&error))?;
        // Ends by itself once the answer is read or dropped, as the sender is gone by then.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "control connection ended");
            }
        });
        let mut request = Request::builder()
            .method(&method)
            .uri(&path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(credentials) = &self.credentials {
            let signed = sign::Request {
                method: &method,
                target: &path,
                host: &self.authority,
                digest,
            };
            let now_ms = store::SystemClock::new().now_ms();
            for (name, value) in sign::headers(signed, credentials, now_ms) {
                request = request.header(name, value);
            }
        }
        let request = request.body(body).map_err(|error| self.odd(&error))?;
        sender.send_request(request).await.map_err(|error| {
            if error.is_incomplete_message() {
                return Error::Stopped {
                    authority: self.authority.clone(),
                };
            }
            self.odd(&error)
        })
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, Error> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        Ok(body
            .collect()
            .await
            .map_err(|error| self.odd(&error))?
            .to_bytes())
    }

    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        if status == StatusCode::MISDIRECTED_REQUEST {
            return Error::WrongPort {
                authority: self.authority.clone(),
            };
        }
        let answer = match self.collect(response).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        if status == StatusCode::FORBIDDEN
            && let Ok(words) = std::str::from_utf8(&answer)
            && !words.starts_with('{')
        {
            // Said at the door, before it was known which API is meant.
            return Error::Refused {
                code: "forbidden".to_owned(),
                message: words.trim().chars().take(500).collect(),
            };
        }
        let Ok(ErrorBody { error }) = serde_json::from_slice(&answer) else {
            return self.odd(&format_args!("status {status} with a foreign body"));
        };
        match status {
            StatusCode::UNAUTHORIZED => Error::NoKey {
                authority: self.authority.clone(),
            },
            StatusCode::NOT_FOUND => Error::NotFound {
                message: error.message,
            },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Error::Throttled {
                message: error.message,
            },
            status if status.is_server_error() => Error::Platform {
                message: error.message,
            },
            _ => Error::Refused {
                code: error.code,
                message: error.message,
            },
        }
    }

    fn odd(&self, detail: &dyn std::fmt::Display) -> Error {
        Error::Answer {
            authority: self.authority.clone(),
            detail: detail.to_string(),
        }
    }
}

/// Records of a log as they arrive. Dropping it ends the request.
#[derive(Debug)]
pub struct LogStream {
    body: Incoming,
    pending: BytesMut,
    authority: String,
}

impl LogStream {
    /// The next record; none once the log has ended.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, Error> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = self.pending.split_to(end + 1);
                // An empty line only tells that the connection lives.
                if line.len() > 1 {
                    return serde_json::from_slice(&line)
                        .map(Some)
                        .map_err(|e| self.odd(&e));
                }
                continue;
            }
            if self.pending.len() > LINE_BYTES_MAX {
                return Err(self.odd(&"a line is too long"));
            }
            match self.body.frame().await {
                None if self.pending.is_empty() => return Ok(None),
                None => return Err(self.odd(&"it ended in the middle of a record")),
                Some(Err(_)) => {
                    return Err(Error::Stopped {
                        authority: self.authority.clone(),
                    });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.pending.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn odd(&self, detail: &dyn std::fmt::Display) -> Error {
        Error::Answer {
            authority: self.authority.clone(),
            detail: detail.to_string(),
        }
    }
}

fn function_path(name: &str, rest: &str) -> String {
    format!("/_dayfly/v1/functions/{}{rest}", escaped(name))
}

/// A segment of a path.
fn escaped(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}
