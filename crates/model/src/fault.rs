//! Whose fault a failure is: the one question every door asks of every error.

/// Who has to act for the same request to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller asked for something that cannot be: a 4xx at most doors.
    Caller,
    /// The function's code or configuration is at fault.
    Function,
    /// The platform is at fault: a 5xx at most doors.
    Ours,
    /// Nothing is wrong but there is no room now: try again later.
    Busy,
}
