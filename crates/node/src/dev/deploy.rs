//! Functions from their plans to their deployments: build, store the trees, deploy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use engine::verb::{Deployed, Deployment};
use futures_util::Stream;
use futures_util::stream::FuturesUnordered;
use model::{Code, FunctionId, Network, Principal};
use stacks::{BuildKind, FunctionPlan, Package, Progress};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::Event;
use crate::node::Node;

/// Functions that are built at the same time, however few processors there are (ours): a build that
/// waits for a network needs none.
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
}

/// A deployment that was made.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) id: FunctionId,
    pub(super) deployed: Deployed,
    pub(super) again: bool,
}

/// Tells the session's events what a build does.
struct Told {
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

/// Deploys functions, a few at the same time; each is answered as soon as it is done. What is under
/// way ends with the stream.
pub(super) fn all<'a>(
    node: &Arc<Node>,
    plans: &[&'a FunctionPlan],
    network: Network,
    events: &mpsc::Sender<Event>,
) -> impl Stream<Item = (&'a FunctionPlan, Result<Done, Failed>)> + use<'a> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = Arc::new(Semaphore::new(processors.max(AT_ONCE_MIN)));
    let mut locks: BTreeMap<&Path, Arc<Mutex<()>>> = BTreeMap::new();
    let deploying = FuturesUnordered::new();
    for plan in plans.iter().copied() {
        // Sorted, so that no two wait for each other.
        let folders = sources(plan).into_iter();
        let folders: Vec<_> = folders
            .map(|folder| Arc::clone(locks.entry(folder).or_default()))
            .collect();
        let (node, events, slots) = (Arc::clone(node), events.clone(), Arc::clone(&slots));
        deploying.push(async move {
            // Of those that share a source the first makes what the others find in the cache.
            let mut alone = Vec::new();
            for folder in &folders {
                alone.push(folder.lock().await);
            }
            // Never closed.
            let _slot = slots.acquire().await;
            (plan, function(&node, plan, network, &events).await)
        });
    }
    deploying
}

/// The folders that a function is built from.
fn sources(plan: &FunctionPlan) -> BTreeSet<&Path> {
    let own = Some(plan.source.as_path());
    let own = own.filter(|_| !matches!(plan.build, BuildKind::Inline { .. }));
    let layers = plan.layers.iter().map(|layer| layer.source.as_path());
    own.into_iter().chain(layers).collect()
}

async fn function(
    node: &Arc<Node>,
    plan: &FunctionPlan,
    network: Network,
    events: &mpsc::Sender<Event>,
) -> Result<Done, Failed> {
    let told = Told {
        function: plan.name.to_string(),
        events: events.clone(),
    };
    let mut built = stacks::build(plan, &node.build_host(), &told).await?;
    let code = keep(node, built.code).await?;
    let mut layers = Vec::new();
    for layer in built.layers {
        layers.push(keep(node, layer).await?);
    }
    let config = plan.config(&built.handler, code, layers, network, node.config().inspect);
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

/// Stores a package as a tree.
async fn keep(node: &Arc<Node>, package: Package) -> Result<Code, Failed> {
    let node = Arc::clone(node);
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
