//! The node as Prometheus text (the OpenMetrics form of it).

use super::{Counter, NodeStatus};
use crate::config::Service;
use pigeon_datatree_cache::CopyState;
use pigeon_datatree_cache::source::Following;
use pigeon_store::VolumeState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// The media type of what `render` gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One scrape.
pub(super) fn render(status: NodeStatus) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("pigeon");
    registry.register_collector(Box::new(Scrape(status)));
    let mut output = String::new();
    text::encode(&mut output, &registry)?;
    Ok(output)
}

#[derive(Debug)]
struct Scrape(NodeStatus);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let status = &self.0;
        let encoder = &mut encoder;
        gauge(encoder, "ready", "1 while the node takes connections", |metric| {
            metric.encode_gauge(&i64::from(status.readiness().0))
        })?;
        gauge(encoder, "uptime_seconds", "Since the start of the process", |metric| {
            metric.encode_gauge(&status.uptime.as_secs_f64())
        })?;
        counter(
            encoder,
            "log_lines_dropped",
            "Log lines that were not taken fast enough",
            |metric| metric.encode_counter::<NoLabelSet, _, u64>(&status.log_lines_dropped, None),
        )?;
        for count in &status.authentication {
            counter(encoder, count.name, count.help, |metric| {
                metric.encode_counter::<NoLabelSet, _, u64>(&count.value, None)
            })?;
        }
        self.control_data(encoder)?;
        self.cores(encoder)?;
        self.queues(encoder)?;
        self.volumes(encoder)
    }
}

impl Scrape {
    fn control_data(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let data = &self.0.control_data;
        for (name, help, value) in [
            (
                "control_data_generation",
                "Grows with every change of control data taken over",
                data.generation,
            ),
            ("control_data_accounts", "Accounts in control data", data.accounts),
            ("control_data_domains", "Domains in control data", data.domains),
            (
                "control_data_bad",
                "1 while the source holds what could not be taken over",
                data.problem.is_some().into(),
            ),
        ] {
            gauge(encoder, name, help, |metric| metric.encode_gauge(&value))?;
        }
        match &data.following {
            Some(following) => Self::following(encoder, following),
            None => Ok(()),
        }
    }

    fn following(encoder: &mut DescriptorEncoder<'_>, following: &Following) -> fmt::Result {
        gauge(
            encoder,
            "control_data_state",
            "1 for the state that the copy of the directory is in",
            |metric| {
                for state in [CopyState::Boot, CopyState::Refresh, CopyState::Live, CopyState::Lost] {
                    let labels = [("state", copy_state_name(state))];
                    let is = i64::from(state == following.state);
                    metric.encode_family(&labels)?.encode_gauge(&is)?;
                }
                Ok(())
            },
        )?;
        gauge(
            encoder,
            "control_data_state_seconds",
            "How long it has been in it",
            |metric| metric.encode_gauge(&following.since.elapsed().as_secs_f64()),
        )?;
        if let Some(current_at) = following.current_at {
            gauge(
                encoder,
                "control_data_age_seconds",
                "Since the copy was last known to be what the directory holds",
                |metric| metric.encode_gauge(&current_at.elapsed().as_secs_f64()),
            )?;
        }
        gauge(
            encoder,
            "control_data_refused",
            "Entries of the directory that are not taken, whose last good versions are in force",
            |metric| metric.encode_gauge(&following.refused_count),
        )?;
        gauge(
            encoder,
            "control_data_alarm",
            "1 while the copy has not been current for longer than alarm_after",
            |metric| metric.encode_gauge(&i64::from(following.alarm)),
        )
    }

