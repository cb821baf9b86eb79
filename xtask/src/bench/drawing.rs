//! The curves of `bench growth`, drawn.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use super::growth::Curve;

const SIZE: (u32, u32) = (960, 640);
const FONT: &str = "sans-serif";

/// Draws a panel for each curve into an SVG file. Steps grow by factors, so the lower axis is logarithmic; what is measured begins at 0.
pub(super) fn draw(file: &Path, curves: &[Curve]) -> Result<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    for (curve, area) in curves.iter().zip(root.split_evenly((2, curves.len().div_ceil(2)))) {
        let points: Vec<(f64, f64)> =
            curve.steps.iter().filter_map(|(number, sample)| Some((f64::from(*number), *sample.get(curve.measure)?))).collect();
        let (least, most) = (points.first().context("a curve without steps")?.0, points.last().context("a curve without steps")?.0);
        let height = points.iter().map(|(_, value)| *value).fold(1.0, f64::max) * 1.25;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: {}", curve.what, curve.unit), (FONT, 20))
            .margin(12)
            // The label of the last point begins at it.
            .margin_right(44)
            .x_label_area_size(32)
            .y_label_area_size(44)
            .build_cartesian_2d((least..most).log_scale(), 0.0..height)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(curve.what)
            .x_label_formatter(&|number| format!("{number:.0}"))
            .draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), BLUE.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, BLUE.filled())))?;
        let label = |(number, value): &(f64, f64)| {
            Text::new(format!("{value:.1}"), (*number, value + height / 12.0), (FONT, 14).into_font().color(&BLACK))
        };
        chart.draw_series(points.iter().map(label))?;
    }
    root.present().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::super::load::{Sample, WATCHER};
    use super::*;

    #[test]
    fn each_curve_has_its_panel() {
        let curve = |what| Curve {
            what,
            measure: WATCHER,
            unit: "µs a request",
            steps: vec![(1, Sample::from([(WATCHER, 4.0)])), (1000, Sample::from([(WATCHER, 4.5)]))],
        };
        let file = std::env::temp_dir().join(format!("kubewitness-drawing-{}.svg", std::process::id()));
        draw(&file, &[curve("connections"), curve("identities")]).expect("drawn");
        let drawn = std::fs::read_to_string(&file).expect("a file");
        std::fs::remove_file(&file).expect("the file goes");
        assert!(drawn.starts_with("<svg") && drawn.contains("connections: µs a request") && drawn.contains("identities: µs a request"));
        assert_eq!(drawn.matches("<circle").count(), 4);
    }
}
