//! The one port: which door a request is for. Host first, then the credential scope, then the path.

use std::future::Future;
use std::pin::Pin;

use compat::aws::Access;
use gateway::listen::{Learnt, Peer, Server};
use gateway::url::id_of_host;
use gateway::{Body, full, guard};
use http::request::Parts;
use http::{Request, Response, StatusCode, header};

use model::AccountId;
use model::home::{self, Home};
use model::principal::may_control;

use crate::url_ports::PortTable;

/// The doors of a node and what is asked of a caller before one opens.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) urls: gateway::url::FunctionUrls,
    pub(crate) api: api::Api,
    pub(crate) aws: compat::aws::Aws,
    pub(crate) ports: PortTable,
    pub(crate) access: Access,
    pub(crate) allow_any_user: bool,
    /// Whose control calls are where nobody is asked who they are.
    pub(crate) account: AccountId,
    pub(crate) allow_hosts: Vec<String>,
}

/// May do anything here anyway.
const SUPERUSER: u32 = 0;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// A function's own URL; anybody may knock.
    FunctionUrl(String),
    /// Health and metrics; read-only and told to anybody who asks for them by a name of ours.
    Status,
    /// Our control API.
    Control,
    /// AWS's control APIs.
    Aws,
    /// Our control API, asked for at a function's port.
    WrongPort,
    /// Nowhere.
    Unknown,
}

