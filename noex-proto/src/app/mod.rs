//! What the application is told: events and messages of the mesh, in bounded queues.

mod publish;
pub(crate) mod subscription;

pub(crate) use publish::publish;
