//! What was measured as tables in Markdown: for the document, and for a terminal.

use std::fmt::Write;

use super::{Cell, Point, Techniques, bytes_in_words};
use crate::load::Report;

impl Techniques {
    /// All of it.
    pub fn tables(&self) -> String {
        let mut text = self.techniques_table() + &self.publishing_table() + &self.grid_tables();
        for told in &self.left_out {
            // Writing to a string cannot fail.
            _ = writeln!(text, "\nNot measured: {told}.");
        }
        text
    }

    fn techniques_table(&self) -> String {
        let mut text = String::from(
            "| technique | updates a second | µs/subscriber and s | bytes/subscriber and s | delay, mean | p99 |\n|---|---|---|---|---|---|\n",
        );
        for (name, points) in &self.techniques {
            for Point { rate, cpu_us, bytes, delay_ms: (mean, p99) } in points {
                _ = writeln!(text, "| {name} | {rate} | {cpu_us:.1} | {bytes:.0} | {mean:.1} ms | {p99:.1} ms |");
            }
        }
        text
    }

    fn publishing_table(&self) -> String {
        let mut text =
            String::from("\n| 10,000 updates a second by | CPU µs/update | bytes/update, both ways | p50 | p99 |\n|---|---|---|---|---|\n");
        for (name, report) in &self.publishing {
            let cpu = report.server_cpu_us_per_publication.unwrap_or_default();
            let Report { bytes_per_publication: bytes, latency_us, .. } = report;
            _ = writeln!(text, "| {name} | {cpu:.1} | {bytes:.0} | {} µs | {} µs |", latency_us.p50, latency_us.p99);
        }
        text
    }

    /// A table for each size. What lies behind a knee can be read from it: the kernel's share, and how much a write brings.
    fn grid_tables(&self) -> String {
        let mut text = String::new();
        let mut size = None;
        for Cell { server, subscribers, payload_bytes, report } in &self.grid {
            if size.replace(payload_bytes) != Some(payload_bytes) {
                _ = writeln!(
                    text,
                    "\n| {}, to so many subscribers | server | CPU µs/delivery | kernel's share | CPU cores | deliveries/s | MB/s | bytes/read | p50 | p99 |\n\
                     |---|---|---|---|---|---|---|---|---|---|",
                    bytes_in_words(*payload_bytes)
                );
            }
            let Report { deliveries_per_second: rate, bytes_per_delivery, bytes_per_read, latency_us, .. } = report;
            let (cpu, cores) = (report.server_cpu_us_per_delivery.unwrap_or_default(), report.server_cpu_cores.unwrap_or_default());
            let system = report.server_system_share.unwrap_or_default() * 100.0;
            _ = writeln!(
                text,
                "| {subscribers} | {server} | {cpu:.2} | {system:.0} % | {cores:.2} | {rate:.0} | {:.1} | {bytes_per_read:.0} | {} µs | {} µs |",
                rate * bytes_per_delivery / 1e6,
                latency_us.p50,
                latency_us.p99
            );
        }
        if !self.grid.is_empty() {
            text += "\nOne publication in flight. `bytes/read` is what a subscriber finds at once: what one write of the server brought, unless it \
                     comes so late that more lies there, or so early that only a part does.\n";
        }
        text
    }
}
