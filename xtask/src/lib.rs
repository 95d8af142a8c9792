//! All automation of the project, as a library so that `tidy` can also run as an ordinary test.
//! It knows the work tree and the tools around it, and nothing of the rooms' insides.

pub mod bench;
pub mod ci;
pub mod command;
pub mod run;
pub mod shapes;
pub mod test;
pub mod tidy;
pub mod tree;
