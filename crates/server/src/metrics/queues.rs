//! What queues hold and what happened in them, as OpenMetrics families.

use std::fmt::Error;
use std::sync::PoisonError;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Cells;
use super::export::{Families, counter};

impl Cells {
    pub(super) fn encode_queues(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let (depth, counts) = *self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        families.single("queues", "Queues that hold messages", None, number(depth.queues))?;
        families.single("queue_messages", "Messages held by queues, waiting or in hand", None, number(depth.messages))?;
        families.single("queue_unacked", "Messages in consumers' hands, not answered for", None, number(depth.in_hand))?;
        families.single("queue_held", "Bytes held by queues", Some(&Unit::Bytes), number(depth.bytes))?;
        families.single("queue_consumers", "Consumers of queues", None, number(depth.consumers))?;
        families.count("queue_published", "Messages taken into queues", None, counts.published)?;
        families.count("queue_delivered", "Messages handed to consumers, the first time or again", None, counts.delivered)?;
        families.count("queue_redelivered", "Messages handed to consumers again", None, counts.redelivered)?;
        families.count("queue_acked", "Messages that a consumer was done with", None, counts.acked)?;
        families.count("queue_nacked", "Messages that a consumer refused", None, counts.nacked)?;
        families.count("queue_dropped", "Dead messages that no dead-letter queue took", None, counts.dropped)?;
        let mut family = families.begin("queue_dead_lettered", "Messages that died, by reason", None, MetricType::Counter)?;
        [("tries", counts.dead_tries), ("rejected", counts.dead_rejected), ("expired", counts.dead_expired)]
            .into_iter()
            .try_for_each(|(reason, count)| counter(&mut family, &[("reason", reason)], count))
    }
}
