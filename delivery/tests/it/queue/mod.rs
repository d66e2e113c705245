//! Mail that waits for another node: over sockets to a scripted one, from a volume on a disk.

mod again;
mod disk;
mod here;
mod kept;
mod order;
mod reports;
mod room;
