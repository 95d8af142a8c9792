//! The only decider: what is deployed, who may run it, where it runs and what is kept of it.
//! It names no wire format, no operating system call and no cloud.

mod admission;
mod apply;
mod catalog;
mod change;
mod code;
mod deliver;
mod deploy;
mod error;
mod event;
mod forget;
mod idle;
mod instance;
mod instances;
mod invoke;
pub mod keys;
mod layer;
mod log;
pub mod log_group;
mod meter;
mod pool;
pub mod port;
mod record;
mod resume;
mod settings;
mod start;
mod stats;
mod stop;
pub mod stream;
mod sweep;
mod trial;
mod turns;
mod url;
pub mod verb;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use model::{
    AccountId, AliasName, Code, Execution, FunctionId, FunctionRef, InvocationId, LayerId,
    LayerVersionId, Principal, Qualifier, Region, UrlConfig,
};
use parking_lot::Mutex;
use store::{Clock, LogWriter, Logs, Store, Trees};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use code::Packed;
pub use error::{Error, ThrottleReason};
use settings::qualifier_key;
pub use stats::{InstanceState, InstanceView, Stats};
use verb::{
    Alias, AliasChange, Changed, Creation, Deployed, Deployment, EventView, Expected, FunctionView,
    Invoke, LayerPublication, LayerView, Policy, Publication, Retries, Statement, Update,
    UrlSettings, UrlView,
};

/// Everything the engine may be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Invocations of one account that may be in flight at once.
    pub account_concurrency: u32,
    /// Memory settings of all instances together, in MB.
    pub memory_mb_max: u64,
    /// Instances that are started at once; further starts wait for their turn.
    pub starts_at_once: usize,
    /// Requests of one version at work from which on others are held for a moment, if they are
    /// short, instead of being given to one more instance.
    pub hold_from: usize,
    /// How long an idle instance is kept.
    pub keep_alive: Duration,
    /// How long an instance stays thawed after its last reply.
    pub freeze_after: Duration,
}

/// A handle to the engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all handles and the engine's own tasks share.
#[derive(Debug)]
struct Shared {
    config: Config,
    store: Arc<dyn Store>,
    trees: Arc<Trees>,
    logs: Logs,
    clock: Arc<dyn Clock>,
    runtime: Arc<dyn port::Runtime>,
    catalog: ArcSwap<catalog::Catalog>,
    layers: ArcSwap<layer::Layers>,
    groups: log_group::State,
    keys: keys::Keys,
    generation: watch::Sender<u64>,
    /// Held by whoever changes the catalog, so that changes are seen in the order they are kept.
    writing: tokio::sync::Mutex<()>,
    instances: Arc<instances::Instances>,
    in_flight: stop::InFlightCount,
    counters: stats::Counters,
    trials: tokio::sync::Semaphore,
    /// Places for archives that are made for whoever asks.
    packs: Arc<tokio::sync::Semaphore>,
    /// Turns at making them.
    packing: Arc<tokio::sync::Semaphore>,
    meter: Arc<meter::Meter>,
    meter_log: LogWriter,
    events: event::Events,
    /// Notified when there is something to forget one day, or too much by now.
    forget: Notify,
    /// Ended by `stop`.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// The log stream that holds a [`model::MeterRecord`], as JSON, of each invocation.
    pub const METER_KEY: &str = "meter";

