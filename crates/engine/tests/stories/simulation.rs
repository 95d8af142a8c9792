//! Random deeds under a seed: whatever happens in whatever order, nothing leaks, no limit is
//! passed, nobody waits for ever and every accepted event ends once.

use std::collections::HashMap;
use std::time::Duration;

use engine::Error;
use engine::verb::EventState;
use model::{End, Execution, InvocationId};
use store::Store;
use tokio::task::JoinHandle;

use crate::clock::settle;
use crate::fake::StartAs;
use crate::world::{World, owner, request};

const NAMES: [&str; 3] = ["a", "b", "c"];
const CONCURRENCY: u32 = 6;
const MEMORY_MB: u64 = 700;
const STEPS: usize = 250;

struct Simulation {
    world: World,
    seed: u64,
    running: Vec<JoinHandle<Result<Execution, Error>>>,
    /// Events that were accepted.
    events: Vec<InvocationId>,
    ran: u64,
    refused: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::with(seed, |config| {
            config.account_concurrency = CONCURRENCY;
            config.memory_mb_max = MEMORY_MB;
            config.starts_at_once = 2;
        });
        Self {
            world,
            seed,
            running: Vec::new(),
            events: Vec::new(),
            ran: 0,
            refused: 0,
        }
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.world.clock.next_u64() >> 33).unwrap() % bound
    }

    fn name(&self) -> &'static str {
        NAMES[self.below(NAMES.len())]
    }

    /// One process, from its begin to its end or crash.
    async fn live(&mut self, to_the_end: bool) {
        if self.events.is_empty() {
            for name in NAMES {
                self.world.function(name).await;
            }
        }
        for _ in 0..STEPS {
            self.step().await;
            self.check();
        }
        if to_the_end {
            self.wind_down().await;
            self.check_ends().await;
            self.stop().await;
        }
    }

    async fn stop(&self) {
        let seed = self.seed;
        let engine = self.world.engine().clone();
        let stop = tokio::spawn(async move { engine.stop(Duration::from_secs(1)).await });
        self.world.clock.advance(Duration::from_secs(2)).await;
        stop.await.unwrap();
        assert!(
            self.world.runtime.alive().is_empty(),
            "seed {seed}: left alive"
        );
        assert_eq!(self.world.runtime.memory_mb().0, 0, "seed {seed}");
        assert_eq!(self.world.engine().stats().memory_mb, 0, "seed {seed}");
    }

    async fn step(&mut self) {
        match self.below(20) {
            0..=5 => {
                let payload = ["", "hold", "hold", "hold", "crash", "fail"][self.below(6)];
                let running = self.world.begin(self.name(), payload).await;
                self.running.push(running);
            }
            6..=8 => self.release_one().await,
            9 => self.submit().await,
            10 => self.redeploy().await,
            11 => self.kill_one().await,
            12 => self.world.runtime.hold_starts(self.below(2) == 0),
            13..=15 => self.end_a_start(),
            16 => self.freeze_slowly(),
            17 => self.abandon_one(),
            18 => {
                let by = [10, 200, 5_000, 90_000, 400_000][self.below(5)];
                self.world.clock.advance(Duration::from_millis(by)).await;
            }
            _ => {
                let end = [
                    StartAs::Ready,
                    StartAs::Ready,
                    StartAs::Failed,
                    StartAs::CannotStart,
                ];
                self.world.runtime.starts_end(end[self.below(4)]);
            }
        }
        settle().await;
    }

    async fn release_one(&self) {
        let held = self.world.runtime.held_calls();
        if !held.is_empty() {
            let (instance, id) = &held[self.below(held.len())];
            let end = [End::Replied, End::Replied, End::Failed][self.below(3)];
            instance.release(id, end);
            settle().await;
        }
    }

    async fn submit(&mut self) {
        let payload = ["", "hold", "fail", "crash"][self.below(4)];
        let submitted = self
            .world
            .engine()
            .submit(request(self.name(), payload))
            .await;
        self.events.push(submitted.unwrap());
    }

    async fn redeploy(&self) {
        let mut deployment = self.world.deployment(u32::try_from(self.below(3)).unwrap());
        deployment.reserved_concurrency = [None, None, Some(0), Some(1), Some(2)][self.below(5)];
        deployment.config.memory_mb = [128, 200][self.below(2)];
        match self.world.try_deploy(self.name(), deployment).await {
            Ok(_) | Err(Error::ReservationTooLarge { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn kill_one(&self) {
        let alive = self.world.runtime.alive();
        if !alive.is_empty() {
            alive[self.below(alive.len())].die();
        }
    }

    fn end_a_start(&self) {
        if self.world.runtime.starting() > 0 {
            let ends = [
                StartAs::Ready,
                StartAs::Ready,
                StartAs::TimedOut,
                StartAs::Failed,
            ];
            self.world.runtime.end_start(ends[self.below(4)]);
        }
    }

    fn freeze_slowly(&self) {
        for instance in self.world.runtime.alive() {
            instance.hold_freeze.send_replace(self.below(3) == 0);
        }
    }

    fn abandon_one(&mut self) {
        if !self.running.is_empty() {
            let at = self.below(self.running.len());
            self.running.swap_remove(at).abort();
        }
    }

    fn check(&self) {
        let seed = self.seed;
        let stats = self.world.engine().stats();
        let (memory_mb, most_mb) = self.world.runtime.memory_mb();
        assert!(most_mb <= MEMORY_MB, "seed {seed}: {most_mb} MB");
        assert!(
            stats.memory_mb >= memory_mb,
            "seed {seed}: memory that nobody counts"
        );
        assert!(stats.memory_mb <= MEMORY_MB, "seed {seed}");
        assert!(
            stats.in_flight <= u64::from(CONCURRENCY),
            "seed {seed}: {}",
            stats.in_flight
        );
        let held = self.world.runtime.held_calls().len();
        assert!(held <= CONCURRENCY as usize, "seed {seed}: {held} calls");
    }

    /// Lets everything come to its end.
    async fn wind_down(&mut self) {
        let runtime = &self.world.runtime;
        runtime.hold_starts(false);
        runtime.starts_end(StartAs::Ready);
        for name in NAMES {
            let deployment = self.world.deployment(1);
            self.world.deploy(name, deployment).await;
        }
        for _ in 0..40 {
            for instance in runtime.instances() {
                instance.hold_freeze.send_replace(false);
            }
            while runtime.starting() > 0 {
                runtime.end_start(StartAs::Ready);
                settle().await;
            }
            self.world.release_all().await;
            self.world.clock.advance(Duration::from_secs(60)).await;
        }
        for running in self.running.drain(..) {
            match running.await.unwrap() {
                Ok(_) => self.ran += 1,
                Err(Error::Throttled { .. }) => self.refused += 1,
                Err(Error::CannotStart(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn check_ends(&self) {
        let seed = self.seed;
        let mut ends: HashMap<EventState, u64> = HashMap::new();
        for id in &self.events {
            let view = self
                .world
                .engine()
                .event(&owner(), id)
                .await
                .unwrap()
                .unwrap();
            assert_ne!(view.state, EventState::Accepted, "seed {seed}: {view:?}");
            *ends.entry(view.state).or_default() += 1;
        }
        let succeeded = ends.remove(&EventState::Succeeded).unwrap_or_default();
        let dead: u64 = ends.values().sum();
        assert_eq!(succeeded + dead, self.events.len() as u64, "seed {seed}");
        let queues = self.world.store.queues("events", None, 10).await.unwrap();
        assert_eq!(queues, [], "seed {seed}");
        let letters = self
            .world
            .store
            .list("dead_letters", "", None, 1000)
            .await
            .unwrap();
        assert_eq!(letters.len() as u64, dead, "seed {seed}");
        let stats = self.world.engine().stats();
        assert_eq!(stats.in_flight, 0, "seed {seed}");

        // Every permit is back: as many as ever can run at once.
        let engine = self.world.engine();
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(self.world.begin("a", "hold").await);
        }
        assert_eq!(engine.stats().in_flight, 5, "seed {seed}");
        self.world.release_all().await;
        for one in all {
            one.await.unwrap().unwrap();
        }
    }
}

/// Random deeds in as many processes, one after the other, each but the last of which crashes.
fn simulate(seed: u64, processes: usize) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    for process in 1..=processes {
        let tokio = simulation.world.take_tokio();
        tokio.block_on(simulation.live(process == processes));
        simulation.world.put_tokio(tokio);
        if process < processes {
            simulation.running.clear();
            simulation.world.crash();
        }
    }
    (simulation.ran, simulation.refused)
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let (mut ran, mut refused) = (0, 0);
    for seed in 1..=seeds() {
        let numbers = simulate(seed, 1);
        ran += numbers.0;
        refused += numbers.1;
    }
    assert!(
        ran > 500 && refused > 50,
        "it did something: {ran} ran, {refused} were refused"
    );
}

#[test]
fn nor_when_the_process_dies_in_the_middle() {
    for seed in 1..=seeds() / 2 {
        simulate(1_000_000 + seed, 3);
    }
}

/// More of them where the environment asks for more.
fn seeds() -> u64 {
    std::env::var("ENGINE_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60)
}
