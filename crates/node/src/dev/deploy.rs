//! Functions from their plans to their deployments: build, store the trees, deploy.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use engine::verb::{Deployed, Deployment};
use model::{Code, FunctionId, Network, Principal};
use stacks::{FunctionPlan, GivenUp, Package, Progress};
use tokio::sync::{Semaphore, mpsc};

use super::Event;
use crate::node::Node;

/// Functions of a round that are built at the same time, however few processors there are (ours): a
/// build that waits for a network needs none.
const AT_ONCE_MIN: usize = 4;

/// Why a function was not deployed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Build(#[from] stacks::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Deploy(#[from] engine::Error),
    #[error("store the code: {0}")]
    Digest(#[from] model::InvalidName),
    #[error("deploy: it was given up")]
    GivenUp,
}

/// A deployment that was made.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) id: FunctionId,
    pub(super) deployed: Deployed,
    pub(super) again: bool,
}

/// Tells the session's events what a build does.
pub(super) struct Told {
    function: String,
    events: mpsc::Sender<Event>,
}

impl Progress for Told {
    fn phase(&self, text: &str) {
        self.line(text);
    }

    fn line(&self, text: &str) {
        let event = Event::Building {
            function: Some(self.function.clone()),
            line: text.to_owned(),
        };
        // Progress that the screen has no room for is old by the time it would be shown.
        let _ = self.events.try_send(event);
    }
}

/// What deployments go on in, and tell of.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) node: Arc<Node>,
    pub(super) host: stacks::Host,
    pub(super) network: Network,
    pub(super) events: mpsc::Sender<Event>,
}

impl Place {
    /// The same, for functions that a few at the same time are built of.
    pub(super) fn of_a_round(&self) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut place = self.clone();
        place.host.places = Arc::new(Semaphore::new(processors.max(AT_ONCE_MIN)));
        place
    }

    pub(super) fn told(&self, plan: &FunctionPlan) -> Told {
        Told {
            function: plan.name.to_string(),
            events: self.events.clone(),
        }
    }
}

/// Builds and deploys one function. What was begun in the engine is not given up any more.
pub(super) async fn function(
    place: &Place,
    plan: &FunctionPlan,
    given_up: &GivenUp,
) -> Result<Done, Failed> {
    let node = &place.node;
    let mut built = stacks::build(plan, &place.host, &place.told(plan), given_up).await?;
    let code = keep(place, built.code).await?;
    let mut layers = Vec::new();
    for layer in built.layers {
        layers.push(keep(place, layer).await?);
    }
    if *given_up.borrow() {
        return Err(Failed::GivenUp);
    }
    let inspect = node.config().inspect;
    let config = plan.config(&built.handler, code, layers, place.network, inspect);
    let id = id(node, plan);
    let deployment = Deployment {
        config,
        url: plan.url.clone(),
        reserved_concurrency: plan.reserved_concurrency,
        publish: false,
    };
    let who = Principal::Account(id.account.clone());
    let mut deployed = node.engine().deploy(&who, &id, deployment).await?;
    deployed.warnings.append(&mut built.warnings);
    Ok(Done {
        id,
        deployed,
        again: false,
    })
}

/// Which function a plan is of.
pub(super) fn id(node: &Node, plan: &FunctionPlan) -> FunctionId {
    FunctionId {
        account: node.config().account.clone(),
        region: node.config().region.clone(),
        name: plan.name.clone(),
    }
}

/// Stores a package as a tree. Of those that share a folder the first looks through it for all.
async fn keep(place: &Place, package: Package) -> Result<Code, Failed> {
    let folders = package.sources.iter().map(|source| &source.folder);
    let folders: BTreeSet<_> = folders.collect();
    let mut turns = Vec::new();
    for folder in folders {
        let what = format!("store {}", folder.display());
        turns.push(place.host.turns.take(&what).await);
    }
    // Never closed.
    let _place = place.host.places.acquire().await;
    let node = Arc::clone(&place.node);
    let stored = tokio::task::spawn_blocking(move || {
        let ignores: Vec<_> = package
            .sources
            .iter()
            .map(|source| |path: &Path, folder: bool| source.ignore.is_ignored(path, folder))
            .collect();
        let sources: Vec<store::trees::Source<'_>> = package
            .sources
            .iter()
            .zip(&ignores)
            .map(|(source, ignore)| store::trees::Source {
                folder: &source.folder,
                ignore,
            })
            .collect();
        node.trees().put_merged(&sources)
    });
    let tree = match stored.await {
        Ok(tree) => tree?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    Ok(Code::folder(tree.digest.parse()?, tree.size_bytes))
}
