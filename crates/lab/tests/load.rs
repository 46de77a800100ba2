//! The load driver and the bare server against each other: every message of every transport arrives, once and in order.

use std::net::SocketAddr;
use std::time::Duration;

use bongsu_lab::ceiling::{Ceiling, Writing};
use bongsu_lab::load::{self, Pace, Plan, Progress, Report, Target, Transport};

/// Runs a bare server on a thread of its own until the test process ends.
fn serve(writing: Writing) -> SocketAddr {
    let server = Ceiling::bind(([127, 0, 0, 1], 0).into(), writing).expect("a free port");
    let address = server.local_addr().expect("bound");
    std::thread::spawn(move || server.run().expect("an event loop"));
    address
}

fn plan(target: Target) -> Plan {
    Plan {
        subscribers: 20,
        pace: Pace::InFlight(8),
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(50),
        poll_interval: Duration::from_millis(5),
        ..Plan::new(target)
    }
}

fn check(plan: &Plan) -> Report {
    let report = load::run(plan).expect("a run");
    assert!(report.is_clean() && report.deliveries > 0 && report.publications > 0, "{report:?}");
    report
}

#[test]
fn every_transport_delivers_everything() {
    let address = serve(Writing::Batched);
    for transport in [Transport::WebSocket, Transport::Sse, Transport::Lines, Transport::LongPoll, Transport::Poll] {
        check(&plan(Target::plain(address, transport)));
    }
}

#[test]
fn one_write_per_message_delivers_the_same() {
    check(&plan(Target::plain(serve(Writing::Unbatched), Transport::WebSocket)));
}

#[test]
fn many_channels_and_several_per_connection() {
    let target = Target::plain(serve(Writing::Batched), Transport::WebSocket);
    check(&Plan { channels: 20, ..plan(target.clone()) });
    let target = Target { subscribe_path: "/subscribe?{channels}".into(), ..target };
    check(&Plan { channels: 10, subscriptions_per_connection: 4, pace: Pace::PerSecond(2000.0), ..plan(target) });
}

#[test]
fn a_slow_subscriber_holds_nobody_up() {
    let target = Target::plain(serve(Writing::Batched), Transport::WebSocket);
    let report = check(&Plan { slow_subscribers: 1, slow_pause: Duration::from_millis(10), ..plan(target) });
    assert!(report.slow_deliveries > 0 && report.slow_lost == 0, "{report:?}");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let address = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port that was free");
    let refused = load::run(&plan(Target::plain(address, Transport::WebSocket)));
    assert!(refused.is_err_and(|fault| fault.to_string().contains("refused")));
}

#[test]
fn a_plan_without_sense_is_refused() {
    let target = Target::plain(([127, 0, 0, 1], 1).into(), Transport::Sse);
    let refused = load::run(&Plan { channels: 2, subscriptions_per_connection: 3, ..plan(target) });
    assert!(refused.is_err_and(|fault| fault.to_string().contains("twice")));
}

#[test]
fn the_order_of_each_publisher_is_checked_where_there_are_several() {
    let target = Target::plain(serve(Writing::Batched), Transport::WebSocket);
    check(&Plan { publishers: 3, channels: 2, ..plan(target) });
}

#[test]
fn a_run_without_publications_tells_how_it_goes() {
    let plan = Plan {
        pace: Pace::Nothing,
        ramp_per_second: Some(2000.0),
        duration: Duration::from_millis(250),
        ..plan(Target::plain(serve(Writing::Batched), Transport::Poll))
    };
    let mut seen = Vec::new();
    let report = load::run_watched(&plan, &mut |progress| seen.push(progress)).expect("a run");
    assert!(report.is_clean() && report.deliveries == 0 && report.bytes_per_subscriber_second > 0.0, "{report:?}");
    assert!(seen.iter().any(|progress| matches!(progress, Progress::Publishing { .. })) && !report.timeline.is_empty());
}