    /// Loads the catalog and begins to deliver events that an earlier process accepted. Must be
    /// called, and lives, in a tokio runtime.
    ///
    /// Boxed, so that it is compiled here.
    pub fn open(
        config: Config,
        store: Arc<dyn Store>,
        trees: Arc<Trees>,
        logs: Logs,
        clock: Arc<dyn Clock>,
        runtime: Arc<dyn port::Runtime>,
    ) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(async move {
            let catalog = catalog::Catalog::load(&*store, config.account_concurrency).await?;
            let layers = layer::Layers::load(&*store).await?;
            let keys = keys::Keys::open(Arc::clone(&store), Arc::clone(&clock)).await?;
            let shared = Arc::new(Shared {
                layers: ArcSwap::from_pointee(layers),
                groups: log_group::State::load(&*store, &*clock).await?,
                keys,
                events: event::Events::new(&catalog.wake),
                catalog: ArcSwap::from_pointee(catalog),
                generation: watch::Sender::new(0),
                writing: tokio::sync::Mutex::default(),
                instances: instances::Instances::new(&config, Arc::clone(&clock)),
                in_flight: stop::InFlightCount::default(),
                counters: stats::Counters::default(),
                trials: tokio::sync::Semaphore::new(trial::TRIALS_MAX),
                packs: Arc::new(tokio::sync::Semaphore::new(code::PACKED_MAX)),
                packing: Arc::new(tokio::sync::Semaphore::new(code::PACKING_MAX)),
                meter: Arc::default(),
                meter_log: logs.writer_keeping(Self::METER_KEY, meter::KEPT_BYTES),
                forget: Notify::new(),
                tasks: Mutex::default(),
                config,
                store,
                trees,
                logs,
                clock,
                runtime,
            });
            shared.find_waiting().await?;
            shared.resume_left().await;
            shared.begin_tasks();
            Ok(Self { shared })
        })
    }

    /// Makes `$LATEST` of a function what the deployment says. An unchanged one changes nothing.
    pub async fn deploy(
        &self,
        who: &Principal,
        function: &FunctionId,
        deployment: Deployment,
    ) -> Result<Deployed, Error> {
        self.shared.deploy(who, function, deployment).await
    }

    /// Records the loopback port on which the function's URL answers.
    pub async fn set_url_port(&self, function: &FunctionId, port: u16) -> Result<(), Error> {
        self.shared.set_url_port(function, port).await
    }

    /// Keeps code that comes as a zip archive, with the archive itself, until it is named by a
    /// function or a layer; what none names is swept away when the process starts anew.
    pub async fn unpack(&self, zip: Bytes) -> Result<Code, Error> {
        self.shared.unpack(zip).await
    }

    /// Code as a zip archive: the one that it came as, else one that is made of its folder.
    pub async fn packed(&self, code: &Code) -> Result<Packed, Error> {
        self.shared.packed(code).await
    }

    /// Makes a function that is not there yet.
    pub async fn create(
        &self,
        who: &Principal,
        function: &FunctionId,
        creation: Creation,
    ) -> Result<Changed, Error> {
        self.shared.create(who, function, creation).await
    }

    /// Changes settings or code of `$LATEST`. Made anew where the function changes meanwhile.
    pub async fn update(
        &self,
        who: &Principal,
        function: &FunctionId,
        update: Update,
    ) -> Result<Changed, Error> {
        self.shared.update(who, function, update).await
    }

    /// Makes an immutable version of `$LATEST`; the last one again if nothing changed since.
    pub async fn publish(
        &self,
        who: &Principal,
        function: &FunctionId,
        expected: Expected,
        publication: Publication,
    ) -> Result<Arc<FunctionView>, Error> {
        self.shared
            .publish(who, function, expected, publication)
            .await
    }

    /// Removes a published version that no alias leads to.
    pub async fn remove_version(
        &self,
        who: &Principal,
        function: &FunctionId,
        number: u64,
    ) -> Result<(), Error> {
        self.shared.remove_version(who, function, number).await
    }

    /// Makes or changes an alias: one version, or two with weights that sum to one.
    pub async fn set_alias(
        &self,
        who: &Principal,
        function: &FunctionId,
        name: &AliasName,
        change: AliasChange,
    ) -> Result<Alias, Error> {
        self.shared.set_alias(who, function, name, change).await
    }

    /// Removes an alias, if it is there.
    pub async fn remove_alias(
        &self,
        who: &Principal,
        function: &FunctionId,
        name: &AliasName,
    ) -> Result<(), Error> {
        self.shared.remove_alias(who, function, name).await
    }

    /// Reserves a part of the account's concurrency for the function alone, and limits it to
    /// that; none shares the account's again.
    pub async fn reserve(
        &self,
        who: &Principal,
        function: &FunctionId,
        reserved: Option<u32>,
    ) -> Result<(), Error> {
        self.shared.reserve(who, function, reserved).await
    }

    /// Adds labels and removes others.
    pub async fn tag(
        &self,
        who: &Principal,
        function: &FunctionId,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<(), Error> {
        self.shared.tag(who, function, add, remove).await
    }

    /// The policy of a function, a version or an alias, where it has one.
    pub fn policy(&self, target: &FunctionRef) -> Result<Option<Policy>, Error> {
        let catalog = self.shared.catalog.load();
        let entry = catalog.get(&target.function)?;
        entry.show(target)?;
        let policy = entry.record.policies.get(&qualifier_key(&target.qualifier));
        Ok(policy.map(record::PolicyRecord::view))
    }

    /// Adds a statement to a policy.
    pub async fn permit(
        &self,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        statement: Statement,
    ) -> Result<(), Error> {
        self.shared.permit(who, target, expected, statement).await
    }

    /// Removes a statement from a policy.
    pub async fn forbid(
        &self,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        id: &str,
    ) -> Result<(), Error> {
        self.shared.forbid(who, target, expected, id).await
    }

    /// How accepted events are tried, where that was decided for this very qualifier.
    pub fn retries(&self, target: &FunctionRef) -> Result<Option<Retries>, Error> {
        let catalog = self.shared.catalog.load();
        let entry = catalog.get(&target.function)?;
        entry.show(target)?;
        let retries = entry.record.retries.get(&qualifier_key(&target.qualifier));
        Ok(retries.map(record::RetryRecord::view))
    }

    /// The same for every qualifier for which it was decided.
    pub fn all_retries(&self, function: &FunctionId) -> Result<Vec<(Qualifier, Retries)>, Error> {
        let catalog = self.shared.catalog.load();
        let retries = catalog.get(function)?.record.retries.iter();
        let known = |(key, it): (&String, &record::RetryRecord)| {
            let qualifier = if key.is_empty() {
                Qualifier::Absent
            } else {
                key.parse().ok()?
            };
            Some((qualifier, it.view()))
        };
        Ok(retries.filter_map(known).collect())
    }

    /// Decides how accepted events are tried: `edit` is given what was decided before, and
    /// answers what is to hold; none is the default.
    pub async fn set_retries(
        &self,
        who: &Principal,
        target: &FunctionRef,
        edit: impl FnOnce(Option<Retries>) -> Result<Option<Retries>, Error> + Send + 'static,
    ) -> Result<Option<Retries>, Error> {
        self.shared.set_retries(who, target, edit).await
    }

    /// Makes a new version of a layer. Its trees must be stored already.
    pub async fn publish_layer(
        &self,
        who: &Principal,
        publication: LayerPublication,
    ) -> Result<Arc<LayerView>, Error> {
        self.shared.publish_layer(who, publication).await
    }

    /// One version of a layer, of the principal's own or shared with it.
    pub fn layer(&self, who: &Principal, id: &LayerVersionId) -> Result<Arc<LayerView>, Error> {
        self.shared.layer(who, id)
    }

    /// Versions of a layer, the newest first.
    pub fn layer_versions(
        &self,
        who: &Principal,
        layer: &LayerId,
    ) -> Result<Vec<Arc<LayerView>>, Error> {
        self.shared.layer_versions(who, layer)
    }

    /// The newest version of each of the account's layers in a region, by name.
    pub fn layers(&self, account: &AccountId, region: &Region) -> Vec<Arc<LayerView>> {
        self.shared.newest_layers(account, region)
    }

    /// Removes a version of a layer, if it is there; functions that have it keep it.
    pub async fn remove_layer(&self, who: &Principal, id: &LayerVersionId) -> Result<(), Error> {
        self.shared.remove_layer(who, id).await
    }

    /// Adds a statement to the policy of a version of a layer.
    pub async fn permit_layer(
        &self,
        who: &Principal,
        id: &LayerVersionId,
        expected: Expected,
        statement: Statement,
    ) -> Result<(), Error> {
        let change = layer::PolicyChange::Add(statement);
        self.shared
            .change_layer_policy(who, id, expected, change)
            .await
    }

    /// Removes a statement from the policy of a version of a layer.
    pub async fn forbid_layer(
        &self,
        who: &Principal,
        id: &LayerVersionId,
        expected: Expected,
        statement: &str,
    ) -> Result<(), Error> {
        let change = layer::PolicyChange::Remove(statement.to_owned());
        self.shared
            .change_layer_policy(who, id, expected, change)
            .await
    }

    /// A setting of the vendor's that was kept for the function.
    pub fn kept(&self, function: &FunctionId, name: &str) -> Result<Option<String>, Error> {
        let catalog = self.shared.catalog.load();
        Ok(catalog.get(function)?.record.kept.get(name).cloned())
    }

    /// Keeps a setting of the vendor's that nothing here reads, or forgets it.
    pub async fn keep(
        &self,
        who: &Principal,
        function: &FunctionId,
        name: impl Into<String>,
        value: Option<String>,
    ) -> Result<(), Error> {
        self.shared.keep(who, function, name.into(), value).await
    }

    /// Removes a function with its versions and aliases. Busy instances finish first.
    pub async fn remove(&self, who: &Principal, function: &FunctionId) -> Result<(), Error> {
        self.shared.remove(who, function).await
    }

    /// The version that a reference leads to; of an alias with two, the heavier.
    pub fn find(&self, target: &FunctionRef) -> Result<Arc<FunctionView>, Error> {
        let catalog = self.shared.catalog.load();
        let version = catalog.get(&target.function)?.show(target)?;
        Ok(Arc::clone(&version.view))
    }

    /// What answers at the URL that has this id.
    pub fn find_url(&self, url_id: &str) -> Option<Arc<UrlView>> {
        self.shared.catalog.load().by_url(url_id).cloned()
    }

    /// The URLs of a function and its aliases.
    pub fn urls(&self, function: &FunctionId) -> Result<Vec<(FunctionRef, UrlConfig)>, Error> {
        let catalog = self.shared.catalog.load();
        Ok(catalog.get(function)?.record.urls())
    }

    /// Gives a function or an alias a URL, changes it, or takes it away. Answers the URL.
    pub async fn set_url(
        &self,
        who: &Principal,
        target: &FunctionRef,
        expected: Expected,
        settings: Option<UrlSettings>,
    ) -> Result<Option<UrlConfig>, Error> {
        self.shared.set_url(who, target, expected, settings).await
    }

    /// `$LATEST` of each of the account's functions, by region and name.
    pub fn list(&self, account: &AccountId, region: Option<&Region>) -> Vec<Arc<FunctionView>> {
        let catalog = self.shared.catalog.load();
        let of = |view: &&Arc<FunctionView>| {
            view.id.account == *account && region.is_none_or(|region| view.id.region == *region)
        };
        let views = catalog.entries().map(|entry| &entry.latest.view);
        let mut views: Vec<_> = views.filter(of).cloned().collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        views
    }

    /// Runs a function now. A caller that goes away does not end the invocation.
    pub async fn invoke(&self, request: Invoke) -> Result<Execution, Error> {
        invoke::begin(&self.shared, request)?.await
    }

    /// Runs a function now and hands its answer on while it is written. Who reads slowly slows the
    /// function down, within its timeout; who goes away does not end the invocation.
    pub fn stream(&self, request: Invoke) -> Result<stream::Streamed, Error> {
        let (sink, reader) = stream::open(Arc::clone(&self.shared.clock));
        let running = invoke::begin_streaming(&self.shared, request, sink)?;
        let version = running.version;
        let mut streamed = reader.of(self.shared.instances.handle.spawn(running));
        streamed.version = Some(version);
        Ok(streamed)
    }

    /// Accepts an event: once this resolves to `Ok` it is on disk and will come to an end, with
    /// retries, over restarts.
    pub async fn submit(&self, request: Invoke) -> Result<InvocationId, Error> {
        self.shared.submit(request).await
    }

    /// What became of an accepted event; none where it was never accepted, is forgotten, or is
    /// another account's.
    pub async fn event(
        &self,
        who: &Principal,
        id: &InvocationId,
    ) -> Result<Option<EventView>, Error> {
        self.shared.event(who, id).await
    }

    /// Tells of every change of the catalog; the value is its generation.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// The function's live instances, of all versions. May block as `instances_by_function`.
    pub fn instances(&self, function: &FunctionId) -> Vec<InstanceView> {
        self.shared.instances.of(function)
    }

    /// The live instances of all of the account's functions. As each is asked for its memory, which
    /// may take a file to read, this may block.
    pub fn instances_by_function(
        &self,
        account: &AccountId,
    ) -> HashMap<FunctionId, Vec<InstanceView>> {
        let of = |function: &FunctionId| function.account == *account;
        self.shared.instances.by_function(of)
    }

    /// Access keys and temporary credentials.
    pub fn keys(&self) -> &keys::Keys {
        &self.shared.keys
    }

    /// Log groups, which show the logs of functions and what clients put.
    pub fn log_groups(&self) -> log_group::LogGroups {
        log_group::LogGroups::new(&self.shared)
    }

    /// The logs of functions; see [`Engine::log_key`].
    pub fn logs(&self) -> &Logs {
        &self.shared.logs
    }

    /// The stream that holds a function's log.
    pub fn log_key(function: &FunctionId) -> String {
        format!("{}/{}/{}", function.account, function.region, function.name)
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let (instances, frozen) = self.shared.instances.count();
        Stats {
            instances,
            frozen,
            in_flight: self.shared.in_flight.count() as u64,
            memory_mb: self.shared.instances.memory_mb(),
            memory_mb_max: self.shared.instances.memory_mb_max,
            functions: self.shared.catalog.load().len() as u64,
            meter_dropped: self.shared.meter.dropped(),
            ..self.shared.counters.read()
        }
    }

    /// Takes nothing new, lets busy instances finish for up to `grace`, and lets go of all, for a
    /// later process to resume; those that cannot be resumed are stopped.
    pub async fn leave(&self, grace: Duration) {
        self.shared.leave(grace).await;
    }

    /// Resolves when no invocation is in flight.
    pub async fn idle(&self) {
        self.shared.is_idle().await;
    }

    /// Takes nothing new, lets busy instances finish for up to `grace`, and stops them all.
    pub async fn stop(&self, grace: Duration) {
        self.shared.stop(grace).await;
    }
}

impl Shared {
    fn begin_tasks(self: &Arc<Self>) {
        let meter = (
            Arc::clone(&self.meter),
            self.meter_log.clone(),
            Arc::clone(&self.clock),
        );
        let tasks = [
            tokio::spawn(idle::run(Arc::clone(&self.instances))),
            tokio::spawn(deliver::run(Arc::clone(self))),
            tokio::spawn(forget::run(Arc::clone(self))),
            tokio::spawn(sweep::run(Arc::clone(self))),
            tokio::spawn(log_group::run_retention(Arc::clone(self))),
            tokio::spawn(meter::run(meter.0, meter.1, meter.2)),
        ];
        self.tasks.lock().extend(tasks);
    }
}
