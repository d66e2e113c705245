//! store/format
