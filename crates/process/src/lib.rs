//! Functions as jailed Linux processes: finding their interpreters, jailing them, and speaking
//! with them as their vendor does. Which function runs, where and when is not decided here.

mod accept;
mod contract;
mod egress;
pub mod host;
mod host_ports;
mod inspect;
mod instance;
pub mod interpreter;
mod jail;
mod keeping;
mod machine;
mod processes;
mod refusals;
mod resolver;
mod sdk;
pub mod spawner;
mod told;
pub mod user;

pub use egress::Reach;
pub use jail::spawner_main;
pub use processes::{Config, Endpoint, InstanceIdentity, Processes};
pub use resolver::{CloudHosts, CloudService};
