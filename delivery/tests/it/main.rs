//! Mail on its way to other nodes, on real cores: over sockets, and from a disk.

mod peer;
mod queue;
mod remote;
