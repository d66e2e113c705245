//! What a core publishes for the status port, once a second: its own cells are read by no other thread.

use super::core::CoreNode;
use crate::status::Counter;
use pigeon_engine::file::free_space;
use pigeon_proxy::smtp::SmtpCounters;
use std::rc::Rc;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

/// Publishes until the core ends.
pub(super) async fn publish(node: Rc<CoreNode>) {
    let mut published = [0; SMTP.len()];
    loop {
        for (index, volume) in pigeon_delivery::own_volumes() {
            // A file system that does not answer shows in the volume's own state.
            let (free, total) = free_space(&node.shared.config.volumes[index].path)
                .await
                .unwrap_or_default();
            let mut volumes = node.shared.volumes();
            let status = &mut volumes[index];
            status.state = Ok(volume.state());
            status.stats = volume.stats();
            (status.free_bytes, status.total_bytes) = (free, total);
        }
        publish_smtp(&node, &mut published);
        node.counters().set_moves(super::moves::under_way());
        pigeon_engine::sleep(INTERVAL).await;
    }
}

type Read = fn(&SmtpCounters) -> u64;

/// What SMTP counts, and what the status port calls it.
const SMTP: [(Read, Counter); 9] = [
    (|smtp| smtp.tls_failures.get(), Counter::TlsFailures),
    (|smtp| smtp.messages_stored.get(), Counter::MessagesAccepted),
    (|smtp| smtp.bytes_stored.get(), Counter::MessageBytesAccepted),
    (|smtp| smtp.copies_stored.get(), Counter::Deliveries),
    (|smtp| smtp.messages_deferred.get(), Counter::MessagesDeferred),
    (|smtp| smtp.messages_refused.get(), Counter::MessagesRefused),
    (|smtp| smtp.recipients_accepted.get(), Counter::RecipientsAccepted),
    (|smtp| smtp.recipients_deferred.get(), Counter::RecipientsDeferred),
    (|smtp| smtp.recipients_refused.get(), Counter::RecipientsRefused),
];

fn publish_smtp(node: &CoreNode, published: &mut [u64; SMTP.len()]) {
    for ((read, counter), before) in SMTP.iter().zip(published) {
        let now = read(&node.contexts.smtp_counters);
        node.counters().add(*counter, now - *before);
        *before = now;
    }
}