/// A service that a [`Server`] can hold, whatever it does.
pub(crate) type Service = Box<
    dyn Fn(Request<Body>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync,
>;

/// The server over the front.
pub(crate) type Serve = Server<Service>;

impl Front {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let door = self.door(&parts);
        if door == Door::Control && is_from_a_function(&parts) {
            return plain(
                StatusCode::FORBIDDEN,
                "functions may not use dayfly's own API; they call each other through AWS's, at \
                 AWS_ENDPOINT_URL\n",
            );
        }
        let checked = match (&door, self.access) {
            // What is signed names the host that it was meant for, and no page can sign.
            (Door::Control | Door::Aws, Access::Keys) => Ok(()),
            (Door::Control | Door::Aws, Access::Anybody) => guard::check(&parts, &self.allow_hosts),
            (Door::FunctionUrl(id), _) => guard::check_name(&parts, Some(id), &self.allow_hosts),
            (Door::Status, _) => guard::check_name(&parts, None, &self.allow_hosts),
            (Door::WrongPort | Door::Unknown, _) => Ok(()),
        };
        if let Err(refusal) = checked {
            return plain(StatusCode::FORBIDDEN, &format!("{refusal}\n"));
        }
        if matches!(door, Door::Control | Door::Aws)
            && let Some(words) = self.foreign_user(&parts)
        {
            return plain(StatusCode::FORBIDDEN, &words);
        }
        let hidden = door == Door::Status && self.is_hidden(&parts);
        let for_signed =
            matches!(&door, Door::FunctionUrl(url_id) if self.urls.is_for_signed(url_id, &parts));
        let request = Request::from_parts(parts, body);
        match door {
            // Boxed are those that take more room than calls of functions, which would have it too.
            Door::FunctionUrl(url_id) => {
                let request = match for_signed {
                    false => Some(request),
                    true => Box::pin(self.with_sender(request)).await,
                };
                match request {
                    Some(request) => self.urls.handle(&url_id, request).await,
                    None => gateway::url::FunctionUrls::forbidden(),
                }
            }
            Door::Status if hidden => plain(
                StatusCode::FORBIDDEN,
                "metrics are told to this host only\n",
            ),
            Door::Status => self.api.handle(&self.account, request).await,
            Door::Control => Box::pin(self.control(request)).await,
            Door::Aws => self.aws.handle(request).await,
            Door::WrongPort => plain(
                StatusCode::MISDIRECTED_REQUEST,
                "this is a function's own port; dayfly's API is at the port of dayfly itself\n",
            ),
            Door::Unknown => plain(
                StatusCode::NOT_FOUND,
                "nothing answers here: function URLs have ports and host names of their own \
                 (`dayfly ls` lists them), AWS calls carry a signature, and dayfly's own API is \
                 at /_dayfly/v1/\n",
            ),
        }
    }

    /// A request at a function's URL that is for those who sign, with its sender, if it has one.
    async fn with_sender(&self, request: Request<Body>) -> Option<Request<Body>> {
        let known = self.aws.sender(request, "lambda").await.ok()?;
        let caller = gateway::url::Caller {
            principal: known.identity.principal(),
            sender: gateway::url::Sender {
                account: known.identity.account.to_string(),
                id: known.user_id(),
                arn: known.arn(),
                access_key: known.access_key,
            },
            region: known.region,
        };
        let mut request = known.request;
        request.extensions_mut().insert(caller);
        Some(request)
    }

    /// A control call, of whoever may make one.
    async fn control(&self, request: Request<Body>) -> Response<Body> {
        if self.access == Access::Anybody {
            return self.api.handle(&self.account, request).await;
        }
        let known = match self.aws.verify(request, api::client::SERVICE).await {
            Ok(known) => known,
            Err(denial) if denial.is_unsigned() => {
                let words = "control calls must be signed with one of this server's keys";
                return api::Api::denied(StatusCode::UNAUTHORIZED, "unsigned", words);
            }
            Err(denial) => {
                let words = format!("the signature was refused: {denial}");
                return api::Api::denied(StatusCode::FORBIDDEN, "signature_refused", &words);
            }
        };
        if !may_control(&known.identity.principal()) {
            let words = "roles and functions may not use dayfly's own API";
            return api::Api::denied(StatusCode::FORBIDDEN, "denied", words);
        }
        self.api
            .handle(&known.identity.account, known.request)
            .await
    }

    /// What another user of this machine is told. Loopback is everybody's, and where anybody is
    /// taken for the owner it must be the owner who connects. Sandboxes come another way.
    fn foreign_user(&self, parts: &Parts) -> Option<String> {
        let peer = parts.extensions.get::<Peer>()?;
        if self.access != Access::Anybody || self.allow_any_user || peer.instance.is_some() {
            return None;
        }
        let learnt = parts.extensions.get::<Learnt>()?;
        let user = learnt.user(|| process::user::at(peer.remote, peer.local));
        let is_one = |user: u32| user == process::user::own() || user == SUPERUSER;
        if user.is_some_and(is_one) {
            return None;
        }
        let who = match user {
            Some(user) => format!("user {user} of this machine is not the one who runs dayfly"),
            None => "it cannot be told which user of this machine asks".to_owned(),
        };
        Some(format!(
            "{who}; `dayfly dev --allow-any-user` lets every user of it in\n"
        ))
    }

    /// Whether a caller is to see no more than that the server lives: where keys are asked for,
    /// whoever has none and is no process of this host.
    fn is_hidden(&self, parts: &Parts) -> bool {
        let peer = parts.extensions.get::<Peer>();
        let near = peer.is_some_and(|peer| {
            peer.instance.is_none() && peer.remote.ip().to_canonical().is_loopback()
        });
        self.access == Access::Keys && parts.uri.path() != "/healthz" && !near
    }

    fn door(&self, parts: &Parts) -> Door {
        let peer = parts.extensions.get::<Peer>();
        // Ports inside sandboxes are others'.
        let local = peer
            .filter(|peer| peer.instance.is_none())
            .map(|peer| peer.local.port());
        if let Some(url_id) = local.and_then(|port| self.ports.load().get(&port).cloned()) {
            // Or a client with the wrong port would run the function with what it says to us.
            if parts.uri.path().starts_with("/_dayfly/") {
                return Door::WrongPort;
            }
            return Door::FunctionUrl(url_id);
        }
        let host = guard::host_of(parts).unwrap_or_default();
        if let Some(url_id) = id_of_host(&host) {
            return Door::FunctionUrl(url_id.to_owned());
        }
        // Whatever the path: a bucket may have anything at its own host.
        if home::of(&host) == Some(Home::Cloud) {
            return Door::Aws;
        }
        let path = parts.uri.path();
        if path == "/healthz" || path == "/metrics" {
            return Door::Status;
        }
        if path.starts_with("/_dayfly/") {
            return Door::Control;
        }
        if self.aws.claims(parts) {
            Door::Aws
        } else {
            Door::Unknown
        }
    }
}

/// What runs in a sandbox is code that nobody vouches for: it calls as on Lambda, and no more.
fn is_from_a_function(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<Peer>();
    peer.is_some_and(|peer| peer.instance.is_some())
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(text.to_owned()));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
