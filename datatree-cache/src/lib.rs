//! datatree-cache
