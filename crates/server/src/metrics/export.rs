//! The cells as OpenMetrics families, summed over the workers at each scrape.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::PoisonError;

use bongsu_core::GapReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::labels::{CloseReason, Label, Route, StatusClass, TlsHandshake, TransportKind};
use super::{Balance, Balances, Cells, PerLabel, WorkerCells};

impl Collector for Cells {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut families = Families(encoder);
        self.encode_connections(&mut families)?;
        self.encode_traffic(&mut families)?;
        self.encode_compression(&mut families)?;
        let help = "TLS handshakes";
        self.counters(&mut families, "tls_handshakes", help, "result", |worker| &worker.tls_handshakes, TlsHandshake::ALL)?;
        self.encode_requests(&mut families)?;
        self.encode_faults(&mut families)?;
        self.encode_held(&mut families)?;
        self.encode_queues(&mut families)
    }
}

impl Cells {
    fn encode_connections(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let help = "Connections held, by transport";
        let mut family = families.begin("connections", help, None, MetricType::Gauge)?;
        for &transport in TransportKind::ALL {
            gauge(&mut family, &[("transport", transport.word())], signed(self.connections(transport)))?;
        }
        let help = "Connections opened, or turned into this transport";
        self.counters(families, "connections_opened", help, "transport", |worker| &worker.opened, TransportKind::ALL)?;
        let help = "Connections that ended, by reason";
        self.counters(families, "closes", help, "reason", |worker| &worker.closes, CloseReason::ALL)?;
        let help = "Times that a connection was not read from for a while, because no more could be taken from its client";
        self.counters(families, "reading_pauses", help, "transport", |worker| &worker.reading_paused, TransportKind::ALL)?;
        let help = "Connections that are not read from at the moment, because no more can be taken from their clients";
        let mut family = families.begin("reading_paused", help, None, MetricType::Gauge)?;
        for &transport in TransportKind::ALL {
            gauge(&mut family, &[("transport", transport.word())], signed(self.reading_paused(transport)))?;
        }
        Ok(())
    }

    fn encode_traffic(&self, families: &mut Families<'_>) -> Result<(), Error> {
        self.encode_balances(families)?;
        let mut family = families.begin(
            "delivery",
            "Bytes handed to the kernel for subscribers, frames included",
            Some(&Unit::Bytes),
            MetricType::Counter,
        )?;
        for &transport in TransportKind::ALL {
            let bytes = self.sum(|worker| worker.delivery_bytes.get(transport));
            counter(&mut family, &[("transport", transport.word())], bytes)?;
        }
        let help = "Publications accepted from publishers";
        self.counters(families, "publications", help, "transport", |worker| &worker.publications, TransportKind::ALL)?;
        let help = "Publishers that had to wait for subscribers";
        self.counters(families, "publishers_paused", help, "transport", |worker| &worker.paused, TransportKind::ALL)?;
        let help = "Messages that subscribers refused (NACK)";
        families.count("nacks", help, None, self.sum(|worker| worker.nacks.get()))?;
        let help = "Gaps told to subscribers, by reason";
        self.counters(families, "gaps", help, "reason", |worker| &worker.gaps, GapReason::ALL)
    }

    /// What was offered, and where it went. Of each worker these numbers were set at once, so they add up.
    fn encode_balances(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let mut balances = Balances::default();
        for worker in &self.workers {
            balances.add_all(&worker.balances.lock().unwrap_or_else(PoisonError::into_inner));
        }
        for &transport in TransportKind::ALL {
            // What is asked for page by page is offered as it is answered.
            let answered = self.sum(|worker| worker.deliveries.get(transport));
            balances.add(transport, Balance { offered: answered, delivered: answered, ..Balance::default() });
        }
        let mut each = |name: &str, help: &str, kind, of: fn(Balance) -> u64| {
            let mut family = families.begin(name, help, None, kind)?;
            TransportKind::ALL.iter().try_for_each(|&transport| {
                let (labels, value) = ([("transport", transport.word())], of(balances.get(transport)));
                match kind {
                    MetricType::Gauge => gauge(&mut family, &labels, signed(value)),
                    _ => counter(&mut family, &labels, value),
                }
            })
        };
        let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
        each("offered", "Publications that subscribers were to get: the sum of those delivered to pending", counter, |one| one.offered)?;
        each("deliveries", "Publications handed to the kernel for subscribers", counter, |one| one.delivered)?;
        each("dropped", "Publications replaced by a gap: trimmed, or dropped for a slow subscriber", counter, |one| one.dropped)?;
        each("conflated", "Publications replaced by a gap: a slow subscriber gets a newer one of their key", counter, |one| one.conflated)?;
        each("abandoned", "Publications pending when their subscription ended", counter, |one| one.abandoned)?;
        each("pending", "Publications that subscribers are still to get", gauge, |one| one.pending)?;
        each("holds", "How often a subscriber began to hold its channel's publishers back", counter, |one| one.holds)
    }

