//! Reading a peer, and what its messages mean for the count.

use std::time::Instant;

use crate::load::inflate::Inflated;
use crate::load::subscriber::{Peer, Words};
use crate::load::tally::Tally;
use crate::load::wire::Stamp;
use crate::load::{Plan, Report, RunFault};

/// Reads one peer and tallies what it got.
#[expect(clippy::too_many_arguments, reason = "the driver's fields, borrowed apart while its events are walked")]
pub(super) fn receive(
    peer: &mut Peer,
    index: usize,
    plan: &Plan,
    buffer: &mut [u8],
    inflated: &mut Inflated,
    stamp: &Stamp,
    tally: &mut Tally,
    report: &mut Report,
    started: Instant,
) -> Result<(), RunFault> {
    let publisher = index >= plan.subscribers;
    let words = if publisher { Words::of_publishers(&plan.target) } else { Words::of_subscribers(&plan.target) };
    let lanes = plan.lanes() as u64;
    let mut now = None;
    let read = peer.read(words, buffer, inflated, |subscriptions, data| {
        let now = *now.get_or_insert_with(|| started.elapsed());
        stamp.each(data, |number| {
            if publisher {
                report.echoes += 1;
            } else if let Some(subscription) = subscription(subscriptions, number, lanes) {
                subscription.1 = tally.delivered(subscription.1, number, now);
            }
        });
    });
    if peer.closed {
        report.closed += 1;
        if index >= plan.slow_subscribers {
            peer.subscriptions.iter().for_each(|&(_, expected)| tally.ended(expected));
        }
    }
    Ok(read?)
}

/// The subscription that a message of this number belongs to.
pub(super) fn subscription(subscriptions: &mut [(u64, u64)], number: u64, lanes: u64) -> Option<&mut (u64, u64)> {
    match subscriptions {
        [only] => Some(only),
        several => several.iter_mut().find(|(lane, _)| *lane == number % lanes),
    }
}
