//! store/serve
