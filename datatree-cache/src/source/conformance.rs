//! What is expected of every source.
