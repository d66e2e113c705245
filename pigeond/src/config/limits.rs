//! Bounds on sizes, counts and memory.

use super::section::{Section, number, size};
use super::size::Size;
use serde::Serialize;

/// Bounds on sizes, counts and memory. Whatever a peer sends, the node stays within them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The biggest message, announced in SIZE and APPENDLIMIT. From 64 KiB (RFC 5321 section 4.5.3.1.7) to 4095 MiB;
    /// default 50 MiB. A record's own limit (`mailSizeMax`) can only be smaller.
    pub message_size_max: Size,
    /// The most recipients of one message; more get 452, and the sender's server sends them another copy. From 100 (RFC
    /// 5321 section 4.5.3.1.8) to 10000; default 1000.
    pub recipients_max: u32,
    /// The most accounts that one message may reach when groups are replaced by their members; a recipient beyond that gets
    /// 452. From 100 to 1000000; default 10000.
    pub accounts_per_message_max: u32,
    /// The most Received lines that a message may have; more are a loop (554 5.4.6). From 10 to 1000; default 50 (RFC 5321
    /// section 6.3 has 100; mail that went through 50 hops has not been seen outside of loops).
    pub hops_max: u32,
    /// The most messages in one SMTP session, after which it is asked to reconnect (421). From 1; default 10000.
    pub messages_per_session_max: u32,
    /// The most sessions that one core serves, of all services together. Beyond it new ones are told to come later. From 1
    /// to 1000000; default 20000.
    pub sessions_per_core_max: u32,
    /// The most sessions of one address (of one /64 for IPv6) that one core serves; trusted networks do not count. From
    /// 1 to 1000000; default 100.
    pub sessions_per_address_max: u32,
    /// Errors of protocol in one session, after which it is closed. From 1 to 1000; default 20.
    pub errors_max: u32,
    /// Recipients that are refused in one SMTP session, after which it is closed, so that nobody tries names without end.
    /// From 1 to 1000000; default 200.
    pub refused_recipients_max: u32,
    /// SMTP commands since the last message or login, RCPT aside, after which the session is closed. From 10 to 1000000;
    /// default 200.
    pub idle_commands_max: u32,
    /// Failed logins in one session, after which it is closed. From 1 to 100; default 3.
    pub login_failures_max: u32,
    /// Password checks that may wait for a thread; beyond it a login is told to come later. From 1 to 100000; default 1000.
    pub logins_waiting_max: u32,
    /// The longest IMAP command line without its literals. Clients with big selections send long lines. From 8 KiB (RFC
    /// 7162 section 4) to 1 MiB; default 64 KiB. (SMTP and POP3 lines have the bounds of their RFCs.)
    pub imap_line_bytes_max: Size,
    /// Memory for message bodies on their way in, for each volume. Beyond it senders wait. From 1 MiB to 64 GiB; default
    /// 8 MiB.
    pub body_memory_bytes: Size,
    /// Memory for bodies that came in or were read a moment ago, for each volume; up to 8 MiB are added while mailboxes are read
    /// through. Up to 1 TiB; default 32 MiB.
    pub body_cache_bytes: Size,
    /// Memory for the indices of accounts that are in use or were a moment ago, for each volume. From 1 MiB to 1 TiB;
    /// default 128 MiB.
    pub index_cache_bytes: Size,
    /// Buffers that the kernel fills for all connections of a core; a power of two. From 16 to 32768; default 1024.
    pub receive_buffers: u16,
    /// Bytes of one such buffer. From 1 KiB to 64 KiB; default 8 KiB.
    pub receive_buffer_bytes: Size,
    /// Jobs that may wait in the queue from one core to another. From 16 to 65536; default 1024.
    pub core_queue_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size_max: Size::mib(50),
            recipients_max: 1000,
            accounts_per_message_max: 10_000,
            hops_max: 50,
            messages_per_session_max: 10_000,
            sessions_per_core_max: 20_000,
            sessions_per_address_max: 100,
            errors_max: 20,
            refused_recipients_max: 200,
            idle_commands_max: 200,
            login_failures_max: 3,
            logins_waiting_max: 1000,
            imap_line_bytes_max: Size::kib(64),
            body_memory_bytes: Size::mib(8),
            body_cache_bytes: Size::mib(32),
            index_cache_bytes: Size::mib(128),
            receive_buffers: 1024,
            receive_buffer_bytes: Size::kib(8),
            core_queue_max: 1024,
        }
    }
}

impl Limits {
    pub(super) fn read(mut section: Section<'_, '_, '_>) -> Limits {
        let default = Limits::default();
        let tebibyte = Size::gib(1024);
        let receive_buffers = section.located("receive_buffers", number(16..=32_768));
        if let Some((count, place)) = &receive_buffers
            && !u16::is_power_of_two(*count)
        {
            section.mistake(
                place,
                format!("receive_buffers: expected a power of two, found the number {count}"),
            );
        }
        let limits = Limits {
            message_size_max: section.or(
                "message_size_max",
                default.message_size_max,
                size(Size::kib(64)..=Size::mib(4095)),
            ),
            recipients_max: section.or("recipients_max", default.recipients_max, number(100..=10_000)),
            accounts_per_message_max: section.or(
                "accounts_per_message_max",
                default.accounts_per_message_max,
                number(100..=1_000_000),
            ),
            hops_max: section.or("hops_max", default.hops_max, number(10..=1000)),
            messages_per_session_max: section.or(
                "messages_per_session_max",
                default.messages_per_session_max,
                number(1..=1_000_000_000),
            ),
            sessions_per_core_max: section.or(
                "sessions_per_core_max",
                default.sessions_per_core_max,
                number(1..=1_000_000),
            ),
            sessions_per_address_max: section.or(
                "sessions_per_address_max",
                default.sessions_per_address_max,
                number(1..=1_000_000),
            ),
            errors_max: section.or("errors_max", default.errors_max, number(1..=1000)),
            refused_recipients_max: section.or(
                "refused_recipients_max",
                default.refused_recipients_max,
                number(1..=1_000_000),
            ),
            idle_commands_max: section.or("idle_commands_max", default.idle_commands_max, number(10..=1_000_000)),
            login_failures_max: section.or("login_failures_max", default.login_failures_max, number(1..=100)),
            logins_waiting_max: section.or("logins_waiting_max", default.logins_waiting_max, number(1..=100_000)),
            imap_line_bytes_max: section.or(
                "imap_line_bytes_max",
                default.imap_line_bytes_max,
                size(Size::kib(8)..=Size::mib(1)),
            ),
            body_memory_bytes: section.or(
                "body_memory_bytes",
                default.body_memory_bytes,
                size(Size::mib(1)..=Size::gib(64)),
            ),
            body_cache_bytes: section.or(
                "body_cache_bytes",
                default.body_cache_bytes,
                size(Size::of_bytes(0)..=tebibyte),
            ),
            index_cache_bytes: section.or(
                "index_cache_bytes",
                default.index_cache_bytes,
                size(Size::mib(1)..=tebibyte),
            ),
            receive_buffers: receive_buffers.map_or(default.receive_buffers, |(count, _)| count),
            receive_buffer_bytes: section.or(
                "receive_buffer_bytes",
                default.receive_buffer_bytes,
                size(Size::kib(1)..=Size::kib(64)),
            ),
            core_queue_max: section.or("core_queue_max", default.core_queue_max, number(16..=65_536)),
        };
        section.finish();
        limits
    }
}
