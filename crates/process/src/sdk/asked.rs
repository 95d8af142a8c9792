//! What a function first asks for while it runs: which names may be asked for, who waits for whose
//! fetch, and what could not be fetched a moment ago. A function can ask for whatever it likes as
//! often as it likes, so that all of it has bounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::FunctionId;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use super::{MODULES, Sdk, node};
use crate::instance::own::{OwnTime, STANDS_MAX};
use crate::interpreter::{Finder, Interpreter, Language};

/// How long it is remembered that something could not be fetched, so that a function cannot have
/// the host's tools run in a loop (ours).
const REMEMBERED: Duration = Duration::from_secs(60);
/// What may be remembered so of one function, and of all (ours): no more is tried meanwhile.
const FAILED_OF_ONE_MAX: usize = 4;
const FAILED_MAX: usize = 16;
/// Fetches that run at once, and those that run or wait for their turn, of one function and of all
/// (ours).
const AT_ONCE: usize = 2;
const RUNNING_OF_ONE_MAX: usize = 4;
const RUNNING_MAX: usize = 16;
/// How long whoever asks is kept waiting; the fetch goes on.
const WAIT_LIMIT: Duration = STANDS_MAX;
/// Longest name, in bytes: npm's own limit.
const NAME_BYTES_MAX: usize = 214;

/// How a fetch ended: why it could not be done, if it could not.
type Ended = Result<(), String>;

/// Something that Lambda's runtimes bring.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// All that Python's bring, for this minor version.
    Boto3(u32),
    /// One package of Node's, for this major version.
    Package(u32, String),
}

impl Wanted {
    /// What a function means that asks for a module or a package by name; None where that is
    /// nothing of the SDK's.
    fn of(language: Language, name: &str) -> Option<Self> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        match language {
            Language::Python(minor) => MODULES.contains(&name).then_some(Self::Boto3(minor)),
            Language::Node(major) => {
                node::is_package(name).then(|| Self::Package(major, name.to_owned()))
            }
        }
    }
}

impl Wanted {
    fn brought_by(&self) -> &'static str {
        match self {
            Self::Boto3(_) => "Lambda's runtime brings",
            Self::Package(_, name) => node::brought_by(name),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boto3(minor) => write!(f, "boto3 for Python 3.{minor}"),
            Self::Package(_, name) => f.write_str(name),
        }
    }
}

/// What is being fetched for functions that run, and what could not be.
#[derive(Debug)]
pub(super) struct Asked {
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<Wanted, Running>,
    failed: HashMap<Wanted, Failed>,
}

#[derive(Debug)]
struct Running {
    by: FunctionId,
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Debug)]
struct Failed {
    by: FunctionId,
    why: String,
    /// On the monotonic clock.
    until: Duration,
}

/// What is to be done for one who asks.
#[derive(Debug)]
enum Turn {
    /// It is being fetched.
    Wait(watch::Receiver<Option<Ended>>),
    /// It is to be fetched; whoever waits looks at the other end.
    Fetch(watch::Sender<Option<Ended>>),
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl State {
    /// Decides; an error is the answer to whoever asks.
    fn turn(&mut self, wanted: &Wanted, by: &FunctionId, now: Duration) -> Result<Turn, String> {
        if let Some(running) = self.running.get(wanted) {
            return Ok(Turn::Wait(running.ended.clone()));
        }
        self.failed.retain(|_, failed| now < failed.until);
        if let Some(failed) = self.failed.get(wanted) {
            let left = failed.until.saturating_sub(now).as_secs() + 1;
            return Err(format!("{} (tried again after {left} s)", failed.why));
        }
        let of_one = self.failed.values().filter(|failed| failed.by == *by);
        if of_one.count() >= FAILED_OF_ONE_MAX || self.failed.len() >= FAILED_MAX {
            return Err(
                "so much could not be fetched in the last minute that no more is tried now"
                    .to_owned(),
            );
        }
        let of_one = self.running.values().filter(|running| running.by == *by);
        if of_one.count() >= RUNNING_OF_ONE_MAX || self.running.len() >= RUNNING_MAX {
            return Err("too much else is being fetched now".to_owned());
        }
        let (ends, ended) = watch::channel(None);
        let running = Running {
            by: by.clone(),
            ended,
        };
        self.running.insert(wanted.clone(), running);
        Ok(Turn::Fetch(ends))
    }

    fn end(&mut self, wanted: &Wanted, by: FunctionId, ended: &Ended, now: Duration) {
        self.running.remove(wanted);
        if let Err(why) = ended {
            let failed = Failed {
                by,
                why: why.clone(),
                until: now + REMEMBERED,
            };
            self.failed.insert(wanted.clone(), failed);
        }
    }
}

/// What one who asks gets to hear.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is being fetched, which takes a while; in words.
    Fetching(String),
    /// It is there, or why it is not.
    Over(Result<(), String>),
}

