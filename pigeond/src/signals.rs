//! Signals as a stream of what the operator wants, and what the service manager is told.

use sd_notify::NotifyState;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM or SIGINT: take no new sessions, let those that are there end, then end.
    Drain,
    /// A second SIGTERM or SIGINT: end without waiting for sessions. What was acknowledged is durable either way.
    Stop,
    /// SIGHUP: read again what can change while the node runs.
    Reload,
}

/// Receives signals from its making on. Needs a tokio runtime with IO.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    draining: bool,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP for the process.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            draining: false,
        })
    }

    /// Waits for the next one. Cancel-safe. Several of a kind at once count as one, as the kernel has it.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => self.end(),
            _ = self.interrupt.recv() => self.end(),
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    fn end(&mut self) -> Wish {
        match std::mem::replace(&mut self.draining, true) {
            false => Wish::Drain,
            true => Wish::Stop,
        }
    }
}

/// Tells systemd that the node serves (`Type=notify`). Without a service manager it does nothing.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells systemd that the node is reading its configuration again; `tell_ready` ends that.
pub fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager could not be told of the reload"),
    }
}

/// Tells systemd that the node drains.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Kind, getpid, kill_process};

    #[test]
    fn signals_become_wishes() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let mut signals = Signals::new().expect("signals can be taken over");
            for (kind, wish) in [
                (Kind::HUP, Wish::Reload),
                (Kind::TERM, Wish::Drain),
                (Kind::HUP, Wish::Reload),
                (Kind::INT, Wish::Stop),
                (Kind::TERM, Wish::Stop),
            ] {
                kill_process(getpid(), kind).expect("a process may signal itself");
                assert_eq!(signals.next().await, wish, "{kind:?}");
            }
        });
    }
}