    fn cores(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for each in Counter::ALL {
            counter(encoder, each.name(), each.help(), |metric| {
                for (id, core) in self.0.cores.iter().enumerate() {
                    let labels = [("core", id.to_string())];
                    let count = core.counts.counts[*each as usize];
                    metric
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
                Ok(())
            })?;
        }
        counter(
            encoder,
            "sessions_started",
            "Sessions that began, by service",
            |metric| {
                self.by_service(metric, |metric, core, service| {
                    metric.encode_counter::<NoLabelSet, _, u64>(&core.counts.sessions_started[service], None)
                })
            },
        )?;
        let moves: u64 = self.0.cores.iter().map(|core| core.counts.moves).sum();
        gauge(
            encoder,
            "moves_under_way",
            "Accounts that are being fetched from another node or volume, or wait for that",
            |metric| metric.encode_gauge(&moves),
        )?;
        gauge(
            encoder,
            "sessions_open",
            "Sessions that are going on, by service and the core they began on",
            |metric| {
                self.by_service(metric, |metric, core, service| {
                    metric.encode_gauge(&core.counts.sessions_open[service])
                })
            },
        )
    }

    fn by_service(
        &self,
        metric: &mut MetricEncoder<'_>,
        encode: impl Fn(&mut MetricEncoder<'_>, &super::CoreStatus, usize) -> fmt::Result,
    ) -> fmt::Result {
        for (id, core) in self.0.cores.iter().enumerate() {
            for service in Service::ALL {
                let labels = [("core", id.to_string()), ("service", service.name().to_owned())];
                encode(&mut metric.encode_family(&labels)?, core, service as usize)?;
            }
        }
        Ok(())
    }

    fn queues(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            (
                "queue_messages",
                "Messages that wait, by the node that they wait for and the volume that they are in",
                (|queue| queue.messages) as fn(&super::VolumeQueue) -> u64,
            ),
            ("queue_bytes", "Bytes of the messages that wait", |queue| queue.bytes),
            (
                "queue_oldest_seconds",
                "How long the oldest of them has waited",
                |queue| queue.oldest.map_or(0, |oldest| oldest.as_secs()),
            ),
        ] {
            gauge(encoder, name, help, |metric| {
                self.0.queues.iter().try_for_each(|queue| {
                    let labels = [
                        ("destination", queue.destination.clone()),
                        ("volume", queue.volume.clone()),
                    ];
                    metric.encode_family(&labels)?.encode_gauge(&value(queue))
                })
            })?;
        }
        Ok(())
    }

    fn volumes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let volumes = &self.0.volumes;
        gauge(
            encoder,
            "volume_state",
            "1 for the state that a volume is in",
            |metric| {
                for volume in volumes {
                    for state in STATES {
                        let labels = [("volume", volume.id.clone()), ("state", (*state).to_owned())];
                        let is = i64::from(state_name(&volume.state) == *state);
                        metric.encode_family(&labels)?.encode_gauge(&is)?;
                    }
                }
                Ok(())
            },
        )?;
        for (name, help, value) in [
            (
                "volume_free_bytes",
                "Free bytes of the file system of a volume",
                (|v| v.free_bytes) as fn(&super::VolumeStatus) -> u64,
            ),
            ("volume_size_bytes", "Bytes of the file system of a volume", |v| {
                v.total_bytes
            }),
        ] {
            gauge(encoder, name, help, |metric| {
                volumes.iter().try_for_each(|volume| {
                    metric
                        .encode_family(&[("volume", volume.id.clone())])?
                        .encode_gauge(&value(volume))
                })
            })?;
        }
        for (name, help, value) in [
            (
                "volume_messages",
                "Messages put into a volume",
                (|v| v.stats.messages) as fn(&super::VolumeStatus) -> u64,
            ),
            (
                "volume_duplicates",
                "Deliveries that a volume did not store because the account had them already, by their keys",
                |v| v.stats.duplicates,
            ),
            (
                "volume_keys_forgotten",
                "Keys of messages that were forgotten within a day, because an account had too many",
                |v| v.stats.keys_forgotten,
            ),
            ("volume_batches", "Durable writes of a volume's journal", |v| {
                v.stats.batches
            }),
            ("volume_journal_bytes", "Bytes written to a volume's journal", |v| {
                v.stats.journal_bytes
            }),
        ] {
            counter(encoder, name, help, |metric| {
                volumes.iter().try_for_each(|volume| {
                    let labels = [("volume", volume.id.clone())];
                    metric
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&value(volume), None)
                })
            })?;
        }
        Ok(())
    }
}

/// Every name that `state_name` gives.
const STATES: &[&str] = &["writable", "nearly_full", "read_only", "poisoned", "closed", "not_open"];

/// A volume's state in a word.
pub(super) fn state_name(state: &Result<VolumeState, String>) -> &'static str {
    match state {
        Ok(VolumeState::Writable) => "writable",
        Ok(VolumeState::NearlyFull) => "nearly_full",
        Ok(VolumeState::ReadOnly(_)) => "read_only",
        Ok(VolumeState::Poisoned(_)) => "poisoned",
        Ok(VolumeState::Closed) => "closed",
        Err(_) => "not_open",
    }
}

