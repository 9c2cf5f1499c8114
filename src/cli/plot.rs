//! The curves of a run as a picture, loss and accuracy: an SVG with axes, a legend and real text.

use super::run_folder::{PLOT, RunFolder};
use bptt::internal::atomic;
use bptt::train::Report;
use bptt::{Error, Loss, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

type Point = (f64, f64);

/// Parts of a curve, of two points each: the picture has some 780 columns.
const MOST_PARTS: usize = 256;

/// A line through points, from left to right: through the lowest and the highest of so many neighbours each, so that no peak is lost
/// and the longest run has no more of them than others.
struct Curve {
    name: &'static str,
    /// What it shows of a report.
    value: fn(&Report) -> Option<f64>,
    /// The lowest and the highest point of each part.
    parts: Vec<[Point; 2]>,
    /// Points of each part, and of the last one so far.
    each: usize,
    in_last: usize,
    /// The first and the last point.
    ends: Option<[Point; 2]>,
}

impl Curve {
    fn new(name: &'static str, value: fn(&Report) -> Option<f64>) -> Self {
        Curve {
            name,
            value,
            parts: Vec::new(),
            each: 1,
            in_last: 1,
            ends: None,
        }
    }

    fn add(&mut self, report: &Report) {
        if let Some(y) = (self.value)(report).filter(|y| y.is_finite()) {
            self.push((report.step as f64, y));
        }
    }

    fn push(&mut self, point: Point) {
        let first = self.ends.map_or(point, |[first, _]| first);
        self.ends = Some([first, point]);
        if self.in_last < self.each {
            let last = self.parts.last_mut().expect("there is a first part");
            *last = span(*last, [point; 2]);
            self.in_last += 1;
            return;
        }
        if self.parts.len() == MOST_PARTS {
            let pairs = self.parts.chunks_exact(2);
            self.parts = pairs.map(|pair| span(pair[0], pair[1])).collect();
            self.each *= 2;
        }
        self.parts.push([point; 2]);
        self.in_last = 1;
    }

    fn points(&self) -> Vec<Point> {
        let in_order = |mut part: [Point; 2]| {
            part.sort_by(|a, b| a.0.total_cmp(&b.0));
            part
        };
        let inner = self.parts.iter().flat_map(|&part| in_order(part));
        let [first, last] = [0, 1].map(|end| self.ends.map(|ends| ends[end]));
        let mut points: Vec<_> = first.into_iter().chain(inner).chain(last).collect();
        points.dedup();
        points
    }
}

/// The lowest and the highest of two parts; of points that are as low or as high, the first.
fn span(a: [Point; 2], b: [Point; 2]) -> [Point; 2] {
    let lowest = if b[0].1 < a[0].1 { b[0] } else { a[0] };
    let highest = if b[1].1 > a[1].1 { b[1] } else { a[1] };
    [lowest, highest]
}

/// Curves in one frame.
struct Panel {
    /// What the vertical axis shows.
    axis: String,
    curves: [Curve; 2],
    /// Where curves seldom are.
    legend: SeriesLabelPosition,
}

/// Replaces the picture in the folder of a run by one of its reports, `last` the last of them, if there is anything to draw: their
/// losses, and if `accuracy` is wanted and there, below them how many answers were right.
pub fn draw(folder: &RunFolder, last: Option<&Report>, loss: Loss, accuracy: bool) -> Result<()> {
    let unit = match loss {
        Loss::CrossEntropy => " (nats per token)",
        Loss::Binary => " (nats per label)",
        Loss::Mse | Loss::Huber => "",
    };
    let mut panels = vec![Panel {
        axis: format!("{}{unit}", loss.title()),
        curves: [
            Curve::new("training", |report| Some(report.train_loss)),
            Curve::new("validation", |report| report.valid_loss),
        ],
        legend: SeriesLabelPosition::UpperRight,
    }];
    if accuracy {
        let valid_accuracy = |report: &Report| {
            let mut metrics = report.valid_metrics.iter();
            let found = metrics.find(|(name, _)| name.ends_with("_accuracy"));
            Some(100.0 * found?.1)
        };
        panels.push(Panel {
            axis: "accuracy (%)".into(),
            curves: [
                Curve::new("training", |report| Some(100.0 * report.train_accuracy?)),
                Curve::new("validation", valid_accuracy),
            ],
            legend: SeriesLabelPosition::LowerRight,
        });
    }
    let mut add = |report: &Report| {
        let curves = panels.iter_mut().flat_map(|panel| &mut panel.curves);
        curves.for_each(|curve| curve.add(report));
    };
    let mut step = 0;
    for report in folder.reports()? {
        let report = report?;
        step = report.step;
        add(&report);
    }
    // It may be for readers alone, and not in the history.
    last.filter(|last| last.step > step).map(add);
    panels.retain(|panel| panel.curves.iter().any(|curve| curve.ends.is_some()));
    if panels.is_empty() {
        return Ok(());
    }
    let title = folder.path.file_name().unwrap_or_default();
    let title = title.to_string_lossy();
    let svg = render(&title, &panels)
        .map_err(|error| Error::Io(std::io::Error::other(format!("drawing {title:?}: {error}"))))?;
    folder.check_ours()?;
    atomic::write_atomically(&folder.path.join(PLOT), svg.as_bytes())
}

/// The vertical axis is logarithmic where the largest value is this many times the smallest.
const LOG_SCALE_FROM: f64 = 20.0;

/// Text sizes in pixels, chosen to be read in a report at half its width.
const TITLE: (&str, i32) = ("sans-serif", 22);
const TEXT: (&str, i32) = ("sans-serif", 16);

/// Width and height of a panel in pixels.
const PANEL: (u32, u32) = (900, 560);

type Drawn<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The picture as SVG text.
fn render(title: &str, panels: &[Panel]) -> Drawn<String> {
    // What most pictures take, in one piece.
    let mut svg = String::with_capacity(32 << 10);
    let size = (PANEL.0, PANEL.1 * panels.len() as u32);
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((panels.len(), 1))) {
        draw_panel(&area, title, panel)?;
    }
    area.present()?;
    drop(area);
    Ok(svg)
}

