//! Plots as SVG: lines over an axis, and bars with their spread. Reports hold them inline, documents as files.

use std::fmt::Display;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::BenchFault;
use super::figure::Spread;

/// Curves that share their axes.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    /// Whether an axis goes by powers of ten; what is zero there is left out.
    pub(super) log: (bool, bool),
    pub(super) curves: Vec<Curve>,
}

/// One of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Its colour by number, and whether it is dashed; if nothing is said, the colour goes by its place.
    pub(super) style: Option<(usize, bool)>,
}

impl From<(String, Vec<(f64, f64)>)> for Curve {
    fn from((name, points): (String, Vec<(f64, f64)>)) -> Self {
        Self { name, points, style: None }
    }
}

/// One bar: its name and how long it is.
pub(super) type Bar = (String, Spread);

impl Lines {
    /// Draws them; nothing if there is nothing to be seen.
    pub(super) fn svg(&self) -> Result<Option<String>, BenchFault> {
        let visible = |curve: &Curve| Curve { points: self.visible(&curve.points), ..curve.clone() };
        let curves: Vec<Curve> = self.curves.iter().map(visible).filter(|curve| !curve.points.is_empty()).collect();
        let all = || curves.iter().flat_map(|curve| &curve.points);
        let Some((x, y)) = range(all().map(|point| point.0), self.log.0).zip(range(all().map(|point| point.1), self.log.1)) else {
            return Ok(None);
        };
        let mut svg = String::new();
        let linear = |(least, most): (f64, f64)| -> std::ops::Range<f64> { least..most };
        let log = |(least, most): (f64, f64)| (least..most).log_scale();
        match self.log {
            (false, false) => self.draw(&mut svg, linear(x), linear(y), &curves),
            (true, false) => self.draw(&mut svg, log(x), linear(y), &curves),
            (false, true) => self.draw(&mut svg, linear(x), log(y), &curves),
            (true, true) => self.draw(&mut svg, log(x), log(y), &curves),
        }
        .map_err(|error| BenchFault::Plot(error.to_string()))?;
        Ok(Some(svg))
    }

    fn visible(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let seen = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
        points.iter().copied().filter(|&(x, y)| seen(x, self.log.0) && seen(y, self.log.1)).collect()
    }

    fn draw<X, Y>(&self, svg: &mut String, x: X, y: Y, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        // An axis of few powers of ten has lines between them.
        let heights = range(curves.iter().flat_map(|curve| &curve.points).map(|point| point.1), true);
        let fine = self.log.1 && heights.is_some_and(|(least, most)| most / least < FINE_UNTIL);
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let legend = if curves.len() > 1 { LEGEND_WIDTH } else { 0 };
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, (FONT, 17))
            .margin(12)
            .margin_right(12 + legend)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|value| short(*value))
            .y_labels(if fine { FINE_LINES } else { LINES })
            .y_label_formatter(&|value| if fine && !is_round(*value) { String::new() } else { short(*value) })
            .label_style((FONT, 12))
            .draw()?;
        for (index, Curve { name, points, style }) in curves.iter().enumerate() {
            let (color, dashed) = style.unwrap_or((index, false));
            let color = COLORS[color % COLORS.len()];
            if dashed {
                chart.draw_series(DashedLineSeries::new(points.iter().copied(), DASH, GAP, color.stroke_width(2)))?;
            } else {
                chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
            }
            if points.len() < MARKED_MAX {
                let filling: ShapeStyle = if dashed { color.stroke_width(1) } else { color.filled() };
                chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, filling)))?;
            }
            if legend > 0 {
                // Beside the curves, so that none lies behind it.
                let (at, y) = (SIZE.0 as i32 - legend, 44 + 18 * index as i32);
                let ends: &[(i32, i32)] = if dashed { &[(0, 5), (9, 14)] } else { &[(0, 18)] };
                for (from, to) in ends {
                    area.draw(&PathElement::new([(at + from, y), (at + to, y)], color.stroke_width(3)))?;
                }
                area.draw(&Text::new(name.clone(), (at + 24, y - 6), (FONT, 12).into_font()))?;
            }
        }
        area.present()?;
        Ok(())
    }
}

/// Bars beneath each other, a thin line on each from the least to the most.
pub(super) fn bars(title: &str, bars: &[Bar], show: &dyn Fn(f64) -> String) -> Result<Option<String>, BenchFault> {
    let most = bars.iter().map(|(_, spread)| spread.most).fold(0.0, f64::max);
    if bars.is_empty() || most <= 0.0 {
        return Ok(None);
    }
    let mut svg = String::new();
    draw_bars(&mut svg, title, bars, most, show).map_err(|error| BenchFault::Plot(error.to_string()))?;
    Ok(Some(svg))
}

