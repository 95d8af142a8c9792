//! Our own control API under `/_dayfly/v1/`, health and metrics, and the API's client. It speaks
//! nothing of AWS and keeps nothing that outlives a request.

pub mod archive;
mod body;
pub mod client;
mod deploy;
mod error;
#[cfg(test)]
#[path = "../../engine/tests/door/fixture.rs"]
mod fixture;
mod invoke;
mod keys;
mod logs;
mod metrics;
mod view;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::Engine;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use model::{AccountId, FunctionRef, Principal, Region, UrlConfig};
use serde::Serialize;
use store::Clock;

pub use deploy::Intake;
use error::Refusal;

/// What goes wrong with a body in transit.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body in either direction, whatever makes it.
pub type Body = BoxBody<Bytes, BodyError>;

/// What the API tells of its node and whose functions it is about.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program's version.
    pub version: String,
    /// Whose functions are asked about.
    pub account: AccountId,
    /// Region of references that name none.
    pub region: Region,
    /// Where clients reach the node, such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// Function URLs, by their ids, whose own port was taken: the one that they have until the node
    /// ends.
    pub moved_urls: Arc<ArcSwap<HashMap<String, u16>>>,
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
pub struct Api {
    engine: Engine,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    /// Where code from clients goes, where it is taken.
    intake: Option<Intake>,
}

