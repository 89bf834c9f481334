//! Processes: mailboxes, addresses, calls, and the types of what they say to each other.

mod address;
mod asked;
mod body;
mod call;
mod claim;
mod codec;
mod dropped;
mod holders;
mod mailbox;
mod monitor;
mod name;
mod owner;
mod port;
mod protocol;
mod reply;

pub use address::Address;
pub use body::{Ending, run};
pub use call::Call;
pub use claim::Claim;
pub use holders::HolderStream;
pub use mailbox::{Item, Mailbox};
pub use monitor::Monitor;
pub(crate) use name::process_name;
pub use protocol::Protocol;
pub(crate) use protocol::hash;
pub use reply::{DeliverError, Reply};

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Deserialize, Serialize)]
    struct Message(Reply<u64>);

    impl Protocol for Message {
        const NAME: &'static str = "message/1";
    }

    #[test]
    fn what_an_application_holds_may_go_to_any_thread() {
        fn is_send<T: Send + Unpin>() {}
        fn is_sync<T: Send + Sync + Unpin>() {}
        is_sync::<Address<Message>>();
        is_sync::<Reply<Rc<u64>>>();
        is_sync::<Monitor>();
        is_send::<Mailbox<Message>>();
        // An answer is decoded where it is waited for, and does not travel between threads.
        is_send::<Call<Rc<u64>>>();
        is_sync::<Claim>();
        is_sync::<HolderStream>();
    }
}
