//! AWS's control APIs: which service a request is for, and who sends it.

mod access;
mod credential;
mod lambda;
mod logs;
mod query;
mod shape;
mod sigv4;
mod sts;
mod text;
mod unserved;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use engine::Engine;
use engine::keys::Identity;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use model::{AccountId, InvocationId, Region, UrlConfig};
use store::Clock;
use tokio::sync::watch;

use crate::Body;
pub use access::{Access, Denial, Known};
use credential::Credential;
use sigv4::{Problem, Protocol};

/// What requests are read against.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is asked of callers.
    pub access: Access,
    /// Account of callers whose access key is not twelve digits.
    pub account: AccountId,
    /// Region of requests whose signature names none.
    pub region: Region,
    /// What functions that are made through the API may reach outside their sandbox.
    pub network: model::Network,
    /// Instances of one account that may be busy at once, for account settings.
    pub account_concurrency: u32,
    /// Where clients reach the node, such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// Function URLs, by their ids, whose own port was taken: the one that they have until the node
    /// ends.
    pub moved_urls: Arc<ArcSwap<HashMap<String, u16>>>,
    /// Up to which change of the catalog the ports of function URLs are open, where they have any.
    pub urls_open: Option<watch::Receiver<u64>>,
}

impl Settings {
    /// Where a function URL answers on this host.
    fn port_of(&self, url: &UrlConfig) -> Option<u16> {
        self.moved_urls
            .load()
            .get(&url.url_id)
            .copied()
            .or(url.port)
    }
}

/// The door.
#[derive(Debug, Clone)]
pub struct Aws {
    engine: Engine,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    secret: lambda::code::Secret,
}

/// Who asks, and where.
#[derive(Debug, Clone)]
struct Caller {
    account: AccountId,
    /// Who it is in the account.
    identity: Identity,
    region: Region,
    /// The request's id, which is the invocation's where it invokes.
    request_id: InvocationId,
}

/// The services that are served: the names that signatures have for them, and those that variables
/// have which tell SDKs of an endpoint (`AWS_ENDPOINT_URL_NAME`).
pub const SERVED: [(&str, &str); 3] = [
    ("lambda", "LAMBDA"),
    ("logs", "CLOUDWATCH_LOGS"),
    ("sts", "STS"),
];

fn is_served(service: &str) -> bool {
    SERVED.iter().any(|(name, _)| *name == service)
}

/// The service that a request's host is one of, where it is a host of AWS's.
fn service_of_host(request: &Parts) -> Option<String> {
    let host = match request.uri.authority() {
        Some(authority) => authority.host(),
        None => {
            let host = request.headers.get(HOST)?.to_str().ok()?;
            host.rsplit_once(':').map_or(host, |(host, _)| host)
        }
    };
    model::home::service_of(host)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl Aws {
    /// The door over an engine.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let secret = lambda::code::Secret::new(&*clock);
        Self {
            secret,
            engine,
            clock,
            settings: Arc::new(settings),
        }
    }

    /// Whether a request looks like one of AWS's: signed, targeted, at a path of theirs, or a form as
    /// those are that need no signature.
    pub fn claims(&self, request: &Parts) -> bool {
        let scheme = request
            .headers
            .get(AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        Credential::of(request).is_some()
            || scheme.is_some_and(|scheme| scheme.starts_with(b"AWS"))
            || request.headers.contains_key("x-amz-target")
            || request.headers.contains_key("x-amz-date")
            || lambda::is_path(request.uri.path())
            || lambda::code::is_path(request.uri.path())
            || sts::may_be_unsigned(request)
    }

    /// Answers one request. Whoever calls this has checked Host and Origin. Boxed, so that all
    /// operations are compiled here, once, and take no room where another door answers.
    pub fn handle(&self, request: Request<Body>) -> BoxFuture<'_, Response<Body>> {
        Box::pin(self.identified(request))
    }

    async fn identified(&self, request: Request<Body>) -> Response<Body> {
        let request_id = InvocationId::from_random(self.clock.random_id());
        let mut response = self.answer(request, &request_id).await;
        if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    async fn answer(&self, request: Request<Body>, request_id: &InvocationId) -> Response<Body> {
        let (parts, body) = request.into_parts();
        if lambda::code::is_path(parts.uri.path()) {
            return self.send_code(&parts).await;
        }
        let credential = Credential::of(&parts);
        let named = service_of_host(&parts);
        let service = match (&credential, &named) {
            (Some(credential), _) => credential.service.as_str(),
            (None, Some(named)) => named,
            (None, None) if lambda::is_path(parts.uri.path()) => "lambda",
            (None, None) => "",
        };
        // Some answer anybody at a host of their own, and are as little here.
        if credential.is_none() && named.is_some() && !is_served(service) {
            return unserved::service(service, &parts, self.advice(), request_id.as_str());
        }
        let ours = matches!(service, "" | "sts");
        if credential.is_none() && ours && sts::may_be_unsigned(&parts) {
            return self.sts_unsigned(&parts, body, request_id.as_str()).await;
        }
        // What is wrong is told to the client that it seems to be; nothing else comes of this.
        let protocol = Protocol::of(service, &parts);
        if credential.is_none() && self.settings.access == Access::Anybody {
            return Problem::Missing.response(protocol, request_id.as_str());
        }
        let known = match self.admit(parts, body).await {
            Ok(known) => known,
            Err(problem) => return problem.response(protocol, request_id.as_str()),
        };
        let caller = Caller {
            account: known.identity.account.clone(),
            identity: known.identity,
            region: (known.region.parse()).unwrap_or_else(|_| self.settings.region.clone()),
            request_id: request_id.clone(),
        };
        let (parts, body) = known.request.into_parts();
        match known.service.as_str() {
            "lambda" => self.lambda(&caller, &parts, body).await,
            "logs" => self.logs(&caller, &parts, body).await,
            "sts" => self.sts(&caller, &parts, body).await,
            service => unserved::service(service, &parts, self.advice(), request_id.as_str()),
        }
    }

    /// What whoever asks for a service that is not served can do about it.
    fn advice(&self) -> &'static str {
        match self.settings.access {
            Access::Anybody => "; `dayfly dev --aws-passthrough` lets functions reach AWS's own",
            Access::Keys => "",
        }
    }
}

#[cfg(test)]
mod tests;