impl Api {
    /// The door over an engine.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self {
            engine,
            clock,
            settings: Arc::new(settings),
            intake: None,
        }
    }

    /// The door, where clients may deploy.
    #[must_use]
    pub fn taking_code(mut self, intake: Intake) -> Self {
        self.intake = Some(intake);
        self
    }

    /// Answers one request of an account's owner. Whoever calls this knows that it is one, or has
    /// checked Host and Origin where anybody is. Boxed, so that it is compiled here, once, and takes
    /// no room where another door answers.
    pub fn handle(
        &self,
        account: &AccountId,
        request: Request<Body>,
    ) -> BoxFuture<'static, Response<Body>> {
        let mut api = self.clone();
        if *account != api.settings.account {
            // A cheap handle for the request: all below is about this account and no other.
            let mut settings = Settings::clone(&api.settings);
            settings.account = account.clone();
            api.settings = Arc::new(settings);
        }
        Box::pin(async move {
            match api.route(request).await {
                Ok(response) => response,
                Err(refusal) => refusal.response(),
            }
        })
    }

    /// What somebody is told who is not let in.
    pub fn denied(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
        Refusal::denied(status, code, message).response()
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let unknown = || Refusal::unknown_path(path);
        if let Some(status) = self.status(path) {
            return allow(&parts.method, &Method::GET).map(|()| status);
        }
        let rest = path.strip_prefix("/_dayfly/v1/").ok_or_else(unknown)?;
        let mut segments = rest.split('/');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some("info"), None, ..) => {
                allow(&parts.method, &Method::GET)?;
                json(StatusCode::OK, &self.info())
            }
            (Some("instances"), None, ..) => {
                allow(&parts.method, &Method::GET)?;
                json(StatusCode::OK, &self.instances().await)
            }
            (Some("functions"), None, ..) => {
                allow(&parts.method, &Method::GET)?;
                json(StatusCode::OK, &self.functions().await)
            }
            (Some("functions"), Some(name), None, None) => match parts.method {
                Method::GET => json(
                    StatusCode::OK,
                    &self.function(&self.reference(name)?).await?,
                ),
                Method::PUT => {
                    let deployed = self.deploy(self.reference(name)?, body).await?;
                    json(StatusCode::OK, &deployed)
                }
                Method::DELETE => self.remove(&self.reference(name)?).await,
                _ => Err(Refusal::method(&parts.method)),
            },
            (Some("functions"), Some(name), Some("invocations"), None) => {
                allow(&parts.method, &Method::POST)?;
                let tail = parameter(query, "tail") == Some("true");
                let invoked = self.invoke(self.reference(name)?, body, tail).await?;
                json(StatusCode::OK, &invoked)
            }
            (Some("code"), Some(digest), None, None) => match parts.method {
                Method::GET => json(StatusCode::OK, &self.code(digest).await?),
                Method::PUT => json(StatusCode::OK, &self.put_code(digest, body).await?),
                _ => Err(Refusal::method(&parts.method)),
            },
            (Some("keys"), None, ..) => match parts.method {
                Method::GET => json(StatusCode::OK, &self.keys()),
                Method::POST => json(StatusCode::CREATED, &self.create_key(body).await?),
                _ => Err(Refusal::method(&parts.method)),
            },
            (Some("keys"), Some(id), None, None) => {
                allow(&parts.method, &Method::DELETE)?;
                json(StatusCode::OK, &self.remove_key(id).await?)
            }
            (Some("functions"), Some(name), Some("logs"), None) => {
                allow(&parts.method, &Method::GET)?;
                self.logs(&self.reference(name)?, query)
            }
            _ => Err(unknown()),
        }
    }

    fn status(&self, path: &str) -> Option<Response<Body>> {
        match path {
            "/healthz" => Some(text("text/plain; charset=utf-8", "ok\n".to_owned())),
            "/metrics" => {
                let metrics = metrics::write(&self.engine.stats());
                Some(text("text/plain; version=0.0.4; charset=utf-8", metrics))
            }
            _ => None,
        }
    }

    fn info(&self) -> wire::Info {
        wire::Info {
            version: self.settings.version.clone(),
            region: self.settings.region.to_string(),
            account: self.settings.account.to_string(),
            endpoint: self.settings.endpoint.clone(),
        }
    }

    async fn functions(&self) -> Vec<wire::Function> {
        self.blocking(|api| {
            let instances = api.engine.instances_by_function(&api.settings.account);
            let functions = api.engine.list(&api.settings.account, None);
            let shown = functions.iter().map(|function| {
                let instances = instances.get(&function.id).map_or(&[][..], Vec::as_slice);
                view::function(function, instances, &api.settings)
            });
            shown.collect()
        })
        .await
    }

    async fn function(&self, target: &FunctionRef) -> Result<wire::Function, Refusal> {
        let function = self.engine.find(target)?;
        let shown = self.blocking(move |api| {
            let instances = api.engine.instances(&function.id);
            view::function(&function, &instances, &api.settings)
        });
        Ok(shown.await)
    }

    async fn instances(&self) -> Vec<wire::Instance> {
        self.blocking(|api| {
            let instances = api.engine.instances_by_function(&api.settings.account);
            let mut each: Vec<_> = instances.iter().collect();
            each.sort_by_key(|(function, _)| *function);
            let shown = each.into_iter().flat_map(|(function, instances)| {
                let one = move |instance| view::instance(function, instance);
                instances.iter().map(one)
            });
            shown.collect()
        })
        .await
    }

    /// Asks what takes files to answer, where it holds up no other request.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let api = self.clone();
        match tokio::task::spawn_blocking(move || ask(&api)).await {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn remove(&self, target: &FunctionRef) -> Result<Response<Body>, Refusal> {
        if target.qualifier != model::Qualifier::Absent {
            return Err(Refusal::invalid(
                "a version or alias cannot be removed alone yet",
            ));
        }
        let removed = self.function(target).await?;
        let owner = Principal::Account(self.settings.account.clone());
        self.engine.remove(&owner, &target.function).await?;
        json(StatusCode::OK, &removed)
    }

    fn reference(&self, escaped: &str) -> Result<FunctionRef, Refusal> {
        let name = unescape(escaped).ok_or_else(|| Refusal::invalid("the path is no UTF-8"))?;
        let target = model::arn::parse(&name, &self.settings.account, &self.settings.region)
            .map_err(|error| Refusal::invalid(&error.to_string()))?;
        Ok(target)
    }
}

fn allow(method: &Method, allowed: &Method) -> Result<(), Refusal> {
    if method == allowed || (method == Method::HEAD && allowed == Method::GET) {
        Ok(())
    } else {
        Err(Refusal::method(method))
    }
}

/// The first value of a query parameter, unescaped as far as ours need it.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Resolves `%XX`; none where what comes out is no UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            plain.push((high * 16 + low) as u8);
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).ok()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

fn text(kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let body = serde_json::to_string(value).map_err(|error| Refusal::ours(&error))?;
    let mut response = text("application/json", body);
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests;
