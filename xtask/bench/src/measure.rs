//! The measurements, each a file below, and what they share.

mod api;
mod burst;
mod cold;
mod extensions;
mod floors;
mod many;
mod memory;
mod ready;
mod reload;
mod stream;
mod warm;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::floor::Language;
use crate::load::Span;
use crate::platform::{Platform, Project};
use crate::report::Row;
use crate::scratch::Scratch;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Bench) -> Result<Vec<Row>>,
}

/// All of them, in the order in which they run.
pub(crate) const MEASURES: &[Measure] = &[
    Measure {
        name: "floors",
        about: "what the machine allows without a platform",
        run: floors::run,
    },
    Measure {
        name: "ready",
        about: "from the command to a daemon that listens and functions that are deployed",
        run: ready::run,
    },
    Measure {
        name: "cold",
        about: "nothing of the function running, then one request, connection included",
        run: cold::run,
    },
    Measure {
        name: "warm",
        about: "a closed loop through the function URL, 1 and 32 kept-alive connections",
        run: warm::run,
    },
    Measure {
        name: "api",
        about: "the same through the Lambda Invoke API, beside the function URL",
        run: api::run,
    },
    Measure {
        name: "extensions",
        about: "a native function with an external extension, beside one without",
        run: extensions::run,
    },
    Measure {
        name: "stream",
        about: "the first byte of a streamed answer, beside a whole one that is buffered",
        run: stream::run,
    },
    Measure {
        name: "many",
        about: "with 1,000 functions deployed, beside one",
        run: many::run,
    },
    Measure {
        name: "burst",
        about: "100 requests at once to a function of which nothing runs",
        run: burst::run,
    },
    Measure {
        name: "memory",
        about: "of the daemon at rest and of each instance, shared pages by their share",
        run: memory::run,
    },
    Measure {
        name: "reload",
        about: "from a file saved to the new code answering",
        run: reload::run,
    },
];

/// What every measurement may use.
#[derive(Debug)]
pub(crate) struct Bench {
    /// One thread: the load must not take the cores from what is under load.
    pub(crate) runtime: Runtime,
    pub(crate) scratch: Scratch,
    pub(crate) quick: bool,
}

impl Bench {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            runtime: runtime.context("make a runtime")?,
            scratch: Scratch::new()?,
            quick,
        })
    }

    /// A platform with the benchmark's project, deployed.
    pub(crate) fn platform(&self) -> Result<(Project, Platform)> {
        let project = Project::write(&self.scratch)?;
        let platform = Platform::start(&project)?;
        Ok((project, platform))
    }

    /// Measures one language after the other on one platform.
    pub(crate) fn each_language(
        &self,
        one: impl Fn(&Project, &Platform, Language) -> Result<Vec<Row>>,
    ) -> Result<Vec<Row>> {
        let (project, platform) = self.platform()?;
        let mut rows = Vec::new();
        for language in Language::ALL {
            rows.extend(one(&project, &platform, language).with_context(|| language.name())?);
        }
        platform.stop()?;
        Ok(rows)
    }

    /// A count for whole runs, and one for quick ones.
    pub(crate) fn times(&self, whole: usize, quick: usize) -> usize {
        if self.quick { quick } else { whole }
    }

    pub(crate) fn span(&self) -> Span {
        let ms = Duration::from_millis;
        match self.quick {
            true => Span {
                warm_up: ms(300),
                measured: ms(700),
            },
            false => Span {
                warm_up: ms(1000),
                measured: ms(3000),
            },
        }
    }
}

/// Lets what was stopped go and what is kept ready be made ready again. A start that follows
/// the one before it within 200 ms would hide what the first of them costs.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}
