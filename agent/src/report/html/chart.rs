//! The drawings, as SVG inside of the page.
//!
//! The colours below are names: the style gives each its colour for dark and for light, and so it does for the text. Attributes of SVG are not
//! styles, so that the page's policy lets them be.

use std::collections::BTreeMap;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::{ByAccess, Timeline};

use maud::{Markup, PreEscaped, html};

const PROXY: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const FALLBACK: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
const FINER: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const OTHER: RGBColor = RGBColor(0x8c, 0x8c, 0x8c);
const INK: RGBColor = RGBColor(0x01, 0x01, 0x01);
const GRID: RGBColor = RGBColor(0x02, 0x02, 0x02);

const COURSE: (u32, u32) = (960, 260);
const SPARK: (u32, u32) = (256, 32);
const BAR: (u32, u32) = (960, 28);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Problem<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// Requests of everybody in each step, one kind upon the other.
pub(super) fn course(timeline: &Timeline, all: &BTreeMap<usize, ByAccess>) -> Markup {
    let most = all.values().map(|counts| counts.sum()).max().unwrap_or_default();
    drawn(COURSE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(28)
            .x_label_area_size(26)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..number(timeline.steps as u64), 0.0..number(most.max(1)) * 1.05)?;
        let format = if timeline.step.as_secs() >= 86_400 {
            "%e %b"
        } else if timeline.step.as_secs() >= 60 {
            "%e %b %H:%M"
        } else {
            "%H:%M:%S"
        };
        let text = TextStyle::from(("sans-serif", 12).into_font()).color(&INK);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(text)
            .x_labels(7)
            .y_labels(5)
            .x_label_formatter(&|step| timeline.begin(whole(*step)).strftime(format).to_string())
            .y_label_formatter(&|count| super::parts::number(whole(*count) as u64))
            .draw()?;
        for (step, counts) in all {
            let (left, right) = (number(*step as u64) + 0.08, number(*step as u64) + 0.92);
            let mut below = 0.0;
            for (count, colour) in [(counts.proxy_only, PROXY), (counts.fallback, FALLBACK), (counts.finer, FINER), (counts.other, OTHER)] {
                if count > 0 {
                    let above = below + number(count);
                    chart.draw_series([Rectangle::new([(left, below), (right, above)], colour.filled())])?;
                    below = above;
                }
            }
        }
        Ok(())
    })
}

/// What `nodes/proxy` let in of one identity: what a finer right would do for, upon what it would not.
pub(super) fn spark(steps: usize, counts: &BTreeMap<usize, ByAccess>) -> Markup {
    let most = counts.values().map(|counts| counts.by_proxy()).max().unwrap_or_default().max(1);
    drawn(SPARK, |area| {
        for (colour, height) in [
            (FALLBACK, &(|counts: &ByAccess| counts.by_proxy()) as &dyn Fn(&ByAccess) -> u64),
            (PROXY, &|counts: &ByAccess| counts.proxy_only),
        ] {
            let outline = outline(steps, most, |step| counts.get(&step).map_or(0, height));
            if !outline.is_empty() {
                area.draw(&Polygon::new(outline, colour.filled()))?;
            }
        }
        Ok(())
    })
}

/// The line around columns, which are at least a pixel high where there is anything. Empty if there is nothing.
fn outline(steps: usize, most: u64, height: impl Fn(usize) -> u64) -> Vec<(i32, i32)> {
    let (wide, high) = (f64::from(SPARK.0), f64::from(SPARK.1));
    let across = |step: usize| pixel(wide * number(step as u64) / number(steps.max(1) as u64));
    let up = |count: u64| if count == 0 { pixel(high) } else { pixel(high - ((high - 2.0) * number(count) / number(most)).max(1.0)) };
    let heights: Vec<i32> = (0..steps).map(|step| up(height(step))).collect();
    let floor = pixel(high);
    if heights.iter().all(|height| *height == floor) {
        return Vec::new();
    }
    let mut line = vec![(0, floor)];
    for (step, height) in heights.iter().enumerate() {
        let before = line.last().map_or(floor, |point| point.1);
        if *height != before {
            line.extend([(across(step), before), (across(step), *height)]);
        }
    }
    let before = line.last().map_or(floor, |point| point.1);
    line.extend([(across(steps), before), (across(steps), floor)]);
    line
}

/// Shares of a whole, side by side; each has a word that the style knows its colour by, and is told by its place here.
pub(super) fn bar(shares: &[(&str, u64)]) -> Markup {
    let all: u64 = shares.iter().map(|(_, count)| count).sum();
    drawn(BAR, |area| {
        let mut left = 0.0;
        for (word, count) in shares {
            let right = left + f64::from(BAR.0) * number(*count) / number(all.max(1));
            let corners = [(pixel(left), 0), (pixel(right).max(pixel(left) + 2) - 1, pixel(f64::from(BAR.1)))];
            area.draw(&Rectangle::new(corners, state(word).filled()))?;
            left = right;
        }
        Ok(())
    })
}

/// The colour of a state of the migration.
fn state(word: &str) -> RGBColor {
    match word {
        "free" => RGBColor(0x00, 0x9e, 0x73),
        "replace" => FINER,
        "upgrade-first" => RGBColor(0x56, 0xb4, 0xe9),
        "keep" => PROXY,
        "unused" => FALLBACK,
        _ => OTHER,
    }
}

/// A drawing that a screen reader passes over: what is around it says the same in words.
fn drawn(size: (u32, u32), draw: impl for<'a> FnOnce(&Area<'a>) -> Result<(), Problem<'a>>) -> Markup {
    let mut svg = String::new();
    let problem = {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).err().map(|problem| problem.to_string())
    };
    match problem {
        None => PreEscaped(svg.replacen("<svg ", r#"<svg aria-hidden="true" preserveAspectRatio="none" "#, 1)),
        Some(problem) => html! { p { "It could not be drawn: " (problem) } },
    }
}

#[expect(clippy::cast_precision_loss, reason = "a drawing shows three digits")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "labels are between 0 and the greatest count")]
fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a drawing is some hundred pixels wide")]
fn pixel(place: f64) -> i32 {
    place.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_goes_round_the_columns() {
        let counts = [0, 4, 4, 0];
        assert_eq!(outline(4, 4, |step| counts[step]), [(0, 32), (64, 32), (64, 2), (192, 2), (192, 32), (256, 32), (256, 32)],);
        assert!(outline(4, 4, |_| 0).is_empty());
        assert!(outline(2, 1_000_000, |_| 1).contains(&(0, 31)), "a single request is seen");
    }

    #[test]
    fn a_drawing_has_no_style_that_the_policy_would_refuse() {
        let counts = BTreeMap::from([(0, ByAccess { fallback: 3, proxy_only: 1, finer: 2, other: 1 })]);
        let timeline = Timeline {
            from: "2026-11-01T00:00:00Z".parse().unwrap(),
            step: std::time::Duration::from_secs(3_600),
            steps: 24,
            identities: BTreeMap::new(),
            left_out: 0,
        };
        for drawing in [course(&timeline, &counts), spark(24, &counts), bar(&[("free", 1), ("keep", 3)])] {
            let svg = drawing.into_string();
            assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(!svg.contains("style=") && !svg.contains("NaN") && svg.contains("#D55E00"), "{svg}");
        }
    }
}
