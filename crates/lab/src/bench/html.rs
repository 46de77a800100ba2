//! Reports as pages of HTML that need nothing else: styles and plots lie inside.

use std::fmt::Write;

use super::BenchFault;
use super::compare::{Compared, Results};
use super::figure::{CHIEF, FIGURES, Figure, Kind};
use super::goal::{Judgement, Verdict};
use super::plot::{Bar, Lines, bars, escape};
use super::table::{complaints, slow_ones};
use crate::load::Report;

/// The page of one run.
pub fn page_of_run(title: &str, report: &Report) -> Result<String, BenchFault> {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    let verdict = complaints(report).unwrap_or_else(|| "Every message came, once and in order.".to_owned());
    // Writing to a string cannot fail.
    _ = writeln!(body, "<p class=\"{}\">{}</p>", if report.is_clean() { "good" } else { "bad" }, escape(verdict));
    body += "<table>\n";
    let counts = [("publications", report.publications), ("deliveries", report.deliveries), ("connections", report.subscribers as u64)];
    counts.iter().for_each(|(name, count)| body += &format!("<tr><td>{name}</td><td class=\"n\">{count}</td></tr>\n"));
    for figure in FIGURES {
        if let Some(value) = (figure.read)(report).filter(|value| figure.kind != Kind::Count || *value > 0.0) {
            _ = writeln!(body, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(figure.name), figure.show(value));
        }
    }
    body += "</table>\n";
    for plot in plots_of_run(report) {
        body += &plot.svg()?.map(figure_of).unwrap_or_default();
    }
    Ok(page(title, &body))
}

fn plots_of_run(report: &Report) -> [Lines; 4] {
    let timeline = |read: fn(&crate::load::Sample) -> Option<f64>| {
        report.timeline.iter().filter_map(|sample| Some((sample.seconds, read(sample)?))).collect::<Vec<_>>()
    };
    let over_time = |title: &str, y: &str, points| Lines {
        title: title.to_owned(),
        x: "seconds".to_owned(),
        y: y.to_owned(),
        log: (false, false),
        curves: vec![(title.to_owned(), points).into()],
    };
    [
        latencies("Latency: so many deliveries took longer than …", &[("", report)]),
        over_time("Deliveries", "a second", timeline(|sample| Some(sample.deliveries_per_second))),
        over_time("The server's processor time", "cores", timeline(|sample| sample.server_cpu_cores)),
        over_time("The server's memory", "MiB", timeline(|sample| sample.server_rss_bytes.map(|bytes| bytes as f64 / 1_048_576.0))),
    ]
}

/// One curve a report: of how many deliveries it is slower. On both axes by powers of ten, so that the end can be seen.
fn latencies(title: &str, reports: &[(&str, &Report)]) -> Lines {
    let curve = |report: &Report| -> Vec<(f64, f64)> {
        report
            .latency_curve
            .iter()
            .filter(|(share, _)| *share < 1.0)
            .map(|&(share, us)| (1.0 / (1.0 - share), us as f64 / 1000.0))
            .collect()
    };
    Lines {
        title: title.to_owned(),
        x: "one in so many deliveries (10: p90, 100: p99, 1000: p99.9)".to_owned(),
        y: "ms".to_owned(),
        log: (true, true),
        curves: reports.iter().map(|(name, report)| ((*name).to_owned(), curve(report)).into()).collect(),
    }
}

/// The page of a comparison.
pub fn page_of_comparison(title: &str, results: &Results) -> Result<String, BenchFault> {
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escape(title), escape(&results.about));
    let again = format!("{} again", results.reference);
    _ = writeln!(
        body,
        "<p>Medians of {} interleaved rounds; the thin line on a bar goes from the least to the most. Ratios are to <b>{}</b>; \
         <b>{}</b> is the same once more and shows the noise.</p>",
        results.rounds,
        escape(&results.reference),
        escape(again)
    );
    results.skipped.iter().for_each(|(name, why)| _ = writeln!(body, "<p class=\"bad\">{} was skipped: {}</p>", escape(name), escape(why)));
    body += &goals(&results.goals);
    for plot in sweeps(results) {
        body += &plot.svg()?.map(figure_of).unwrap_or_default();
    }
    for compared in &results.scenarios {
        body += &scenario(compared, &results.reference)?;
    }
    Ok(page(title, &body))
}

fn goals(goals: &[Judgement]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let mut text = "<h2>Goals</h2>\n<table><tr><th>goal</th><th>seen</th><th>to reach</th><th></th><th>of</th></tr>\n".to_owned();
    for Judgement { what, seen, of, goal, verdict } in goals {
        let class = match verdict {
            Verdict::Met => "good",
            Verdict::NotMet => "bad",
            Verdict::Told | Verdict::NotMeasured => "",
        };
        let seen = seen.map(|seen| format!("{seen:.2}")).unwrap_or_default();
        let (what, of, goal) = (escape(what), escape(of), escape(goal));
        let words = verdict.words();
        _ = writeln!(
            text,
            "<tr><td>{what}</td><td class=\"n\">{seen}</td><td>{goal}</td><td class=\"{class}\">{words}</td><td>{of}</td></tr>"
        );
    }
    text + "</table>\n"
}

