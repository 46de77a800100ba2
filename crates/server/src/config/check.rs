//! What the types alone cannot say: the ranges of all sections, and the keys that must agree with each other.

use bongsu_core::queue::DeadLetterRule;

use super::section::{Report, check_range};
use super::{Config, Fault, Listener, ProxyProtocol};

impl Config {
    /// Calls `report` with key, value and what is allowed, for each value that is out of its range.
    pub(super) fn check_ranges(&self, report: &mut dyn FnMut(String, String, String)) {
        check_range("workers", &self.workers, 0..=1_024, &mut |key, value, allowed| report(key.to_owned(), value, allowed));
        let mut within = |section: &str, key: &str, value, allowed| report(format!("{section}.{key}"), value, allowed);
        self.listen.check_ranges(&mut |key, value, allowed| within("listen", key, value, allowed));
        self.tls.check_ranges(&mut |key, value, allowed| within("tls", key, value, allowed));
        self.acme.check_ranges(&mut |key, value, allowed| within("acme", key, value, allowed));
        self.check_tls(&mut |key, value, allowed| within("tls", key, value, allowed));
        self.access.check_ranges(&mut |key, value, allowed| within("access", key, value, allowed));
        self.limits.check_ranges(&mut |key, value, allowed| within("limits", key, value, allowed));
        self.proxy.check_ranges(&mut |key, value, allowed| within("proxy", key, value, allowed));
        self.http.check_ranges(&mut |key, value, allowed| within("http", key, value, allowed));
        self.http2.check_ranges(&mut |key, value, allowed| within("http2", key, value, allowed));
        self.websocket.check_ranges(&mut |key, value, allowed| within("websocket", key, value, allowed));
        self.tcp.check_ranges(&mut |key, value, allowed| within("tcp", key, value, allowed));
        self.udp.check_ranges(&mut |key, value, allowed| within("udp", key, value, allowed));
        self.stomp.check_ranges(&mut |key, value, allowed| within("stomp", key, value, allowed));
        self.echo.check_ranges(&mut |key, value, allowed| within("echo", key, value, allowed));
        self.console.check_ranges(&mut |key, value, allowed| within("console", key, value, allowed));
        self.history.check_ranges(&mut |key, value, allowed| within("history", key, value, allowed));
        self.queues.check_ranges(&mut |key, value, allowed| within("queues", key, value, allowed));
        self.idempotency.check_ranges(&mut |key, value, allowed| within("idempotency", key, value, allowed));
        self.delivery.check_ranges(&mut |key, value, allowed| within("delivery", key, value, allowed));
        self.native.check_ranges(&mut |key, value, allowed| within("native", key, value, allowed));
        self.shutdown.check_ranges(&mut |key, value, allowed| within("shutdown", key, value, allowed));
        self.log.check_ranges(&mut |key, value, allowed| within("log", key, value, allowed));
        check_dead_letter(&self.queues.dead_letter, &mut |key, value, allowed| within("queues", key, value, allowed));
        for (section, key, networks) in [("limits", "exempt", &self.limits.exempt), ("proxy", "trusted", &self.proxy.trusted)] {
            for network in networks.iter().filter(|network| crate::networks::parse(network).is_none()) {
                within(section, key, format!("{network:?}"), "addresses and networks such as \"10.0.0.0/8\" or \"192.0.2.1\"".to_owned());
            }
        }
        for host in self.http.hosts.iter().filter(|host| !is_host(host)) {
            within("http", "hosts", format!("{host:?}"), "names as a browser puts them into Host, such as \"chat.example\"".to_owned());
        }
        for origin in self.http.origins.iter().filter(|origin| !is_origin(origin)) {
            within("http", "origins", format!("{origin:?}"), "origins such as \"https://chat.example\", without a path".to_owned());
        }
    }

    /// What is wrong between keys whose values are each allowed.
    pub(super) fn check_together(&self) -> Vec<Fault> {
        let (shutdown, history) = (&self.shutdown, &self.history);
        let mut faults = Vec::new();
        let mut disagree = |low: &'static str, low_value: String, high: &'static str, high_value: String| {
            faults.push(Fault::Disagree { low, low_value, high, high_value });
        };
        if shutdown.reconnect_min > shutdown.reconnect_max {
            let (min, max) = (shutdown.reconnect_min.to_string(), shutdown.reconnect_max.to_string());
            disagree("shutdown.reconnect_min", min, "shutdown.reconnect_max", max);
        }
        if history.bytes_max > history.total_bytes_max {
            let (one, all) = (history.bytes_max.to_string(), history.total_bytes_max.to_string());
            disagree("history.bytes_max", one, "history.total_bytes_max", all);
        }
        if self.queues.bytes_max > self.queues.total_bytes_max {
            let (one, all) = (self.queues.bytes_max.to_string(), self.queues.total_bytes_max.to_string());
            disagree("queues.bytes_max", one, "queues.total_bytes_max", all);
        }
        if self.http.body_bytes_max > self.http.batch_bytes_max {
            let (one, all) = (self.http.body_bytes_max.to_string(), self.http.batch_bytes_max.to_string());
            disagree("http.body_bytes_max", one, "http.batch_bytes_max", all);
        }
        if self.udp.datagram_bytes_max > self.udp.in_flight_bytes_max {
            let (one, all) = (self.udp.datagram_bytes_max.to_string(), self.udp.in_flight_bytes_max.to_string());
            disagree("udp.datagram_bytes_max", one, "udp.in_flight_bytes_max", all);
        }
        if self.stomp.prefetch_default > self.stomp.prefetch_max {
            let (one, all) = (self.stomp.prefetch_default.to_string(), self.stomp.prefetch_max.to_string());
            disagree("stomp.prefetch_default", one, "stomp.prefetch_max", all);
        }
        let wants_proxies = ["http", "tcp", "stomp"].into_iter().find(|listener| self.proxy.protocol(listener) != ProxyProtocol::Off);
        if let Some(listener) = wants_proxies.filter(|_| self.proxy.trusted.is_empty()) {
            faults.push(Fault::NobodyTrusted { listener });
        }
        let listen = &self.listen;
        if [listen.http, listen.tcp, listen.udp, listen.stomp].iter().all(|listener| *listener == Listener::Off) {
            faults.push(Fault::NobodyListens);
        }
        faults.extend(self.check_tls_together());
        if let Some(address) = self.listen.udp.address().filter(|address| !address.ip().is_loopback() && !self.udp.cleartext) {
            faults.push(Fault::UdpInTheClear { address });
        }
        faults
    }
}

/// Reports a name for dead-letter queues that is none.
pub(super) fn check_dead_letter(text: &str, report: Report<'_>) {
    if let Err(fault) = DeadLetterRule::parse(text) {
        let allowed = format!("a queue's name such as \"dead\" or \"$dead/*\", or nothing: {fault}");
        report("dead_letter", format!("{text:?}"), allowed);
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '/' || c == '@' || c.is_whitespace() || c.is_control())
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(is_host)
}
