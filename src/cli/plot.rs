//! The loss curves of a run as a picture: an SVG with axes, a legend and real text.

use super::run_folder::RunFolder;
use bptt::internal::atomic;
use bptt::train::{Observer, Report, Trainer};
use bptt::{Error, Result, Scalar};
use plotters::prelude::*;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// From one drawing to the next at least: drawing takes longer than many a small step.
const DRAWING: Duration = Duration::from_secs(5);

/// An observer that draws the losses of all reports, as far as a picture can show them.
pub struct LossPlot {
    folder: Rc<RunFolder>,
    train: Trace,
    valid: Trace,
    drawn: Option<Instant>,
}

impl<T: Scalar> Observer<T> for LossPlot {
    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        self.push(report);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWING) {
            self.draw()?;
            self.drawn = Some(Instant::now());
        }
        Ok(())
    }
}

impl LossPlot {
    /// Of a run with these reports so far.
    pub fn new(folder: Rc<RunFolder>, history: &[Report]) -> Self {
        let mut plot = LossPlot {
            folder,
            train: Trace::default(),
            valid: Trace::default(),
            drawn: None,
        };
        history.iter().for_each(|report| plot.push(report));
        plot
    }

    fn push(&mut self, report: &Report) {
        let step = report.step as f64;
        self.train.push(step, report.train_loss);
        if let Some(loss) = report.valid_loss {
            self.valid.push(step, loss);
        }
    }

    /// Replaces the picture in the folder, if there is anything to draw.
    pub fn draw(&self) -> Result<()> {
        if self.train.used == 0 {
            return Ok(());
        }
        let mut curves = vec![("training", self.train.points())];
        if self.valid.used > 0 {
            curves.push(("validation", self.valid.points()));
        }
        let title = self.folder.path.file_name().unwrap_or_default();
        let svg = render(&title.to_string_lossy(), &curves)?;
        self.folder.check_ours()?;
        atomic::write_atomically(&self.folder.files.plot, svg.as_bytes())
    }
}

