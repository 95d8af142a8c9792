//! A node as a server for whoever has a key. It has no project folder; what it runs is deployed
//! to it.

use std::net::SocketAddr;

use api::wire::CreatedKey;
use futures_util::future::BoxFuture;

use crate::config::Config;
use crate::keys;
use crate::node::{Error as NodeError, Node};

/// A server that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Signatures do not hide what is sent.
    #[error(
        "listen on {address} without TLS: everybody on the way could read what is sent; give \
         --tls-cert and --tls-key, or --insecure-http where something else protects it"
    )]
    Insecure {
        /// The address.
        address: SocketAddr,
    },
    /// Nothing may run without a jail.
    #[error(
        "run functions in sandboxes, without which a server runs none: {reason}; `dayfly doctor` \
         says what to change"
    )]
    NoJails {
        /// Why there are none.
        reason: String,
    },
    /// Another process serves this data folder.
    #[error(
        "serve {folder}: a dayfly does that already; stop it first, or take over from it with \
         --replace", folder = folder.display()
    )]
    Served {
        /// The folder.
        folder: std::path::PathBuf,
    },
    /// The node did not start.
    #[error(transparent)]
    Node(NodeError),
}

/// A running server.
#[derive(Debug)]
pub struct Up {
    node: Node,
    first_key: Option<CreatedKey>,
}

impl Up {
    /// Starts it; where there is no key yet, one is made. `insecure_http` lets it listen beyond
    /// loopback without TLS.
    pub fn start(config: Config, insecure_http: bool) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(Self::begin(config, insecure_http))
    }

    async fn begin(config: Config, insecure_http: bool) -> Result<Self, Error> {
        let address = config.listen;
        let near = address.ip().to_canonical().is_loopback();
        if !near && config.tls.is_none() && !insecure_http {
            return Err(Error::Insecure { address });
        }
        let account = config.account.clone();
        let node = Node::new(config).await.map_err(|error| match error {
            NodeError::Spawner(reason) => Error::NoJails { reason },
            NodeError::Served { folder } => Error::Served { folder },
            error => Error::Node(error),
        })?;
        let all = node.engine().keys();
        let mut first_key = None;
        if all.list_all().is_empty() {
            match keys::create(all, &account, "first").await {
                Ok(key) => first_key = Some(key),
                Err(error) => {
                    node.stop().await;
                    return Err(Error::Node(error));
                }
            }
        }
        Ok(Self { node, first_key })
    }

    /// The node that serves.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The key that was made at this start, which is told here and never again.
    pub fn first_key(&self) -> Option<&CreatedKey> {
        self.first_key.as_ref()
    }

    /// What its operator should know of the host.
    pub fn warnings(&self) -> Vec<String> {
        self.node.warnings()
    }

    /// Reads certificate and key again, where there is TLS.
    pub fn reload(&self) -> Result<(), gateway::tls::Error> {
        let tls = &self.node.config().tls;
        tls.as_ref().map_or(Ok(()), gateway::tls::Tls::reload)
    }

    /// Answers what is in flight, and lets go of the port and of idle instances, for another process
    /// to take over.
    pub fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.node.leave())
    }

    /// Stops serving, lets busy instances end for a while, and ends every sandbox.
    pub async fn stop(&self) {
        self.node.stop().await;
        self.node.engine().logs().flush().await;
    }
}