    fn encode_compression(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let help = "WebSocket messages compressed, each once for all who get it";
        families.count("compressed_messages", help, None, self.sum(|worker| worker.compressed_messages.get()))?;
        let help = "Bytes of compressed WebSocket messages, before they were compressed";
        families.count("compressed_before", help, Some(&Unit::Bytes), self.sum(|worker| worker.compressed_bytes_before.get()))?;
        let help = "Bytes of compressed WebSocket messages, after they were compressed";
        families.count("compressed_after", help, Some(&Unit::Bytes), self.sum(|worker| worker.compressed_bytes_after.get()))
    }

    fn encode_requests(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let mut family = families.begin("requests", "HTTP requests answered", None, MetricType::Counter)?;
        for &route in Route::ALL {
            for &class in StatusClass::ALL {
                let count = self.sum(|worker| worker.requests[route.index()].get(class));
                counter(&mut family, &[("route", route.word()), ("status", class.word())], count)?;
            }
        }
        Ok(())
    }

    fn encode_faults(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let mut sums = BTreeMap::<&str, u64>::new();
        for worker in &self.workers {
            for (name, count) in worker.faults.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                *sums.entry(name).or_default() += count;
            }
        }
        let mut family = families.begin("faults", "What peers did wrong, by the fault's name", None, MetricType::Counter)?;
        sums.iter().try_for_each(|(name, count)| counter(&mut family, &[("fault", *name)], *count))
    }

    /// What is held now: the numbers that bounds of the configuration speak of.
    fn encode_held(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let bytes = Some(&Unit::Bytes);
        let tape = signed(self.sum(|worker| worker.tape_bytes.get()));
        let outbox = signed(self.sum(|worker| worker.outbox_bytes.get()));
        let subscriptions = signed(self.sum(|worker| worker.subscriptions.get()));
        let held = signed(self.sum(|worker| worker.held_publishers.get()));
        families.single("held_publishers", "Publishers that wait for subscribers", None, held)?;
        families.single("history", "Bytes retained by the history of all channels", bytes, self.history_bytes.get())?;
        families.single("tape", "Bytes of encoded frames kept at hand on the tapes", bytes, tape)?;
        families.single("outbox", "Bytes of replies, pings and goodbyes that wait to leave", bytes, outbox)?;
        let in_flight = signed(self.sum(|worker| worker.in_flight_bytes.get()));
        families.single(
            "in_flight",
            "Bytes held for what is under way: unread input, bodies, outboxes, tapes, HTTP/2",
            bytes,
            in_flight,
        )?;
        families.single("channels", "Channels that exist", None, self.channels.get())?;
        families.single("subscriptions", "Subscriptions of all connections", None, subscriptions)
    }

    /// A counter for each value of one label.
    fn counters<L: Label, const COUNT: usize>(
        &self,
        families: &mut Families<'_>,
        name: &str,
        help: &str,
        label: &'static str,
        cells: impl Fn(&WorkerCells) -> &PerLabel<COUNT>,
        values: &[L],
    ) -> Result<(), Error> {
        let mut family = families.begin(name, help, None, MetricType::Counter)?;
        values.iter().try_for_each(|&value| counter(&mut family, &[(label, value.word())], self.sum(|worker| cells(worker).get(value))))
    }
}

/// Writes families one after the other.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    /// A counter without labels.
    pub(super) fn count(&mut self, name: &str, help: &str, unit: Option<&Unit>, count: u64) -> Result<(), Error> {
        self.begin(name, help, unit, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    /// A gauge without labels.
    pub(super) fn single(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: i64) -> Result<(), Error> {
        self.begin(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }
}

pub(super) fn counter(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, count: u64) -> Result<(), Error> {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: i64) -> Result<(), Error> {
    family.encode_family(labels)?.encode_gauge(&value)
}

/// A sum of cells that may fall as well as rise, which the cells hold in two's complement.
fn signed(sum: u64) -> i64 {
    sum.cast_signed()
}
