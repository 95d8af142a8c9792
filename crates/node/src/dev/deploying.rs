//! The deployments under way, at most one of each function. One that is overtaken by a change of its
//! function is given up, and the new one begins once nothing of it goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::FunctionName;
use stacks::{FunctionPlan, Progress as _};
use store::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::deploy::{self, Done, Failed, Place};

/// After how long it is told that a function is still being built (ours), and after twice as long
/// each further time.
const STILL: Duration = Duration::from_secs(10);
/// Longest time between two such lines (ours).
const STILL_MAX: Duration = Duration::from_secs(5 * 60);

/// What is under way. A build that ends kills its tools.
pub(super) struct Deploying {
    place: Place,
    clock: Arc<dyn Clock>,
    running: JoinSet<Ended>,
    functions: HashMap<FunctionName, Underway>,
}

/// A function that is being deployed.
struct Underway {
    plan: FunctionPlan,
    give_up: watch::Sender<bool>,
    /// What follows.
    next: Option<Order>,
}

/// A deployment that is to be made.
struct Order {
    plan: FunctionPlan,
    place: Place,
    began: Duration,
}

/// A deployment that has ended.
pub(super) struct Ended {
    pub(super) plan: FunctionPlan,
    /// When the change was heard that led to it.
    pub(super) began: Duration,
    pub(super) done: Result<Done, Failed>,
    /// Whether its function had changed, or gone, in the meantime.
    pub(super) given_up: bool,
}

impl Deploying {
    pub(super) fn new(place: Place, clock: Arc<dyn Clock>) -> Self {
        Self {
            place,
            clock,
            running: JoinSet::new(),
            functions: HashMap::new(),
        }
    }

    /// Deploys functions as they are now, a few at the same time and each at once; what is under
    /// way of other functions holds none of them up.
    pub(super) fn begin(&mut self, plans: Vec<FunctionPlan>, began: Duration) {
        let place = self.place.of_a_round();
        for plan in plans {
            let order = Order {
                plan,
                place: place.clone(),
                began,
            };
            match self.functions.get_mut(&order.plan.name) {
                Some(underway) => {
                    underway.give_up.send_replace(true);
                    underway.next = Some(order);
                }
                None => self.start(order),
            }
        }
    }

    /// Gives up what is under way of functions that are not, or no longer, to be deployed.
    pub(super) fn give_up(&mut self, unless: impl Fn(&FunctionName) -> bool) {
        for (name, underway) in &mut self.functions {
            if !unless(name) {
                underway.give_up.send_replace(true);
                underway.next = None;
            }
        }
    }

    /// What a function will have been deployed as, if it is being deployed.
    pub(super) fn plan_of(&self, name: &FunctionName) -> Option<&FunctionPlan> {
        let underway = self.functions.get(name)?;
        if let Some(next) = &underway.next {
            return Some(&next.plan);
        }
        let goes_on = !*underway.give_up.borrow();
        goes_on.then_some(&underway.plan)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The next that ends; none while nothing is under way. Nothing is lost if it is not waited
    /// for.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        let mut ended = match self.running.join_next().await? {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return None,
            },
        };
        if let Some(underway) = self.functions.remove(&ended.plan.name) {
            ended.given_up = *underway.give_up.borrow();
            if let Some(next) = underway.next {
                self.start(next);
            }
        }
        Some(ended)
    }

    /// Ends all at once, and resolves when it has ended.
    pub(super) async fn end(&mut self) {
        self.running.shutdown().await;
        self.functions.clear();
    }

    fn start(&mut self, order: Order) {
        let (give_up, given_up) = watch::channel(false);
        let underway = Underway {
            plan: order.plan.clone(),
            give_up,
            next: None,
        };
        self.functions.insert(order.plan.name.clone(), underway);
        let clock = Arc::clone(&self.clock);
        self.running.spawn(async move {
            let Order { plan, place, began } = order;
            let done = {
                let deployed = deploy::function(&place, &plan, &given_up);
                tokio::select! {
                    done = deployed => done,
                    never = tell_still(&place, &plan, began, &*clock) => match never {},
                }
            };
            Ended {
                plan,
                began,
                done,
                given_up: false,
            }
        });
    }
}

/// Tells now and then that a function is still being built.
async fn tell_still(
    place: &Place,
    plan: &FunctionPlan,
    began: Duration,
    clock: &dyn Clock,
) -> std::convert::Infallible {
    let told = place.told(plan);
    let mut pause = STILL;
    loop {
        clock.sleep(pause).await;
        let took = clock.monotonic().saturating_sub(began).as_secs();
        told.line(&format!("still building ({took} s)"));
        pause = STILL_MAX.min(2 * pause);
    }
}
