//! Whether a plan makes sense: looked at before anything is opened.

use super::{PAYLOAD_BYTES_MIN, Pace, Plan, RunFault, Transport};

/// Refuses what could not be run, with what is wrong about it.
pub(super) fn check(plan: &Plan) -> Result<(), RunFault> {
    let refused = match plan {
        Plan { subscribers: 0, .. } => "no subscribers",
        Plan { publishers: 0, .. } => "no publishers",
        Plan { slow_subscribers, subscribers, .. } if slow_subscribers > subscribers => "more slow subscribers than subscribers",
        Plan { subscriptions_per_connection: 0, .. } => "no subscriptions",
        Plan { channels, subscriptions_per_connection, .. } if channels < subscriptions_per_connection => {
            "a connection cannot subscribe to a channel twice: more channels, or fewer subscriptions"
        }
        Plan { subscriptions_per_connection: 2.., target, .. } if !target.names_several_channels() => {
            "over this transport a connection has one subscription"
        }
        Plan { pace: Pace::InFlight(0), .. } => "a window of nothing",
        Plan { pace: Pace::PerSecond(rate), .. } if rate.is_nan() || *rate <= 0.0 => "a rate of nothing",
        Plan { ramp_per_second: Some(rate), .. } if rate.is_nan() || *rate <= 0.0 => "a ramp that never rises",
        Plan { poll_interval, target, .. } if target.transport == Transport::Poll && poll_interval.is_zero() => "polls without a pause",
        Plan { payload_bytes, .. } if *payload_bytes < PAYLOAD_BYTES_MIN => "a payload too short for its stamp of 15 bytes",
        _ => return Ok(()),
    };
    Err(RunFault::Plan(refused))
}
