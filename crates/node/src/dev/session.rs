//! The loop of a development session: read, build, deploy, wait for a change, again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::{FunctionId, FunctionName, Network, Principal, arn};
use stacks::{FunctionPlan, Project, Relevant};
use store::Clock;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;

use super::deploy::{self, Failed, Place};
use super::deploying::{Deploying, Ended};
use super::owned::Owned;
use super::trials::Trials;
use super::watch::{Burst, Changed, Watch};
use super::{Event, Options, Watching, logs};
use crate::config::Config;
use crate::node::{Error as NodeError, Node};
use crate::stop::{Stop, Stopping};

/// Events that may wait for the screen; the session waits when there are more.
const EVENTS: usize = 1024;

/// A session that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The folder is no project.
    #[error(transparent)]
    Project(#[from] stacks::Error),
    /// The node did not start.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// A running development session.
#[derive(Debug)]
pub struct Session {
    node: Arc<Node>,
    stop: Arc<Notify>,
    /// The loop; ends when told to stop, and answers those who carry the logs.
    work: JoinHandle<Followers>,
    /// That no more is logged: the followers end with what is there.
    last: Stop,
}

/// The tasks that carry the logs of functions.
type Followers = HashMap<FunctionId, JoinHandle<()>>;

impl Session {
    /// Starts a node and begins to deploy the project. What happens is told in the events, which
    /// have to be received for the session to go on.
    pub fn start(
        config: Config,
        options: Options,
    ) -> BoxFuture<'static, Result<(Self, mpsc::Receiver<Event>), SessionError>> {
        Box::pin(Self::begin(config, options))
    }

    async fn begin(
        config: Config,
        options: Options,
    ) -> Result<(Self, mpsc::Receiver<Event>), SessionError> {
        let clock: Arc<dyn Clock> = Arc::new(store::SystemClock::new());
        let began = clock.monotonic();
        // Before there is a node, and a data folder: a folder without functions is left as it was.
        read_with(&config, &options, Arc::new(|_| false)).await?;
        let node = Arc::new(Node::new(config).await?);
        let project = match read(&node, &options).await {
            Ok(project) => project,
            Err(error) => {
                node.stop().await;
                return Err(error.into());
            }
        };
        let owned = match Owned::load(node.store(), &options.folder).await {
            Ok(owned) => owned,
            Err(error) => {
                node.stop().await;
                return Err(NodeError::from(error).into());
            }
        };
        let (events, receiver) = mpsc::channel(EVENTS);
        let stop = Arc::new(Notify::new());
        let last = Stop::new();
        let place = Place {
            node: Arc::clone(&node),
            host: node.build_host(),
            network: if options.outside_network {
                Network::Outside
            } else {
                Network::PlatformOnly
            },
            events: events.clone(),
        };
        let mut dev = Dev {
            node: Arc::clone(&node),
            options,
            events,
            began,
            deploying: Deploying::new(place, Arc::clone(&clock)),
            clock,
            last: last.stopping(),
            ready: false,
            unread: Changed::none(),
            deployed: HashMap::new(),
            broken: HashSet::new(),
            warned: HashSet::new(),
            owned,
            trials: Trials::default(),
        };
        let stopped = Arc::clone(&stop);
        let work = tokio::spawn(async move {
            let progress = tell_progress(dev.node.progress(), dev.events.clone());
            tokio::select! {
                () = dev.run(project) => {}
                () = progress => {}
                () = stopped.notified() => {}
            }
            dev.deploying.end().await;
            dev.trials.end();
            std::mem::take(&mut dev.deployed)
        });
        let session = Self {
            node,
            stop,
            work,
            last,
        };
        Ok((session, receiver))
    }

    /// The node that serves it.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Stops deploying, ends every instance and the node.
    pub fn stop(self) -> BoxFuture<'static, ()> {
        Box::pin(self.end())
    }

    async fn end(self) {
        self.stop.notify_one();
        // A loop that panicked has ended, too; its panic was reported where it happened.
        let followers = self.work.await.unwrap_or_default();
        self.node.stop().await;
        // What functions log at their end is told to those who watch.
        self.node.engine().logs().flush().await;
        self.last.give();
        for follower in followers.into_values() {
            let _ = follower.await;
        }
    }
}

