//! Tests of the whole store on the simulated disk.

mod accounts;
mod actor;
mod ahead;
mod basics;
mod crash;
mod damage;
mod harness;
mod keys;
mod losses;
mod model;
mod moves;
mod openings;
mod space;
mod under_way;
mod views;
