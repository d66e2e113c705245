//! STORE (RFC 3501 section 6.4.6), conditional with UNCHANGEDSINCE (RFC 7162 section 3.1.3).

use super::changes::{FlagsResponse, Tell, told_keywords, write_flags_response};
use super::refusal::{self, Refusal, refusal};
use super::select::OUT_OF_RANGE;
use super::session::{NOT_SELECTED, Reply, Session};
use super::targets::Targets;
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::runtime::yield_now;
use pigeon_proto::imap::command::{Store, StoreOperation};
use pigeon_proto::imap::write;
use pigeon_store::{FlagChange, FlagOperation, FlagOutcome, Flags, ModSeq};

/// Messages of one durable change: others wait for no more than this.
const STORE_BATCH: usize = 1000;

/// Keywords of one durable change, each counted as often as there are messages: bounds the memory of the change.
const STORE_KEYWORDS: usize = 4000;

impl<S: ByteStream> Session<S> {
    pub(super) async fn store(&mut self, store: Store) -> Outcome<Reply> {
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        if selected.read_only {
            return Ok(Reply::No(refusal::READ_ONLY));
        }
        let Ok(mut targets) = Targets::new(selected, &store.set, store.uid) else {
            return Ok(OUT_OF_RANGE);
        };
        if store.unchanged_since.is_some() {
            self.enable_condstore();
        }
        // What others changed comes first: the answers below are the latest word on these messages.
        self.tell_changes(Tell::FlagsOnly, store.uid).await?;
        let batch_max = (STORE_KEYWORDS / store.flags.keywords.len().max(1)).clamp(1, STORE_BATCH);
        let mut modified = Vec::new();
        let mut some_gone = false;
        while !targets.is_done() {
            let Some(selected) = &mut self.selected else {
                return Ok(NOT_SELECTED);
            };
            let batch = targets.batch(selected, batch_max);
            let changes: Vec<FlagChange> = batch
                .iter()
                .map(|target| FlagChange {
                    uid: target.message.uid,
                    operation: operation(store.operation),
                    flags: Flags(u64::from(store.flags.system)),
                    keywords: store.flags.keywords.clone(),
                    unchanged_since: store.unchanged_since.map(ModSeq),
                })
                .collect();
            let results = match selected.mailbox().store_flags(&changes).await {
                Ok(results) => results,
                Err(error) => {
                    self.warn("store failed", &error);
                    return Ok(Reply::No(refusal(&error)));
                }
            };
            let own: Vec<_> = results
                .iter()
                .filter(|result| result.outcome == FlagOutcome::Changed)
                .map(|result| (result.uid, result.mod_seq))
                .collect();
            selected.view.ignore_own(&own);
            let keywords = told_keywords(selected, &mut self.wire.out);
            for (target, result) in batch.iter().zip(&results) {
                match result.outcome {
                    FlagOutcome::Gone => some_gone = true,
                    FlagOutcome::Modified => modified.push(if store.uid {
                        target.message.uid.0
                    } else {
                        target.sequence
                    }),
                    // Silent or not, a client that uses mod-sequences must learn the new one (RFC 7162 section 3.1.3).
                    FlagOutcome::Changed | FlagOutcome::Unchanged if !store.silent || self.condstore => {
                        let message = pigeon_store::Message {
                            flags: result.flags,
                            mod_seq: result.mod_seq,
                            ..target.message
                        };
                        let what = FlagsResponse {
                            flags: !store.silent,
                            uid: store.uid,
                            mod_seq: self.condstore,
                        };
                        write_flags_response(&mut self.wire.out, selected, target.sequence, &message, &keywords, what);
                        self.wire.flush_if_full().await?;
                    }
                    FlagOutcome::Changed | FlagOutcome::Unchanged => {}
                }
            }
            yield_now().await;
        }
        let modified = modified_code(&modified);
        if (some_gone || targets.some_gone) && !store.uid {
            return Ok(Reply::No(if modified.is_empty() {
                refusal::SOME_GONE
            } else {
                format!("{modified}Some of the messages are gone").into()
            }));
        }
        let text: Refusal = if modified.is_empty() {
            "STORE completed".into()
        } else {
            format!("{modified}Conditional STORE failed for some").into()
        };
        Ok(Reply::Ok(text))
    }
}

fn operation(operation: StoreOperation) -> FlagOperation {
    match operation {
        StoreOperation::Replace => FlagOperation::Replace,
        StoreOperation::Add => FlagOperation::Add,
        StoreOperation::Remove => FlagOperation::Remove,
    }
}

/// `[MODIFIED set] `, or nothing.
fn modified_code(modified: &[u32]) -> String {
    if modified.is_empty() {
        return String::new();
    }
    let mut code = b"[MODIFIED ".to_vec();
    write::sequence_set(&mut code, modified.iter().copied());
    code.extend_from_slice(b"] ");
    String::from_utf8(code).expect("numbers are ASCII")
}
