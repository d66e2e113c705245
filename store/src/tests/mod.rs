//! Tests of the whole store on the simulated disk.

mod actor;
mod basics;
mod crash;
mod damage;
mod harness;
mod model;
mod space;
mod views;
