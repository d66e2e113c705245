//! The driver over a stream in memory, with a store in memory and control data from LDIF text.

mod memory;
