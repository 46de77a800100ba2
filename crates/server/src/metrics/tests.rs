//! What is counted appears in the text, summed over the workers.

use super::*;

/// The value of a line of the exposition.
fn value(metrics: &Metrics, line: &str) -> Option<i64> {
    let text = metrics.render();
    text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn workers_are_summed() {
    let metrics = Metrics::new(2);
    let (one, other) = (metrics.worker(0), metrics.worker(1));
    one.deliveries(TransportKind::Sse, 3);
    other.deliveries(TransportKind::Sse, 4);
    other.delivery_bytes(TransportKind::Sse, 1_000);
    other.publications(TransportKind::Http, 2);
    one.gap(GapReason::Trimmed);
    one.request(Route::Publish, 201);
    other.request(Route::Publish, 413);
    one.fault("frame-too-large");
    other.fault("frame-too-large");
    for (line, expected) in [
        ("bongsu_deliveries_total{transport=\"sse\"}", 7),
        ("bongsu_deliveries_total{transport=\"websocket\"}", 0),
        ("bongsu_delivery_bytes_total{transport=\"sse\"}", 1_000),
        ("bongsu_publications_total{transport=\"http\"}", 2),
        ("bongsu_gaps_total{reason=\"trimmed\"}", 1),
        ("bongsu_requests_total{route=\"publish\",status=\"2xx\"}", 1),
        ("bongsu_requests_total{route=\"publish\",status=\"4xx\"}", 1),
        ("bongsu_faults_total{fault=\"frame-too-large\"}", 2),
    ] {
        assert_eq!(value(&metrics, line), Some(expected), "{line}");
    }
}

#[test]
fn connections_are_those_opened_and_not_ended() {
    let metrics = Metrics::new(2);
    let worker = metrics.worker(1);
    worker.opened(TransportKind::Http);
    worker.opened(TransportKind::Http);
    worker.became(TransportKind::Http, TransportKind::WebSocket);
    assert_eq!(metrics.connections(), 2);
    assert_eq!(value(&metrics, "bongsu_connections{transport=\"websocket\"}"), Some(1));
    worker.closed(TransportKind::WebSocket, CloseReason::Slow);
    assert_eq!(metrics.connections(), 1);
    assert_eq!(value(&metrics, "bongsu_connections{transport=\"websocket\"}"), Some(0));
    assert_eq!(value(&metrics, "bongsu_connections{transport=\"http\"}"), Some(1));
    assert_eq!(value(&metrics, "bongsu_connections_opened_total{transport=\"websocket\"}"), Some(1));
    assert_eq!(value(&metrics, "bongsu_closes_total{reason=\"slow\"}"), Some(1));
}

#[test]
fn what_is_held_rises_and_falls() {
    let metrics = Metrics::new(2);
    let (one, other) = (metrics.worker(0), metrics.worker(1));
    one.tape_bytes_changed(100);
    // A worker's own sum may pass below 0, as when it frees what another took; the sum of all is what counts.
    other.tape_bytes_changed(-40);
    one.outbox_bytes_changed(5);
    other.subscriptions_changed(2);
    metrics.history_bytes().set(10);
    metrics.history_bytes().change(-3);
    metrics.channels().change(1);
    for (line, expected) in [
        ("bongsu_tape_bytes", 60),
        ("bongsu_outbox_bytes", 5),
        ("bongsu_subscriptions", 2),
        ("bongsu_history_bytes", 7),
        ("bongsu_channels", 1),
    ] {
        assert_eq!(value(&metrics, line), Some(expected), "{line}");
    }
}

#[test]
fn the_text_is_whole_and_each_family_is_described_once() {
    let text = Metrics::new(1).render();
    assert!(text.ends_with("# EOF\n"));
    let mut described: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let count = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!((described.len(), count), (19, 19));
    assert!(text.contains("# UNIT bongsu_delivery_bytes bytes\n"), "{text}");
}

#[test]
fn counting_from_many_threads_loses_nothing() {
    let metrics = Metrics::new(4);
    std::thread::scope(|scope| {
        for index in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                let worker = metrics.worker(index);
                (0..10_000).for_each(|_| worker.deliveries(TransportKind::Stream, 1));
            });
        }
    });
    assert_eq!(value(&metrics, "bongsu_deliveries_total{transport=\"stream\"}"), Some(40_000));
}
