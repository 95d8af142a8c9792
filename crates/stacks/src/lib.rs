//! Project files into functions: reads a folder, builds what its functions need into a cache
//! outside the source tree, and writes starters. It serves no HTTP and runs no function.

pub mod build;
pub mod drive;
pub mod environment;
pub mod error;
pub mod ignore;
mod imports;
pub mod project;
pub mod starter;
mod template;
pub mod watch;

pub use build::{Built, GivenUp, Host, Package, Progress, Source, Turns, build};
pub use drive::{DriveKind, drive};
pub use error::Error;
pub use ignore::Ignore;
pub use project::{BuildKind, FunctionPlan, Has, LayerPlan, Options, Project, read};
pub use watch::{Relevant, Watch};
