//! Inner contracts: what a vendor's functions expect of the process they run in, from the
//! platform's side. Each ends at an instance and knows nothing of who asked.

pub(crate) mod lambda;