/// Tells what the node does for all functions, until it is gone.
async fn tell_progress(mut progress: broadcast::Receiver<String>, events: mpsc::Sender<Event>) {
    loop {
        match progress.recv().await {
            Ok(line) => {
                let function = None;
                // Progress that the screen has no room for is old by the time it would be shown.
                let _ = events.try_send(Event::Building { function, line });
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn read(node: &Arc<Node>, options: &Options) -> Result<Project, stacks::Error> {
    read_with(node.config(), options, node.has()).await
}

async fn read_with(
    config: &Config,
    options: &Options,
    has: stacks::Has,
) -> Result<Project, stacks::Error> {
    let mut wanted = stacks::Options::new(config.account.clone(), config.region.clone());
    wanted.env_vars.clone_from(&options.env_vars);
    wanted.has = has;
    let folder = options.folder.clone();
    let reading = tokio::task::spawn_blocking(move || stacks::read(&folder, &wanted));
    match reading.await {
        Ok(project) => project,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// What the loop knows and changes.
struct Dev {
    node: Arc<Node>,
    options: Options,
    events: mpsc::Sender<Event>,
    clock: Arc<dyn Clock>,
    began: Duration,
    /// Ended with the session.
    deploying: Deploying,
    /// Whether the first deployments have ended, and it was told.
    ready: bool,
    /// Changes since the project could last be read.
    unread: Changed,
    /// Functions of this session, each with the task that carries its log.
    deployed: Followers,
    last: Stopping,
    /// Functions that could not be deployed as they are.
    broken: HashSet<FunctionName>,
    /// What the last read of the project warned of.
    warned: HashSet<String>,
    owned: Owned,
    trials: Trials,
}

impl Drop for Dev {
    fn drop(&mut self) {
        for follower in self.deployed.values() {
            follower.abort();
        }
    }
}

impl Dev {
    async fn run(&mut self, mut project: Project) {
        self.tell(Event::Listening {
            origin: self.node.origin(),
            took: self.since(self.began),
        })
        .await;
        for warning in self.node.warnings() {
            self.warn(None, warning).await;
        }
        // Watching begins before the first build, so that no save is missed during it.
        let mut watch = self.watch(&project).await;
        self.show_warnings(&project).await;
        self.remove_strangers(&project).await;
        self.reserve_urls(&project).await;
        let all: Vec<usize> = (0..project.functions.len()).collect();
        self.deploy(&project, &all, self.began);
        loop {
            let burst = match self.heard(&project, watch.as_ref()).await {
                Ok(burst) => burst,
                Err(error) => {
                    watch = self.poll(&project, &error).await;
                    Burst {
                        changed: Changed::Anything,
                        began: self.clock.monotonic(),
                    }
                }
            };
            let unread = std::mem::replace(&mut self.unread, Changed::none());
            let changed = unread.and(burst.changed);
            match what_changed(&project, &changed) {
                Change::Functions(functions) => self.deploy(&project, &functions, burst.began),
                Change::Project => match read(&self.node, &self.options).await {
                    Ok(read) => {
                        project = read;
                        watch = self.watch_on(watch, &project).await;
                        self.show_warnings(&project).await;
                        let planned = |name: &FunctionName| {
                            project.functions.iter().any(|plan| plan.name == *name)
                        };
                        self.deploying.give_up(planned);
                        self.remove_strangers(&project).await;
                        self.reserve_urls(&project).await;
                        let functions = self.worth_deploying(&project, &changed);
                        self.deploy(&project, &functions, burst.began);
                    }
                    Err(error) => {
                        self.unread = changed;
                        self.warn(None, format!("{error}; what is deployed goes on"))
                            .await;
                    }
                },
            }
        }
    }

    /// The next burst of changes. Until then deployments go on and are told of. Where nothing is
    /// watched that is for as long as the session serves.
    async fn heard(
        &mut self,
        project: &Project,
        watch: Option<&Watch>,
    ) -> Result<Burst, notify::Error> {
        let clock = Arc::clone(&self.clock);
        let heard = async {
            match watch {
                Some(watch) => watch.next(&*clock).await,
                None => std::future::pending().await,
            }
        };
        let mut heard = std::pin::pin!(heard);
        loop {
            if !self.ready && self.deploying.is_empty() {
                self.ready = true;
                self.show_ready(project, watch).await;
            }
            tokio::select! {
                burst = &mut heard => return burst,
                Some(ended) = self.deploying.next() => self.ended(project, ended).await,
            }
        }
    }

    async fn show_ready(&self, project: &Project, watch: Option<&Watch>) {
        self.tell(Event::Ready {
            functions: self.deployed.len(),
            planned: project.functions.len(),
            took: self.since(self.began),
            watching: watch.map_or(Watching::Off, Watch::watching),
        })
        .await;
    }

    async fn watch(&self, project: &Project) -> Option<Watch> {
        if !self.options.watch {
            return None;
        }
        let drive = stacks::drive(&self.options.folder);
        if let Some(advice) = drive.advice() {
            self.warn(None, advice).await;
        }
        match Watch::start(project.watch.clone(), drive.needs_polling()).await {
            Ok(watch) => Some(watch),
            Err(error) => self.poll(project, &error).await,
        }
    }

    /// Goes on watching a project that was read again.
    async fn watch_on(&self, watch: Option<Watch>, project: &Project) -> Option<Watch> {
        match watch.as_ref()?.follow(project.watch.clone()).await {
            Ok(()) => watch,
            Err(error) => self.poll(project, &error).await,
        }
    }

    /// Out of watches, most often; looking at the files needs none.
    async fn poll(&self, project: &Project, error: &notify::Error) -> Option<Watch> {
        let advice =
            "raise fs.inotify.max_user_watches; until then files are looked at once a second";
        self.warn(None, format!("files cannot be watched: {error}; {advice}"))
            .await;
        let polling = Watch::start(project.watch.clone(), true).await;
        match polling {
            Ok(watch) => Some(watch),
            Err(error) => {
                let text = format!("files cannot be looked at: {error}; changes are not deployed");
                self.warn(None, text).await;
                None
            }
        }
    }

    /// All functions but those that would only fail again, and those that are being deployed as
    /// they are.
    fn worth_deploying(&self, project: &Project, changed: &Changed) -> Vec<usize> {
        let any = |is: &dyn Fn(&Path) -> bool| match changed {
            Changed::Anything => true,
            Changed::Paths(paths) => paths.iter().any(|path| is(path)),
        };
        let worth = |place: usize, plan: &FunctionPlan| match self.deploying.plan_of(&plan.name) {
            Some(deploying) => {
                deploying != plan || any(&|path| project.watch.builds_from(path, place))
            }
            None => {
                !self.broken.contains(&plan.name)
                    || any(&|path| project.watch.concerns(path, place))
            }
        };
        let functions = project.functions.iter().enumerate();
        functions
            .filter(|(place, plan)| worth(*place, plan))
            .map(|(place, _)| place)
            .collect()
    }

    fn deploy(&mut self, project: &Project, functions: &[usize], began: Duration) {
        let plans = functions
            .iter()
            .filter_map(|index| project.functions.get(*index));
        self.deploying.begin(plans.cloned().collect(), began);
    }

    /// What becomes of a deployment: one that was made counts, even if it was to be given up.
    async fn ended(&mut self, project: &Project, ended: Ended) {
        let Ended {
            plan, began, done, ..
        } = ended;
        let name = &plan.name;
        let done = match done {
            Ok(done) => self.keep(done).await,
            Err(_) if ended.given_up => return self.show_unchanged(&plan).await,
            Err(failed) => Err(failed),
        };
        self.broken.remove(name);
        if !project.functions.iter().any(|plan| plan.name == *name) {
            return self.remove_strangers(project).await;
        }
        match done {
            Ok(Some(done)) => self.show_deployed(&plan, done, began).await,
            Ok(None) => self.show_unchanged(&plan).await,
            Err(failed) => {
                self.broken.insert(name.clone());
                self.show_broken(&plan, &failed).await;
            }
        }
    }

    /// Makes a deployed function the session's own. Answers none where there is nothing to tell.
    async fn keep(&mut self, done: deploy::Done) -> Result<Option<deploy::Done>, Failed> {
        self.owned.add(&done.id).await?;
        let first = self.follow(&done.id);
        let news = first || done.deployed.changed || self.broken.contains(&done.id.name);
        Ok(news.then_some(deploy::Done {
            again: !first,
            ..done
        }))
    }

    /// Shows the function's log, and answers whether it was not shown before.
    fn follow(&mut self, id: &FunctionId) -> bool {
        let first = !self.deployed.contains_key(id);
        if first {
            let (events, last) = (self.events.clone(), self.last.clone());
            let follower = logs::follow(self.node.engine(), id, events, last);
            self.deployed.insert(id.clone(), follower);
        }
        first
    }

    async fn show_broken(&mut self, plan: &FunctionPlan, failed: &Failed) {
        let id = deploy::id(&self.node, plan);
        let mut url = None;
        // What an earlier session deployed goes on, too.
        if self.owned.has(&id) && self.node.engine().find(&id.unqualified()).is_ok() {
            self.follow(&id);
            self.open_urls().await;
            (url, _) = self.node.urls_of(&id);
        }
        let (function, error) = (plan.name.to_string(), failed.to_string());
        self.tell(Event::Broken {
            function,
            error,
            url,
        })
        .await;
    }

    async fn show_unchanged(&self, plan: &FunctionPlan) {
        if self.deploying.plan_of(&plan.name).is_none() {
            let function = plan.name.to_string();
            self.tell(Event::Unchanged { function }).await;
        }
    }

    async fn reserve_urls(&self, project: &Project) {
        let with_url = project.functions.iter().filter(|plan| plan.url.is_some());
        let ids = with_url.map(|plan| deploy::id(&self.node, plan));
        self.node.reserve_urls(&ids.collect()).await;
    }

    async fn open_urls(&self) {
        for (id, problem) in self.node.open_urls().await {
            self.warn(Some(id.name.to_string()), problem).await;
        }
    }

    async fn show_deployed(&mut self, plan: &FunctionPlan, done: deploy::Done, began: Duration) {
        let function = plan.name.to_string();
        for warning in done.deployed.warnings {
            self.warn(Some(function.clone()), warning).await;
        }
        self.open_urls().await;
        let (url, host_url) = self.node.urls_of(&done.id);
        self.tell(Event::Deployed {
            function,
            url,
            host_url,
            runtime: plan.runtime.to_string(),
            took: self.since(began),
            again: done.again,
        })
        .await;
        (self.trials).begin(&done.id, &self.node, &self.events, &self.clock);
    }

    /// Removes what earlier reads or sessions of this project deployed and it has no longer.
    async fn remove_strangers(&mut self, project: &Project) {
        let planned = project.functions.iter().map(|plan| &plan.name);
        let names: BTreeSet<_> = planned.chain(&project.left_out).collect();
        let region = &self.node.config().region;
        let has = |id: &FunctionId| id.region != *region || names.contains(&id.name);
        for id in self.owned.strangers(has) {
            if let Err(error) = self.remove(&id).await {
                self.warn(None, format!("{}: {error}", arn::function(&id)))
                    .await;
            }
        }
    }

    async fn remove(&mut self, id: &FunctionId) -> Result<(), Failed> {
        let who = Principal::Account(id.account.clone());
        let removed = match self.node.engine().remove(&who, id).await {
            Ok(()) => true,
            // Somebody else did it.
            Err(engine::Error::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        self.owned.forget(id).await?;
        if let Some(follower) = self.deployed.remove(id) {
            follower.abort();
        }
        if removed {
            let function = id.name.to_string();
            self.tell(Event::Removed { function }).await;
        }
        Ok(())
    }

    /// Those that were not there at the last read.
    async fn show_warnings(&mut self, project: &Project) {
        let warnings: HashSet<String> = project.warnings.iter().cloned().collect();
        let before = std::mem::replace(&mut self.warned, warnings);
        for warning in &project.warnings {
            if !before.contains(warning) {
                self.warn(None, warning.clone()).await;
            }
        }
    }

    async fn warn(&self, function: Option<String>, text: String) {
        self.tell(Event::Warning { function, text }).await;
    }

    async fn tell(&self, event: Event) {
        // Nobody listens any more when the session is about to be dropped.
        let _ = self.events.send(event).await;
    }

    fn since(&self, began: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(began)
    }
}

/// What a burst of changes comes to.
enum Change {
    Project,
    Functions(Vec<usize>),
}

fn what_changed(project: &Project, changed: &Changed) -> Change {
    let Changed::Paths(paths) = changed else {
        return Change::Project;
    };
    let mut functions = BTreeSet::new();
    for path in paths {
        match project.watch.relevant(path) {
            Some(Relevant::Project) => return Change::Project,
            Some(Relevant::Functions(indexes)) => functions.extend(indexes),
            None => {}
        }
    }
    Change::Functions(functions.into_iter().collect())
}