/// A named line through points `(x, y)`, from left to right.
type Curve = (&'static str, Vec<(f64, f64)>);

/// Points from left to right, as many as there may come, in memory that is bounded: of more than 256, neighbours are kept
/// as the lowest and the highest of them, so that no peak is lost.
struct Trace {
    ends: Option<[(f64, f64); 2]>,
    /// All the memory it ever takes, the first `used` of them in use.
    buckets: Box<[Bucket]>,
    used: usize,
    /// Points a bucket holds when it is full, as a power of two, and points in the last one.
    doublings: u32,
    filled: u64,
}

/// The lowest and the highest of some points.
#[derive(Clone, Copy, Default)]
struct Bucket {
    low: (f64, f64),
    high: (f64, f64),
}

/// The picture has some 780 columns: three for a bucket, and its two points fall into them.
const MOST_BUCKETS: usize = 256;

impl Bucket {
    fn join(&mut self, other: Bucket) {
        if other.low.1 < self.low.1 {
            self.low = other.low;
        }
        if other.high.1 > self.high.1 {
            self.high = other.high;
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Trace {
            ends: None,
            buckets: vec![Bucket::default(); MOST_BUCKETS].into(),
            used: 0,
            doublings: 0,
            filled: 0,
        }
    }
}

impl Trace {
    /// Adds the next point. One that is not finite is left out.
    fn push(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite()) {
            return;
        }
        let (point, full) = ((x, y), 1 << self.doublings);
        self.ends = Some([self.ends.map_or(point, |[first, _]| first), point]);
        let new = Bucket {
            low: point,
            high: point,
        };
        if self.used > 0 && self.filled < full {
            self.buckets[self.used - 1].join(new);
            self.filled += 1;
            return;
        }
        if self.used == MOST_BUCKETS {
            self.halve();
        }
        self.buckets[self.used] = new;
        (self.used, self.filled) = (self.used + 1, 1);
    }

    /// Joins buckets by twos.
    fn halve(&mut self) {
        for i in 0..MOST_BUCKETS / 2 {
            let mut joined = self.buckets[2 * i];
            joined.join(self.buckets[2 * i + 1]);
            self.buckets[i] = joined;
        }
        self.used = MOST_BUCKETS / 2;
        self.doublings += 1;
    }

    /// The points of a curve: all of them while they are few, always the first and the last.
    fn points(&self) -> Vec<(f64, f64)> {
        let inner = self.buckets[..self.used]
            .iter()
            .flat_map(|&Bucket { low, high }| {
                if low.0 <= high.0 {
                    [low, high]
                } else {
                    [high, low]
                }
            });
        let [first, last] = self.ends.map_or([None, None], |ends| ends.map(Some));
        let mut points: Vec<_> = first.into_iter().chain(inner).chain(last).collect();
        points.dedup();
        points
    }
}

/// The vertical axis is logarithmic where the largest value is this many times the smallest.
const LOG_SCALE_FROM: f64 = 20.0;

/// Text sizes in pixels, chosen to be read in a report at half its width.
const TITLE: (&str, i32) = ("sans-serif", 22);
const TEXT: (&str, i32) = ("sans-serif", 16);

/// The picture as SVG text; there must be a point.
fn render(title: &str, curves: &[Curve]) -> Result<String> {
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (left, right) = range(&mut points().map(|(x, _)| x));
    let (bottom, top) = range(&mut points().map(|(_, y)| y));
    let logarithmic = bottom > 0.0 && top / bottom > LOG_SCALE_FROM;
    let height = |y: f64| if logarithmic { y.log10() } else { y };
    let (bottom, top) = (height(bottom), height(top));
    let margin = ((top - bottom) * 0.05).max(1e-6 * top.abs()).max(1e-12);

    // What most pictures take, in one piece.
    let mut svg = String::with_capacity(32 << 10);
    let drawn = (|| -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(&mut svg, (900, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, TITLE)
            .margin(14)
            // Half of the last label on the axis of updates.
            .margin_right(36)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(left..right.max(left + 1e-9), bottom - margin..top + margin)?;
        let tick = |y: &f64| {
            let y = if logarithmic { 10f64.powf(*y) } else { *y };
            if y != 0.0 && y.abs() < 0.01 {
                format!("{y:.1e}")
            } else {
                format!("{y:.2}")
            }
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc("updates")
            .y_desc("loss (nats per token)")
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
                .position(SeriesLabelPosition::UpperRight)
                .margin(12)
                .legend_area_size(32)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font(TEXT)
                .draw()?;
        }
        area.present()?;
        Ok(())
    })();
    drawn.map_err(|error| {
        Error::Io(std::io::Error::other(format!(
            "drawing {:?}: {error}",
            title
        )))
    })?;
    Ok(svg)
}

/// Blue and orange: apart for most kinds of colour vision (Okabe and Ito 2008).
const COLOURS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_axes_and_curves() {
        let curves = [
            ("training", vec![(1.0, 3.0), (2.0, 2.0)]),
            ("validation", vec![(2.0, 2.5)]),
        ];
        let svg = render("a title", &curves).unwrap();
        for word in ["a title", "updates", "loss", "training", "validation"] {
            assert!(svg.contains(word), "{word} is missing");
        }
    }

    #[test]
    fn whatever_the_losses_are_they_can_be_drawn() {
        for points in [
            vec![(1.0, 0.0)],
            vec![(1.0, 1e-300), (2.0, 1e300)],
            vec![(1.0, -1e300), (1e18, 1e300)],
        ] {
            let svg = render("", &[("training", points)]).unwrap();
            assert!(!svg.contains("NaN"));
        }
    }

    #[test]
    fn a_trace_is_short_and_loses_no_end_and_no_peak() {
        for n in [1, 2, 255, 256, 257, 511, 512, 513, 5000] {
            let values: Vec<_> = (0..n).map(|i| f64::from(i * 7919 % 1009)).collect();
            let mut trace = Trace::default();
            for (x, &y) in (0..n).zip(&values) {
                trace.push(f64::from(x), y);
                trace.push(f64::from(x), f64::NAN);
            }
            let points = trace.points();
            assert!(points.is_sorted_by(|a, b| a.0 < b.0), "{n}");
            assert!(points.iter().all(|&(x, y)| values[x as usize] == y), "{n}");
            assert!(points.len() <= 2 * MOST_BUCKETS + 2, "{n}");
            if n <= 256 {
                assert_eq!(points.len(), n as usize);
            }
            let ends = [points[0].0, points[points.len() - 1].0];
            assert_eq!(ends, [0.0, f64::from(n - 1)]);
            let extremes = |values: &mut dyn Iterator<Item = f64>| {
                values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), y| {
                    (low.min(y), high.max(y))
                })
            };
            let all = extremes(&mut values.iter().copied());
            assert_eq!(extremes(&mut points.iter().map(|point| point.1)), all);
        }
        assert!(Trace::default().points().is_empty());
    }
}
