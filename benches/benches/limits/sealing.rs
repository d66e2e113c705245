//! Bytes sealed as TLS 1.3 does, by the library and the first suite that both the node and the load generator offer.

use crate::GIB;
use crate::loopback::counted;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use rustls::crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage};
use rustls::{ContentType, ProtocolVersion};
use std::time::Duration;

const TURNS: usize = 5;
const RECORDS: u64 = 4_000;
const RECORD_BYTES: usize = 16 << 10;

/// CPU seconds for a GiB in the largest records there are.
pub(crate) fn seconds_a_gib() -> f64 {
    let suite = TLS13_AES_256_GCM_SHA384.tls13().expect("a suite of TLS 1.3");
    let turn = || {
        let mut sealer = suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::from([9; 12]));
        let source = vec![0x5a; RECORD_BYTES * 64];
        let mut used = Duration::ZERO;
        counted(&mut used, || {
            for (number, record) in (0..RECORDS).zip(source.chunks_exact(RECORD_BYTES).cycle()) {
                let message = OutboundPlainMessage {
                    typ: ContentType::ApplicationData,
                    version: ProtocolVersion::TLSv1_3,
                    payload: OutboundChunks::Single(record),
                };
                std::hint::black_box(sealer.encrypt(message, number).expect("a record of a legal size"));
            }
        });
        used.as_secs_f64() * GIB / (RECORDS * RECORD_BYTES as u64) as f64
    };
    (0..TURNS).map(|_| turn()).fold(f64::INFINITY, f64::min)
}