/// Draws a panel, which must have a point.
fn draw_panel(area: &DrawingArea<SVGBackend, Shift>, title: &str, panel: &Panel) -> Drawn<()> {
    let curves = panel.curves.iter().filter(|curve| curve.ends.is_some());
    let curves: Vec<_> = curves.map(|curve| (curve.name, curve.points())).collect();
    let points = curves.iter().flat_map(|(_, points)| points.iter().copied());
    let (mut xs, mut ys): (Vec<f64>, Vec<f64>) = points.unzip();
    xs.sort_by(f64::total_cmp);
    ys.sort_by(f64::total_cmp);
    let [(left, right), (bottom, top)] = [xs, ys].map(|all| (all[0], all[all.len() - 1]));
    let logarithmic = bottom > 0.0 && top / bottom > LOG_SCALE_FROM;
    let height = |y: f64| if logarithmic { y.log10() } else { y };
    let (bottom, top) = (height(bottom), height(top));
    let margin = ((top - bottom) * 0.05).max(1e-6 * top.abs()).max(1e-12);
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(14)
        // Half of the last label on the axis of updates.
        .margin_right(36)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(left..right.max(left + 1e-9), bottom - margin..top + margin)?;
    let tick = |y: &f64| {
        let y = if logarithmic { 10f64.powf(*y) } else { *y };
        match y != 0.0 && y.abs() < 0.01 {
            true => format!("{y:.1e}"),
            false => format!("{y:.2}"),
        }
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("updates")
        .y_desc(&panel.axis)
        .y_label_formatter(&tick)
        .x_label_formatter(&|x| format!("{x}"))
        .label_style(TEXT)
        .axis_desc_style(TEXT)
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS) {
        let line = points.iter().map(|&(x, y)| (x, height(y)));
        let style = colour.stroke_width(2);
        if points.len() == 1 {
            chart.draw_series(line.map(|p| Circle::new(p, 3, colour.filled())))?
        } else {
            chart.draw_series(LineSeries::new(line, style))?
        }
        .label(*name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    if curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(panel.legend.clone())
            .margin(12)
            .legend_area_size(32)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(TEXT)
            .draw()?;
    }
    Ok(())
}

/// Blue and orange: apart for most kinds of colour vision (Okabe and Ito 2008).
const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_have_bounded_points_and_every_peak() {
        for n in [1, 2, 255, 256, 257, 512, 513, 5_000, 100_003] {
            let peaks = [(n / 3, 5e3), (2 * n / 3, -5.0)];
            let height = |i| match peaks.iter().find(|&&(at, _)| at == i) {
                Some(&(_, height)) => height,
                None => ((i * 7919) % 1009) as f64,
            };
            let all: Vec<Point> = (0..n).map(|i| (i as f64, height(i))).collect();
            let mut curve = Curve::new("", |_| None);
            all.iter().for_each(|&point| curve.push(point));
            let points = curve.points();
            assert!(points.is_sorted_by(|a, b| a.0 < b.0), "{n}");
            assert_eq!((points.first(), points.last()), (all.first(), all.last()));
            assert!(
                peaks.iter().all(|&(at, _)| points.contains(&all[at])),
                "{n}"
            );
            if n <= 256 {
                assert_eq!(points, all);
            } else {
                assert!(points.len() <= 2 * MOST_PARTS + 2, "{n}: {}", points.len());
            }
            if n >= 512 {
                assert!(points.len() >= MOST_PARTS, "{n}: {}", points.len());
                // Evenly over the whole run.
                let first_half = points.iter().filter(|point| point.0 < n as f64 / 2.0);
                assert!(3 * first_half.count() > points.len(), "{n}");
            }
        }
    }
}
