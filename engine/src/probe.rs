//! Whether this kernel has what the engine needs; Linux 6.1 is the least.

/// Names every missing feature and the kernel version that has it.
pub fn probe() -> Result<(), String> {
    unimplemented!()
}
