//! The account of a run: what was counted at two moments, and what lies between them.

use std::time::Duration;

use super::Driver;
use crate::load::{Progress, Sample, Usage};

/// What was counted at one moment.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) at: Duration,
    pub(super) deliveries: u64,
    pub(super) echoes: u64,
    pub(super) published: u64,
    pub(super) read: u64,
    pub(super) reads: u64,
    pub(super) written: u64,
    pub(super) publisher_bytes: u64,
    pub(super) server: Option<Usage>,
    pub(super) driver: Option<Usage>,
}

impl Driver<'_> {
    /// How things stand.
    pub(super) fn mark(&self) -> Mark {
        let (subscribers, publishers) = self.peers.split_at(self.plan.subscribers);
        Mark {
            at: self.started.elapsed(),
            deliveries: self.tally.deliveries + self.report.slow_deliveries,
            echoes: self.report.echoes,
            published: self.tally.next(),
            read: subscribers.iter().map(|peer| peer.bytes_read).sum(),
            reads: subscribers.iter().map(|peer| peer.reads).sum(),
            written: subscribers.iter().map(|peer| peer.bytes_written).sum(),
            publisher_bytes: publishers.iter().map(|peer| peer.bytes_read + peer.bytes_written).sum(),
            server: self.plan.server_pid.and_then(Usage::of),
            driver: Usage::of(std::process::id()),
        }
    }

    /// Notes how things stand, and tells whoever watches.
    pub(super) fn sample(&mut self, end: Duration) {
        let (last, at) = (self.sampled, self.started.elapsed());
        let deliveries = self.tally.deliveries + self.report.slow_deliveries;
        let server = self.plan.server_pid.and_then(Usage::of);
        let seconds = (at - last.at).as_secs_f64().max(f64::EPSILON);
        let sample = Sample {
            seconds: at.as_secs_f64(),
            deliveries_per_second: (deliveries - last.deliveries) as f64 / seconds,
            server_cpu_cores: last.server.zip(server).map(|(last, now)| (now.cpu_seconds - last.cpu_seconds) / seconds),
            server_rss_bytes: server.map(|server| server.rss_bytes),
        };
        self.sampled = Mark { at, deliveries, server, ..last };
        self.report.timeline.push(sample);
        let Sample { seconds, deliveries_per_second, .. } = sample;
        (self.watch)(Progress::Publishing { seconds, of: end.as_secs_f64(), deliveries_per_second });
    }

    /// What lies between two moments.
    pub(super) fn account(&mut self, begin: Mark, end: Mark) {
        let report = &mut self.report;
        report.publications = end.published - begin.published;
        report.deliveries = end.deliveries - begin.deliveries;
        report.echoes = end.echoes - begin.echoes;
        report.seconds = (end.at - begin.at).as_secs_f64();
        report.deliveries_per_second = report.deliveries as f64 / report.seconds;
        let (read, written) = ((end.read - begin.read) as f64, (end.written - begin.written) as f64);
        report.bytes_per_delivery = read / report.deliveries.max(1) as f64;
        report.bytes_per_read = read / (end.reads - begin.reads).max(1) as f64;
        report.bytes_per_subscriber_second = (read + written) / report.seconds / self.plan.subscribers as f64;
        report.bytes_per_publication = (end.publisher_bytes - begin.publisher_bytes) as f64 / report.publications.max(1) as f64;
        report.latency_us = self.tally.latency();
        report.latency_curve = self.tally.latency_curve();
        let sent = report.deliveries + report.echoes;
        let spent = |(begin, end): (Usage, Usage)| (end.cpu_seconds - begin.cpu_seconds) * 1e6;
        let server = begin.server.zip(end.server);
        let per = |spent: Option<f64>, count: u64| spent.filter(|_| count > 0).map(|spent| spent / count as f64);
        report.server_cpu_us_per_delivery = per(server.map(spent), sent);
        report.server_cpu_us_per_publication = per(server.map(spent), report.publications);
        report.driver_cpu_us_per_delivery = per(begin.driver.zip(end.driver).map(spent), sent);
        report.server_cpu_cores = server.map(|usages| spent(usages) / 1e6 / report.seconds);
        report.server_system_share = server.map(|(begin, end)| end.system_share_since(&begin));
    }
}
