//! Signals as a stream of what the operator wants, and what the service manager is told.

use sd_notify::NotifyState;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM or SIGINT: take no new sessions, let those that are there end, then end.
    Drain,
    /// Another SIGTERM or SIGINT a while after the first: end without waiting for sessions. What was acknowledged is durable
    /// either way.
    Stop,
    /// SIGHUP: read again what can change while the node runs.
    Reload,
}

/// Signals to end that come within this time are one wish: `timeout`, and others that signal a process and then its group,
/// send two.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Receives signals from its making on. Needs a tokio runtime with IO.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    draining_since: Option<Instant>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP for the process.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            draining_since: None,
        })
    }

    /// Waits for the next one. Cancel-safe. Several of a kind at once count as one, as the kernel has it.
    pub async fn next(&mut self) -> Wish {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hang_up.recv() => return Wish::Reload,
            }
            match self.draining_since {
                None => {
                    self.draining_since = Some(Instant::now());
                    return Wish::Drain;
                }
                Some(since) if since.elapsed() >= SAME_WISH => return Wish::Stop,
                Some(_) => {}
            }
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
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let mut signals = Signals::new().expect("signals can be taken over");
            // The pause before the signal, the signal, and the wish that it is.
            let again = SAME_WISH;
            for (pause, kind, wish) in [
                (Duration::ZERO, Kind::HUP, Some(Wish::Reload)),
                (Duration::ZERO, Kind::TERM, Some(Wish::Drain)),
                (Duration::ZERO, Kind::TERM, None),
                (again / 2, Kind::INT, None),
                (Duration::ZERO, Kind::HUP, Some(Wish::Reload)),
                (again, Kind::INT, Some(Wish::Stop)),
                (Duration::ZERO, Kind::TERM, Some(Wish::Stop)),
            ] {
                tokio::time::advance(pause).await;
                kill_process(getpid(), kind).expect("a process may signal itself");
                if let Some(wish) = wish {
                    assert_eq!(signals.next().await, wish, "{kind:?} after {pause:?}");
                }
            }
        });
    }
}