/// Through which the instances of a function ask.
#[derive(Debug)]
pub(crate) struct Brings {
    pub(crate) sdk: Arc<Sdk>,
    pub(crate) finder: Arc<Finder>,
    /// As the function names it; what runs it may stand in for that.
    pub(crate) wanted: Language,
    pub(crate) function: FunctionId,
}

impl Brings {
    /// Asks for a module or a package by name. What is begun for it goes on if nobody listens.
    /// The time of whoever asks stands still while it is being fetched.
    pub(crate) fn ask(&self, name: &str, own: &Arc<OwnTime>) -> mpsc::Receiver<Heard> {
        let (tell, heard) = mpsc::channel(2);
        let (sdk, finder) = (Arc::clone(&self.sdk), Arc::clone(&self.finder));
        let (wanted, by, name) = (self.wanted, self.function.clone(), name.to_owned());
        let own = Arc::clone(own);
        tokio::spawn(async move {
            let over = async {
                match finder.find_again(wanted, &*sdk.clock).await {
                    Ok(interpreter) => sdk.bring(interpreter, &name, (by, &own), &tell).await,
                    Err(cannot) => Err(cannot.reason),
                }
            };
            let over = tokio::select! {
                over = over => over,
                // The instance is gone.
                () = tell.closed() => return,
            };
            let _ = tell.send(Heard::Over(over)).await;
        });
        heard
    }
}

impl Sdk {
    /// Has something there that a running function asks for, where it can be fetched.
    pub(super) async fn bring(
        self: &Arc<Self>,
        interpreter: Interpreter,
        name: &str,
        (by, own): (FunctionId, &Arc<OwnTime>),
        tell: &mpsc::Sender<Heard>,
    ) -> Result<(), String> {
        let wanted = Wanted::of(interpreter.language, name)
            .ok_or("it is nothing that Lambda's runtime brings")?;
        if self.has(&wanted) {
            return Ok(());
        }
        let turn = (self.asked.state.lock()).turn(&wanted, &by, self.clock.monotonic())?;
        let mut ended = match turn {
            Turn::Wait(ended) => ended,
            Turn::Fetch(ends) => {
                let ended = ends.subscribe();
                let (sdk, wanted) = (Arc::clone(self), wanted.clone());
                // Not tied to whoever asks: its time may run out first.
                tokio::spawn(async move { sdk.fetch_for(interpreter, wanted, by, ends).await });
                ended
            }
        };
        let _standing = own.stand();
        let told = format!(
            "fetching {wanted}, which {}, once; the function's time stands still meanwhile",
            wanted.brought_by(),
        );
        let _ = tell.send(Heard::Fetching(told)).await;
        tokio::select! {
            over = ended.wait_for(Option::is_some) => match over {
                Ok(over) => over.clone().unwrap_or(Ok(())),
                // Its task was ended with the platform.
                Err(_) => Err("it was given up".to_owned()),
            },
            () = self.clock.sleep(WAIT_LIMIT) => Err("it is still being fetched".to_owned()),
        }
    }

