//! The text of the handle, which each adapter's alias repeats: rustdoc shows none of an aliased type.

/// What is said of [`Cluster`](crate::Cluster) beyond a first line, for `#[doc = ..]` of an adapter's alias of that name.
#[macro_export]
macro_rules! cluster_doc {
    () => {
        "Made stopped, without a runtime, cheap to clone, and fit for a static `LazyLock`. Every clone is a handle to the same node; there\n\
         may be many nodes in one process. It may be used from any thread and any runtime; while it runs, its tasks run on the runtime in\n\
         which [`start`](Cluster::start) was called. Where that runtime is shut down, the node is stopped without telling its peers.\n\
         \n\
         Dropping the last handle stops the node in the background. A handler that holds a handle keeps the node alive for as long as it\n\
         is registered; let it hold a [`WeakCluster`].\n\
         \n\
         # Handlers\n\
         A handler is called for one thing after the other, in order, on a thread of its own, where it may block; that delays neither the\n\
         protocol nor another handler. It may call any method, also ones that wait, by blocking on them, and what belongs to the node's\n\
         runtime, such as its `spawn`. If it panics, that becomes an error event, and it is called again for the next thing. Its queue is\n\
         bounded as that of [`events`](Cluster::events) is. Handlers are called from the first start on, and survive a stop and a restart,\n\
         under another runtime too. To register one panics where the system has no thread to give."
    };
}
