//! What the engine promises, told over a memory store, a clock that stands still and instances
//! that do as they are told.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod changes;
mod clock;
mod deploys;
mod events;
mod fake;
mod idle;
mod layers;
mod limits;
mod log_groups;
mod pools;
mod shelf;
mod simulation;
mod stops;
mod streams;
mod world;
