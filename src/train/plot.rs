//! Loss curves as a picture: an SVG with axes, a legend and real text.
//!
//! Knows curves and labels; knows nothing of where they come from.

use crate::{Error, Result, file};
use plotters::prelude::*;
use std::path::Path;

/// A named line through points `(x, y)`; points that are not finite are left out.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// Its points, from left to right.
    pub points: &'a [(f64, f64)],
}

/// What is written around the curves.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// Under the horizontal axis.
    pub x: &'a str,
    /// Beside the vertical axis.
    pub y: &'a str,
}

/// The vertical axis is logarithmic where the largest value is this many times the smallest.
const LOG_SCALE_FROM: f64 = 20.0;

/// Text sizes in pixels, chosen to be read in a report at half its width.
const TITLE: (&str, i32) = ("sans-serif", 22);
const TEXT: (&str, i32) = ("sans-serif", 16);

/// Draws the curves into an SVG file at `path`, replacing what is there.
///
/// # Errors
/// [`Error::NothingCounts`] if there is no finite point, [`Error::Io`] if the file cannot be
/// written.
pub fn draw(path: &Path, labels: Labels<'_>, curves: &[Curve<'_>]) -> Result<()> {
    let svg = render(labels, curves)?;
    file::write_atomically(path, svg.as_bytes())
}

/// The picture as SVG text.
fn render(labels: Labels<'_>, curves: &[Curve<'_>]) -> Result<String> {
    let finite = |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    let points = || {
        curves
            .iter()
            .flat_map(|curve| curve.points.iter().copied().filter(finite))
    };
    if points().next().is_none() {
        return Err(Error::NothingCounts);
    }
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

    let mut svg = String::new();
    let drawn = (|| -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(&mut svg, (900, 560)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(labels.title, TITLE)
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
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc(labels.x)
            .y_desc(labels.y)
            .y_label_formatter(&tick)
            .x_label_formatter(&|x| format!("{x}"))
            .label_style(TEXT)
            .axis_desc_style(TEXT)
            .draw()?;
        for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let line = curve
                .points
                .iter()
                .filter(|p| finite(p))
                .map(|&(x, y)| (x, height(y)));
            let style = colour.stroke_width(2);
            if curve.points.len() == 1 {
                chart.draw_series(line.map(|p| Circle::new(p, 3, colour.filled())))?
            } else {
                chart.draw_series(LineSeries::new(line, style))?
            }
            .label(curve.name)
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
            labels.title
        )))
    })?;
    Ok(svg)
}

/// Blue, orange, green: apart for most kinds of colour vision (Okabe and Ito 2008).
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels<'static> = Labels {
        title: "a title",
        x: "updates",
        y: "loss",
    };

    #[test]
    fn names_axes_and_curves() {
        let train = [(1.0, 3.0), (2.0, 2.0), (3.0, f64::NAN)];
        let curves = [
            Curve {
                name: "train",
                points: &train,
            },
            Curve {
                name: "validation",
                points: &[(2.0, 2.5)],
            },
        ];
        let svg = render(LABELS, &curves).unwrap();
        for word in ["a title", "updates", "loss", "train", "validation"] {
            assert!(svg.contains(word), "{word} is missing");
        }
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        let curves = [Curve {
            name: "train",
            points: &[(0.0, f64::INFINITY)],
        }];
        assert!(matches!(render(LABELS, &curves), Err(Error::NothingCounts)));
    }
}
