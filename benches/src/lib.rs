//! Benches of PigeonAir; see `benches/`.
