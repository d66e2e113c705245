//! Tests of the whole store on the simulated disk.

mod actor;
mod basics;
mod crash;
mod harness;
mod model;