fn draw_bars(
    svg: &mut String,
    title: &str,
    bars: &[Bar],
    most: f64,
    show: &dyn Fn(f64) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let height = 40 + BAR_HEIGHT * bars.len() as i32;
    let area = SVGBackend::with_string(svg, (SIZE.0, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(title.to_owned(), (12, 10), (FONT, 15).into_font()))?;
    let x = |value: f64| BARS_AT + (value / most * f64::from(BARS_WIDTH)) as i32;
    for (index, (name, spread)) in bars.iter().enumerate() {
        let y = 34 + BAR_HEIGHT * index as i32;
        let color = COLORS[index % COLORS.len()];
        area.draw(&Text::new(name.clone(), (12, y + 3), (FONT, 12).into_font()))?;
        area.draw(&Rectangle::new([(BARS_AT, y), (x(spread.median), y + BAR_HEIGHT - 6)], color.mix(0.75).filled()))?;
        let middle = y + (BAR_HEIGHT - 6) / 2;
        area.draw(&PathElement::new([(x(spread.least), middle), (x(spread.most), middle)], BLACK))?;
        area.draw(&Text::new(show(spread.median), (x(spread.most) + 8, y + 3), (FONT, 12).into_font()))?;
    }
    area.present()?;
    Ok(())
}

/// From the least to the most, with some room; a linear axis begins at zero.
fn range(values: impl Iterator<Item = f64>, log: bool) -> Option<(f64, f64)> {
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
    let fits = most >= least;
    let most = if most > 0.0 { most } else { 1.0 };
    fits.then(|| if log { (least / 1.3, most * 1.3) } else { (least.min(0.0), most * 1.05) })
}

/// Whether it is 1, 2 or 5 times a power of ten: what is written on an axis that has a line for each digit.
fn is_round(value: f64) -> bool {
    let first = value / 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().any(|round| (first - round).abs() < 0.01)
}

/// A number in few letters: 0.01, 5, 20k, 3M.
pub(super) fn short(value: f64) -> String {
    let trim = |value: f64| {
        let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match value.abs() {
        1e9.. => format!("{}G", trim(value / 1e9)),
        1e6.. => format!("{}M", trim(value / 1e6)),
        1e4.. => format!("{}k", trim(value / 1e3)),
        0.0 | 0.001.. => trim(value),
        _ => format!("{value:.0e}"),
    }
}

/// For text inside of HTML.
pub(super) fn escape(text: impl Display) -> String {
    text.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const FONT: &str = "sans-serif";
const SIZE: (u32, u32) = (820, 380);
/// Up to this ratio of the most to the least, an axis by powers of ten has a line for each digit.
const FINE_UNTIL: f64 = 3000.0;
const FINE_LINES: usize = 45;
const LINES: usize = 10;
const LEGEND_WIDTH: i32 = 170;
const DASH: u32 = 5;
const GAP: u32 = 4;
const BAR_HEIGHT: i32 = 24;
const BARS_AT: i32 = 190;
const BARS_WIDTH: i32 = 460;
/// A curve of fewer points shows where they are.
const MARKED_MAX: usize = 30;
/// Told apart also by those who do not see red and green.
const COLORS: [RGBColor; 9] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(0, 140, 110),
    RGBColor(230, 159, 0),
    RGBColor(120, 94, 240),
    RGBColor(90, 90, 90),
    RGBColor(200, 90, 160),
    RGBColor(86, 180, 233),
    RGBColor(140, 100, 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_axis_is_drawn() {
        for log in [(false, false), (true, false), (false, true), (true, true)] {
            let curves = vec![("a <b>".to_owned(), vec![(0.0, 0.0), (1.0, 10.0), (1000.0, 3.0)]), ("none".to_owned(), Vec::new())];
            let curves = curves.into_iter().map(|curve| Curve { style: Some((3, log.0)), ..Curve::from(curve) }).collect();
            let lines = Lines { title: "both".into(), x: "x".into(), y: "y".into(), log, curves };
            let svg = lines.svg().expect("drawn").expect("something to see");
            assert!(svg.starts_with("<svg") && svg.contains("polyline") && !svg.contains("<b>"), "{svg}");
        }
        assert!(Lines::default().svg().expect("nothing to draw").is_none());
    }

    #[test]
    fn few_powers_of_ten_have_numbers_between_them() {
        assert!([0.02, 1.0, 5.0, 2000.0].iter().all(|&value| is_round(value)) && !is_round(30.0) && !is_round(0.07));
        let lines =
            |most| Lines { log: (true, true), curves: vec![("a".to_owned(), vec![(1.0, 10.0), (2.0, most)]).into()], ..Lines::default() };
        let shown = |most| lines(most).svg().expect("drawn").expect("something to see").contains("\n20\n");
        assert!(shown(100.0) && !shown(1e6));
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.0, 0.01, 5.0, 123.4, 20_000.0, 2.5e6, 3e9, 1e-5].map(short).into();
        assert_eq!(shown, ["0", "0.01", "5", "123", "20k", "2.5M", "3G", "1e-5"]);
    }
}
