//! One plot as SVG: lines over two logarithmic axes, with their names beside them.
//!
//! The plot has a white ground of its own, so it can be read on a page of any colour.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;

use crate::number::{Unit, counted};
use crate::trouble::Trouble;

const SIZE: (u32, u32) = (860, 460);

/// The rest of the width is for the legend.
const CHART_WIDTH: i32 = 660;

const TEXT: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) colour: (u8, u8, u8),
    pub(crate) is_bold: bool,
    pub(crate) is_dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) up: &'static str,
    /// What goes up. What goes across is counted.
    pub(crate) unit: Unit,
    pub(crate) lines: Vec<Line>,
}

impl Plot {
    pub(crate) fn draw(&self) -> Result<String, Trouble> {
        let mut svg = String::new();
        let drawn = self.draw_on(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area());
        drawn.map_err(|error| Trouble::Plot(error.to_string()))?;
        Ok(svg)
    }

    fn draw_on<'a>(&self, area: Area<'a>) -> Result<(), Failed<'a>> {
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(CHART_WIDTH);
        self.draw_chart(&left)?;
        self.draw_legend(&right)?;
        area.present()
    }

    fn draw_chart<'a>(&self, area: &Area<'a>) -> Result<(), Failed<'a>> {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().copied())
        };
        let mut places: Vec<f64> = points().map(|(x, _)| x).collect();
        places.sort_unstable_by(f64::total_cmp);
        places.dedup();
        let across = around(points().map(|(x, _)| x), 1.2);
        let up = around(points().map(|(_, y)| y), 1.5);
        let ticks = ticks(&up);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 20).into_font().color(&TEXT))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(76)
            .build_cartesian_2d(
                across.log_scale().with_key_points(places),
                up.log_scale().with_key_points(ticks),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc(self.up)
            .x_label_formatter(&|x| counted(*x as u64))
            .y_label_formatter(&|y| self.unit.show_round(*y))
            .label_style(("sans-serif", 14).into_font().color(&TEXT))
            .axis_desc_style(("sans-serif", 15).into_font().color(&TEXT))
            .axis_style(TEXT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        // Ours is bold, and lies on top.
        let (bold, thin): (Vec<_>, Vec<_>) = self.lines.iter().partition(|line| line.is_bold);
        for line in thin.into_iter().chain(bold) {
            let points = || line.points.iter().copied();
            if line.is_dashed {
                chart.draw_series(DashedLineSeries::new(points(), 6, 5, line.style()))?;
            } else {
                chart.draw_series(LineSeries::new(points(), line.style()))?;
            }
            let dots = points().map(|point| Circle::new(point, 4, line.style().filled()));
            chart.draw_series(dots)?;
        }
        Ok(())
    }

    fn draw_legend<'a>(&self, area: &Area<'a>) -> Result<(), Failed<'a>> {
        let font = ("sans-serif", 15).into_font().color(&TEXT);
        for (line, y) in self.lines.iter().zip((70..).step_by(24)) {
            let stroke = [(0, y), (30, y)];
            if line.is_dashed {
                let dashes = [[(0, y), (8, y)], [(12, y), (20, y)], [(24, y), (30, y)]];
                for dash in dashes {
                    area.draw(&PathElement::new(dash, line.style()))?;
                }
            } else {
                area.draw(&PathElement::new(stroke, line.style()))?;
            }
            area.draw(&Circle::new((15, y), 4, line.style().filled()))?;
            area.draw(&Text::new(line.name.clone(), (38, y - 8), font.clone()))?;
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failed<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

impl Line {
    fn style(&self) -> ShapeStyle {
        let (red, green, blue) = self.colour;
        let width = if self.is_bold { 4 } else { 2 };
        RGBColor(red, green, blue).stroke_width(width)
    }
}

/// From a little below the least to a little above the most.
fn around(values: impl Iterator<Item = f64>, factor: f64) -> Range<f64> {
    let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    least / factor..most * factor
}

/// Round numbers within a range: powers of ten, and two and five times each if these are few.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let with = |steps: &[f64]| {
        let all = decades.clone().flat_map(|decade| {
            let power = 10_f64.powi(decade);
            steps.iter().map(move |step| step * power)
        });
        all.filter(|tick| range.contains(tick)).collect::<Vec<_>>()
    };
    let powers = with(&[1.0]);
    if powers.len() < 4 {
        return with(&[1.0, 2.0, 5.0]);
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(&(0.9..1200.0)), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(ticks(&(3.0..60.0)), [5.0, 10.0, 20.0, 50.0]);
    }

    #[test]
    fn a_plot_names_its_lines_and_axes() {
        let line = |name: &str, is_dashed| Line {
            name: name.to_owned(),
            colour: (1, 2, 3),
            is_bold: false,
            is_dashed,
            points: vec![(1.0, 10.0), (10.0, 20_000.0)],
        };
        let plot = Plot {
            title: "A title",
            across: "bytes",
            up: "messages",
            unit: Unit::Bytes,
            lines: vec![line("one", false), line("two", true)],
        };
        let svg = plot.draw().expect("it can be drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "A title", "bytes", "messages", "one", "two", "100 B", "1 KB",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