/// For each sweep, how every target's processor time and deliveries go with what varies.
pub(super) fn sweeps(results: &Results) -> Vec<Lines> {
    let mut names: Vec<&str> =
        results.scenarios.iter().filter_map(|compared| compared.sweep.as_ref()).map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let of_figure = |name: &str, key: &str| {
        let figure = Figure::named(key)?;
        let mut lines = Lines {
            title: format!("{name}: {}", figure.name),
            x: name.to_owned(),
            y: figure.name.to_owned(),
            log: (true, true),
            curves: Vec::new(),
        };
        let points = results.scenarios.iter().filter_map(|compared| match &compared.sweep {
            Some((of, value)) if of == name => Some((*value, compared)),
            _ => None,
        });
        for (value, compared) in points {
            for measured in &compared.measured {
                let Some(spread) = figure.spread(&measured.reports) else { continue };
                match lines.curves.iter_mut().find(|curve| curve.name == measured.target) {
                    Some(curve) => curve.points.push((value, spread.median)),
                    None => lines.curves.push((measured.target.clone(), vec![(value, spread.median)]).into()),
                }
            }
        }
        Some(lines)
    };
    names.iter().flat_map(|name| ["cpu", "rate", "p99"].into_iter().filter_map(|key| of_figure(name, key))).collect()
}

fn scenario(compared: &Compared, reference: &str) -> Result<String, BenchFault> {
    let mut text = format!("<h2>{}</h2>\n<p>{}</p>\n", escape(&compared.name), escape(&compared.about));
    for measured in &compared.measured {
        let complaints = measured.reports.iter().filter_map(complaints).chain(measured.faults.iter().cloned());
        complaints.for_each(|told| _ = writeln!(text, "<p class=\"bad\">{}: {}</p>", escape(&measured.target), escape(told)));
        let slow_ones = measured.reports.iter().filter_map(slow_ones);
        slow_ones.for_each(|told| _ = writeln!(text, "<p>{}: {}</p>", escape(&measured.target), escape(told)));
    }
    text += "<table><tr><th></th><th>target</th><th>median</th><th>least</th><th>most</th><th>ratio</th></tr>\n";
    for figure in CHIEF.iter().filter_map(|key| Figure::named(key)) {
        let spreads: Vec<Bar> =
            compared.measured.iter().filter_map(|measured| Some((measured.target.clone(), figure.spread(&measured.reports)?))).collect();
        let base = spreads.iter().find(|(target, _)| target == reference).map(|(_, spread)| spread.median);
        for (target, spread) in &spreads {
            let ratio = base.map(|base| format!("{:.2}", spread.median / base)).unwrap_or_default();
            let numbers = [figure.show(spread.median), figure.show(spread.least), figure.show(spread.most), ratio];
            let cells: String = numbers.iter().map(|number| format!("<td class=\"n\">{number}</td>")).collect();
            _ = writeln!(text, "<tr><td>{}</td><td>{}</td>{cells}</tr>", escape(figure.name), escape(target));
        }
    }
    text += "</table>\n";
    for figure in BARS.iter().filter_map(|key| Figure::named(key)) {
        let spreads: Vec<Bar> =
            compared.measured.iter().filter_map(|measured| Some((measured.target.clone(), figure.spread(&measured.reports)?))).collect();
        text += &bars(figure.name, &spreads, &|value| figure.show(value))?.map(figure_of).unwrap_or_default();
    }
    let last: Vec<(&str, &Report)> =
        compared.measured.iter().filter_map(|measured| Some((measured.target.as_str(), measured.reports.last()?))).collect();
    text += &latencies("Latency, in the last round", &last).svg()?.map(figure_of).unwrap_or_default();
    Ok(text)
}

fn figure_of(svg: String) -> String {
    format!("<figure>{svg}</figure>\n")
}

fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

/// What bars show; the table shows more.
const BARS: &[&str] = &["cpu", "rate", "p99", "idle-rss"];

const STYLE: &str = "
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .15em .8em; border-bottom: 1px solid #ddd; text-align: left }
.n { text-align: right; font-variant-numeric: tabular-nums }
.good { color: #00684a } .bad { color: #b3261e; font-weight: bold }
figure { margin: 1em 0 } svg { max-width: 100%; height: auto }
";

#[cfg(test)]
mod tests {
    use super::super::compare::Measured;
    use super::*;
    use crate::load::{Latency, Sample};

    fn report() -> Report {
        Report {
            deliveries: 10,
            deliveries_per_second: 5.0,
            seconds: 2.0,
            latency_us: Latency { p99: 9, ..Latency::default() },
            latency_curve: vec![(0.5, 3), (0.9, 5), (0.99, 9)],
            server_cpu_us_per_delivery: Some(1.5),
            timeline: vec![Sample { seconds: 0.5, deliveries_per_second: 4.0, ..Sample::default() }],
            ..Report::default()
        }
    }

    #[test]
    fn pages_need_nothing_from_elsewhere() {
        let measured =
            ["a", "a again", "<b>"].map(|target| Measured { target: target.to_owned(), reports: vec![report()], faults: Vec::new() });
        let compared =
            Compared { name: "size-16".into(), about: String::new(), sweep: Some(("size".into(), 16.0)), measured: measured.into() };
        let results = Results { reference: "a".into(), rounds: 1, scenarios: vec![compared], ..Results::default() };
        for page in [page_of_run("one", &report()).expect("drawn"), page_of_comparison("all", &results).expect("drawn")] {
            assert!(page.matches("<svg").count() >= 2 && page.contains("polyline"), "{page}");
            for foreign in ["<script", "<link", "<img", " src=", "@import", "url(", "<b>:"] {
                assert!(!page.contains(foreign), "{foreign}");
            }
            let addresses: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..(at + 27).min(page.len())]).collect();
            assert!(addresses.iter().all(|address| address.starts_with("http://www.w3.org/2000/svg")), "{addresses:?}");
        }
    }
}
