//! How many invocations may be in flight: permits of functions and accounts, taken at once or
//! refused at once. Nobody waits for one but delivery, which holds its events back until it is
//! told that there may be one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use model::limit;

use crate::deliver::Wake;
use crate::error::ThrottleReason;

/// Stands for "nothing is reserved" in [`Gate::reserved`].
const UNRESERVED: u32 = u32::MAX;

/// What the functions of an account share.
#[derive(Debug)]
pub(crate) struct Account {
    limit: u32,
    /// Sum of the reservations of its functions.
    reserved: AtomicU32,
    /// Invocations in flight of functions that reserve nothing.
    busy: AtomicU32,
    /// Whether delivery waits for a permit.
    awaited: AtomicBool,
    wake: Arc<Wake>,
}

impl Account {
    pub(crate) fn new(limit: u32, wake: &Arc<Wake>) -> Self {
        Self {
            limit,
            reserved: AtomicU32::new(0),
            busy: AtomicU32::new(0),
            awaited: AtomicBool::new(false),
            wake: Arc::clone(wake),
        }
    }

    /// Tells what all functions together reserve now.
    pub(crate) fn set_reserved(&self, sum: u32) {
        self.reserved.store(sum, Ordering::Release);
    }

    fn enter(&self) -> bool {
        let most = self
            .limit
            .saturating_sub(self.reserved.load(Ordering::Acquire));
        take(&self.busy, most)
    }
}

/// What one function can reserve when the others reserve `others` together: a part of the
/// account stays unreserved, a tenth in an account too small for the usual part.
pub(crate) fn reservable(account_concurrency: u32, others: u32) -> u32 {
    let keep = limit::UNRESERVED_CONCURRENCY_MIN.min(account_concurrency / 10);
    account_concurrency
        .saturating_sub(keep)
        .saturating_sub(others)
}

/// The concurrency of one function, over all its versions.
#[derive(Debug)]
pub(crate) struct Gate {
    account: Arc<Account>,
    reserved: AtomicU32,
    /// Invocations in flight.
    busy: AtomicU32,
    /// Whether delivery waits for a permit.
    awaited: AtomicBool,
}

impl Gate {
    pub(crate) fn new(account: Arc<Account>, reserved: Option<u32>) -> Self {
        let gate = Self {
            account,
            reserved: AtomicU32::new(UNRESERVED),
            busy: AtomicU32::new(0),
            awaited: AtomicBool::new(false),
        };
        gate.reserve(reserved);
        gate
    }

    /// Changes what the function reserves; what is in flight goes on.
    pub(crate) fn reserve(&self, reserved: Option<u32>) {
        self.reserved
            .store(reserved.unwrap_or(UNRESERVED), Ordering::Release);
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// A place for one more invocation, or the limit that has none.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Permit, ThrottleReason> {
        let reserved = self.reserved.load(Ordering::Acquire);
        let shared = reserved == UNRESERVED;
        if !take(&self.busy, reserved) {
            return Err(ThrottleReason::ReservedConcurrency);
        }
        if shared && !self.account.enter() {
            self.busy.fetch_sub(1, Ordering::AcqRel);
            return Err(ThrottleReason::AccountConcurrency);
        }
        Ok(Permit {
            gate: Arc::clone(self),
            shared,
        })
    }

    /// The same for delivery, which is woken once there may be one if there is none now.
    pub(crate) fn enter_or_await(self: &Arc<Self>) -> Result<Permit, ThrottleReason> {
        self.enter().or_else(|reason| {
            let awaited = match reason {
                ThrottleReason::ReservedConcurrency => &self.awaited,
                _ => &self.account.awaited,
            };
            awaited.store(true, Ordering::SeqCst);
            // Only now: a permit that is given back after this look tells of it.
            self.enter()
        })
    }
}

/// A place for one invocation; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Gate>,
    /// Whether it was taken from the account's share, whatever the function reserves since.
    shared: bool,
}

impl Permit {
    pub(crate) fn is_of(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.gate, gate)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (gate, account) = (&self.gate, &self.gate.account);
        give_back(&gate.busy, &gate.awaited, &account.wake);
        if self.shared {
            give_back(&account.busy, &account.awaited, &account.wake);
        }
    }
}

/// Adds one unless that would exceed `most`.
fn take(count: &AtomicU32, most: u32) -> bool {
    let more = |now: u32| (now < most).then(|| now + 1);
    // In one order with what tells that a permit is awaited: one of both sides sees the other.
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
        .is_ok()
}

fn give_back(count: &AtomicU32, awaited: &AtomicBool, wake: &Wake) {
    count.fetch_sub(1, Ordering::SeqCst);
    if awaited.load(Ordering::SeqCst) && awaited.swap(false, Ordering::SeqCst) {
        wake.freed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(account: &Arc<Account>, reserved: Option<u32>) -> Arc<Gate> {
        Arc::new(Gate::new(Arc::clone(account), reserved))
    }

    #[test]
    fn a_reservation_is_a_limit_and_a_guarantee() {
        let account = Arc::new(Account::new(3, &Arc::default()));
        let (own, other) = (gate(&account, Some(1)), gate(&account, None));
        account.set_reserved(1);
        let shared = [other.enter(), other.enter()];
        assert!(shared.iter().all(Result::is_ok));
        assert_eq!(
            other.enter().unwrap_err(),
            ThrottleReason::AccountConcurrency
        );
        let first = own.enter().unwrap();
        assert_eq!(
            own.enter().unwrap_err(),
            ThrottleReason::ReservedConcurrency
        );
        drop(first);
        assert!(own.enter().is_ok());
    }

    #[test]
    fn a_reservation_of_nothing_lets_nothing_in() {
        let gate = gate(&Arc::new(Account::new(3, &Arc::default())), Some(0));
        assert_eq!(
            gate.enter().unwrap_err(),
            ThrottleReason::ReservedConcurrency
        );
    }

    #[test]
    fn permits_go_back_to_where_they_came_from() {
        let account = Arc::new(Account::new(1, &Arc::default()));
        let gate = gate(&account, None);
        let permit = gate.enter().unwrap();
        gate.reserve(Some(5));
        drop(permit);
        assert_eq!(
            (
                gate.busy.load(Ordering::Acquire),
                account.busy.load(Ordering::Acquire)
            ),
            (0, 0)
        );
    }

    #[test]
    fn a_part_of_the_account_stays_unreserved() {
        assert_eq!(reservable(1000, 0), 900);
        assert_eq!(reservable(1000, 850), 50);
        assert_eq!(reservable(10, 0), 9);
    }
}
