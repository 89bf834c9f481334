//! What the application is told: events and messages of the mesh, in bounded queues.

mod publish;

pub(crate) use publish::publish;
