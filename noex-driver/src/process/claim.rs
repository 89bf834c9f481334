//! A claim to a name of the cluster.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use noex_proto::{ClaimError, ClaimId, ClaimOptions, ProcessName};

use super::owner::Owner;
use crate::drive::{Shared, State};
use crate::slots::Claimed;

/// A claim to a name of the cluster, from [`Mailbox::claim`](crate::Mailbox::claim) or
/// [`Mailbox::claim_when_free`](crate::Mailbox::claim_when_free): a future that returns once the process has the name.
///
/// The name is claimed when this is first polled. Dropping it before it has returned withdraws the claim, also one that has just settled. It
/// borrows nothing, so a process can stand by for a name in a branch of `select!` beside its own `next()`.
///
/// ```
/// # use std::time::Duration;
/// # use noex_driver::{ClaimError, Mailbox, Protocol};
/// # async fn f<M: Protocol>(mailbox: Mailbox<M>) -> Result<(), ClaimError> {
/// // On the side of a partition that has two other nodes or more, and on no other.
/// mailbox.claim("leader").min_nodes(2).timeout(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a name is claimed when this is polled, and given up when it is dropped before it has returned"]
pub struct Claim(Stage);

enum Stage {
    /// Not polled yet.
    New(Request),
    /// It was over before it began.
    Refused(ClaimError),
    Open(Open),
    Over,
}

struct Request {
    name: ProcessName,
    options: ClaimOptions,
    owner: Owner,
    /// Whether to wait until the name is free.
    when_free: bool,
}

impl Claim {
    pub(super) fn new(owner: Owner, name: Result<ProcessName, ClaimError>, when_free: bool) -> Self {
        Self(match name {
            Ok(name) => Stage::New(Request { name, options: ClaimOptions::default(), owner, when_free }),
            Err(error) => Stage::Refused(error),
        })
    }

    /// How long fewer than [`min_nodes`](Self::min_nodes) other nodes may be connected before the process loses the name, in place of not at
    /// all. It has no effect once the claim was polled.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|options| options.grace(grace))
    }

    /// Lets the process go on where it loses the name: it gets an [`Item::NameLost`](crate::Item::NameLost), and is not asked to stop. It has
    /// no effect once the claim was polled.
    pub fn keep_on_loss(self) -> Self {
        self.with(|options| options.keep_on_loss(true))
    }

    /// Asks that this many other nodes agree to the claim, and are connected as long as the process has the name; where fewer are, it loses
    /// it. In a cluster of 2n + 1 nodes, n other nodes are the larger side of a partition. It has no effect once the claim was polled.
    pub fn min_nodes(self, min_nodes: usize) -> Self {
        self.with(|options| options.min_nodes(min_nodes))
    }

    /// Waits this long for the other nodes to agree, in place of 30 s; where the claim stands by, at each try. It has no effect once the claim
    /// was polled.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|options| options.timeout(timeout))
    }

    fn with(mut self, set: impl FnOnce(ClaimOptions) -> ClaimOptions) -> Self {
        if let Stage::New(request) = &mut self.0 {
            request.options = set(mem::take(&mut request.options));
        }
        self
    }
}

impl Request {
    /// Begins the claim.
    fn begin(self) -> Result<Open, ClaimError> {
        let Self { name, options, owner, when_free } = self;
        let slot = Arc::new(Claimed::default());
        let id = owner.shared.drive(|state| {
            let (now, process) = (state.now(), owner.number(state));
            let id = match when_free {
                true => state.machine.claim_when_free(now, process, &name, &options),
                false => state.machine.claim(now, process, &name, &options),
            }?;
            state.slots.claims.insert(id, slot.clone());
            Ok::<_, ClaimError>(id)
        })?;
        Ok(Open { id, shared: owner.shared, slot })
    }
}

/// A claim that has begun.
struct Open {
    id: ClaimId,
    shared: Arc<Shared>,
    slot: Arc<Claimed>,
}

impl Open {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), ClaimError>> {
        loop {
            ready!(self.slot.poll(cx))?;
            // It may have been lost since: then what came of that was told, or will be.
            if self.returned() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The claim is about to return that it has settled: whether it still is.
    fn returned(&self) -> bool {
        let (returned, _slot) = self.shared.drive(|state| {
            let returned = state.machine.claim_returned(state.now(), self.id);
            (returned, returned.then(|| state.slots.claims.remove(&self.id)))
        });
        returned
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // It may be dropped as the thread ends, where a runtime's clock can be gone: the time is the machine's last.
        self.shared.drive_lent(|state: &mut State| {
            let open = state.slots.claims.remove(&self.id);
            if open.is_some() {
                state.machine.drop_claim(state.machine.now(), self.id);
            }
            open
        });
    }
}

impl Future for Claim {
    type Output = Result<(), ClaimError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let open = match mem::replace(&mut self.0, Stage::Over) {
            Stage::New(request) => request.begin()?,
            Stage::Open(open) => open,
            Stage::Refused(error) => return Poll::Ready(Err(error)),
            Stage::Over => panic!("a claim was polled after its end"),
        };
        let polled = open.poll(cx);
        if polled.is_pending() {
            self.0 = Stage::Open(open);
        }
        polled
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}