/// As the metric and the page call it.
pub(super) fn copy_state_name(state: CopyState) -> &'static str {
    match state {
        CopyState::Boot => "boot",
        CopyState::Refresh => "refresh",
        CopyState::Live => "live",
        CopyState::Lost => "lost",
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    encode(&mut encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    encode(&mut encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{ControlDataStatus, CoreCounters, CoreStatus, NodeCount, Phase, VolumeStatus};
    use super::*;
    use pigeon_datatree_cache::{Mistake, Mistakes};
    use pigeon_store::VolumeStats;
    use std::time::{Duration, Instant};

    /// A node with two cores and two volumes, one of which is not open.
    pub(in super::super) fn example() -> NodeStatus {
        let busy = CoreCounters::new();
        busy.add(Counter::MessagesAccepted, 7);
        busy.session_started(Service::Imap);
        let volume = |id: &str, state| VolumeStatus {
            id: id.to_owned(),
            path: format!("/srv/{id}").into(),
            core: 1,
            state,
            stats: VolumeStats {
                messages: 42,
                ..VolumeStats::default()
            },
            free_bytes: 3 << 30,
            total_bytes: 12 << 30,
        };
        NodeStatus {
            hostname: "mail.example.org".to_owned(),
            cluster: None,
            queue: None,
            phase: Phase::Ready,
            uptime: Duration::from_secs(3725),
            cores: vec![
                CoreStatus {
                    cpu: 2,
                    counts: busy.read(),
                },
                CoreStatus {
                    cpu: 3,
                    counts: CoreCounters::new().read(),
                },
            ],
            volumes: vec![
                volume("main", Ok(VolumeState::Writable)),
                volume("<old>", Err("no marker in /srv/old & nothing else".to_owned())),
            ],
            queues: vec![super::super::VolumeQueue {
                destination: "n<2>".to_owned(),
                volume: "main".to_owned(),
                messages: 5,
                bytes: 12_345,
                oldest: Some(Duration::from_secs(61)),
                held: Some("the volume is poisoned: <x>".into()),
            }],
            control_data: ControlDataStatus {
                generation: 3,
                accounts: 2,
                domains: 1,
                problem: None,
                following: None,
            },
            authentication: vec![NodeCount {
                name: "binds",
                help: "Binds to the directory",
                value: 5,
            }],
            log_lines_dropped: 0,
        }
    }

    /// A directory that is out of reach.
    pub(in super::super) fn lost() -> Following {
        let refused = Mistake {
            position: None,
            dn: Some("uid=a".to_owned()),
            attribute: Some("mailQuotaSize".to_owned()),
            message: "<-1>".to_owned(),
        };
        Following {
            state: CopyState::Lost,
            since: Instant::now(),
            current_at: None,
            server: "ldap://<a>".to_owned(),
            trouble: Some("no <answer>".to_owned()),
            alarm: true,
            cookie: Some("rid=000,csn=1".to_owned()),
            refused_count: 2,
            refused: Mistakes {
                list: vec![refused],
                left_out: 0,
            },
        }
    }

    #[test]
    fn a_directory_has_its_own_lines() {
        let mut status = example();
        status.control_data.following = Some(Following {
            current_at: Some(Instant::now()),
            ..lost()
        });
        let text = render(status).expect("a string takes all");
        for line in [
            "pigeon_control_data_state{state=\"live\"} 0",
            "pigeon_control_data_state{state=\"lost\"} 1",
            "pigeon_control_data_state_seconds 0.",
            "pigeon_control_data_age_seconds 0.",
            "pigeon_control_data_refused 2",
            "pigeon_control_data_alarm 1",
        ] {
            assert!(
                text.lines().any(|found| found.starts_with(line)),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn every_line_a_monitor_needs_is_there() {
        let text = render(example()).expect("a string takes all");
        for line in [
            "pigeon_ready 1",
            "pigeon_uptime_seconds 3725.0",
            "pigeon_log_lines_dropped_total 0",
            "pigeon_control_data_accounts 2",
            "pigeon_control_data_bad 0",
            "pigeon_binds_total 5",
            "# TYPE pigeon_messages_accepted counter",
            "pigeon_messages_accepted_total{core=\"0\"} 7",
            "pigeon_messages_accepted_total{core=\"1\"} 0",
            "pigeon_sessions_open{core=\"0\",service=\"imap\"} 1",
            "pigeon_sessions_started_total{core=\"0\",service=\"smtp\"} 0",
            "pigeon_volume_state{volume=\"main\",state=\"writable\"} 1",
            "pigeon_volume_state{volume=\"main\",state=\"poisoned\"} 0",
            "pigeon_volume_state{volume=\"<old>\",state=\"not_open\"} 1",
            "pigeon_volume_free_bytes{volume=\"main\"} 3221225472",
            "pigeon_volume_messages_total{volume=\"main\"} 42",
            "pigeon_queue_messages{destination=\"n<2>\",volume=\"main\"} 5",
            "pigeon_queue_oldest_seconds{destination=\"n<2>\",volume=\"main\"} 61",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        for counter in Counter::ALL {
            assert!(
                text.contains(&format!("# HELP pigeon_{} {}\n", counter.name(), counter.help())),
                "{counter:?}"
            );
        }
    }
}
