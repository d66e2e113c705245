//! Tests of the whole store on the simulated disk.

mod basics;
mod harness;