    fn has(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Boto3(minor) => self.place(*minor).is_dir(),
            Wanted::Package(major, name) => self.has_package(Language::Node(*major), name),
        }
    }

    async fn fetch_for(
        self: &Arc<Self>,
        interpreter: Interpreter,
        wanted: Wanted,
        by: FunctionId,
        ends: watch::Sender<Option<Ended>>,
    ) {
        let ended = match self.asked.turns.acquire().await {
            Ok(_turn) => match &wanted {
                Wanted::Boto3(minor) => self.fetch_python(&interpreter, *minor).await,
                Wanted::Package(_, name) => self.fetch_package(&interpreter, name).await,
            },
            // It is never closed.
            Err(closed) => Err(closed.to_string()),
        };
        let now = self.clock.monotonic();
        self.asked.state.lock().end(&wanted, by, &ended, now);
        ends.send_replace(Some(ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_runtimes_bring_may_be_asked_for() {
        let check = |language: Language, name: &str, expected: Option<Wanted>| {
            assert_eq!(Wanted::of(language, name), expected, "{name}");
        };
        let python = Language::Python(12);
        for name in ["boto3", "botocore", "s3transfer"] {
            check(python, name, Some(Wanted::Boto3(12)));
        }
        for name in [
            "",
            "boto3 requests",
            "boto3.session",
            "requests",
            "--index-url=x",
        ] {
            check(python, name, None);
        }
        let node = Language::Node(22);
        for name in [
            "@aws-sdk/client-s3",
            "@smithy/types",
            "@aws-sdk/s3-request-presigner",
            "aws-sdk",
        ] {
            check(node, name, Some(Wanted::Package(22, name.to_owned())));
        }
        for name in [
            "",
            "@aws-sdk/",
            "@aws-sdk",
            "aws-sdk/clients/s3",
            "aws-sdk-mock",
            "left-pad",
            "@aws-sdk/client-s3@3.0.0",
            "@aws-sdk/client-s3/dist",
            "@aws-sdk/../left-pad",
            "@aws-sdk/--registry",
            "@aws-sdk/x y",
            "@aws-sdk/x\n",
            "@aws-sdk/x\0",
            "@aws-sdk/Client",
            "@aws-sdk/1",
            "@aws-sdk/client-",
            "@aws-sdk/é",
            "@aws-sdkx/client-s3",
            " @aws-sdk/client-s3",
            "x@npm:@aws-sdk/client-s3",
            "boto3",
        ] {
            check(node, name, None);
        }
        check(node, &format!("@aws-sdk/{}", "a".repeat(300)), None);
        check(python, "@aws-sdk/client-s3", None);
    }

    fn function(name: &str) -> FunctionId {
        FunctionId {
            account: "000000000000".parse().unwrap(),
            region: "eu-west-1".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn package(number: usize) -> Wanted {
        Wanted::Package(22, format!("@aws-sdk/p{number}"))
    }

    #[test]
    fn one_fetches_and_the_others_wait() {
        let mut state = State::default();
        let now = Duration::ZERO;
        let first = state.turn(&package(0), &function("a"), now);
        let Ok(Turn::Fetch(ends)) = first else {
            panic!("{first:?}")
        };
        let second = state.turn(&package(0), &function("b"), now);
        let Ok(Turn::Wait(ended)) = second else {
            panic!("{second:?}")
        };
        state.end(&package(0), function("a"), &Ok(()), now);
        ends.send_replace(Some(Ok(())));
        assert_eq!(*ended.borrow(), Some(Ok(())));
        assert!(state.running.is_empty() && state.failed.is_empty());
    }

    #[test]
    fn what_failed_is_remembered_for_a_while() {
        let mut state = State::default();
        let failed: Ended = Err("npm: no network".to_owned());
        let at = Duration::from_secs;
        state.turn(&package(0), &function("a"), at(0)).unwrap();
        state.end(&package(0), function("a"), &failed, at(1));
        let why = state.turn(&package(0), &function("b"), at(2)).unwrap_err();
        assert_eq!(why, "npm: no network (tried again after 60 s)");
        assert!(state.turn(&package(0), &function("b"), at(61)).is_ok());
    }

    #[test]
    fn failures_use_up_what_a_function_and_all_may_try() {
        let mut state = State::default();
        let failed: Ended = Err("no such package".to_owned());
        let mut tries = |by: &str, range: std::ops::Range<usize>, now: u64| {
            let now = Duration::from_secs(now);
            let tried = range.filter(|number| {
                let turn = state.turn(&package(*number), &function(by), now);
                if turn.is_ok() {
                    state.end(&package(*number), function(by), &failed, now);
                }
                turn.is_ok()
            });
            tried.count()
        };
        assert_eq!(tries("a", 0..100, 0), FAILED_OF_ONE_MAX);
        // Others may go on, until all of them have had what there is.
        let others: usize = (1..10)
            .map(|other| tries(&format!("b{other}"), other * 100..other * 100 + 100, 1))
            .sum();
        assert_eq!(others, FAILED_MAX - FAILED_OF_ONE_MAX);
        assert_eq!(tries("a", 0..100, 62), FAILED_OF_ONE_MAX);
    }

    #[test]
    fn so_much_is_fetched_at_once_and_no_more() {
        let mut state = State::default();
        let mut begun = |by: &str, range: std::ops::Range<usize>| {
            let turns = range.filter(|number| {
                state
                    .turn(&package(*number), &function(by), Duration::ZERO)
                    .is_ok()
            });
            turns.count()
        };
        assert_eq!(begun("a", 0..100), RUNNING_OF_ONE_MAX);
        let others: usize = (1..10)
            .map(|other| begun(&format!("b{other}"), other * 100..other * 100 + 100))
            .sum();
        assert_eq!(others, RUNNING_MAX - RUNNING_OF_ONE_MAX);
        // Whoever only waits with others may.
        assert_eq!(begun("c", 0..4), 4);
    }
}
