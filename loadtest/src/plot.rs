//! A run as one HTML file with plots, which opens without a network.

use crate::series::Point;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const BELOW: f64 = 28.0;
/// Told apart by those who see few colours as well (Okabe and Ito).
const COLOURS: [&str; 4] = ["#0072b2", "#e69f00", "#d55e00", "#009e73"];

/// One line of a plot.
struct Line<'a> {
    name: &'a str,
    values: Vec<f64>,
}

/// The whole page: what the report says, and the plots.
pub(crate) fn page(title: &str, text: &str, points: &[Point]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>\n\
         body {{ font: 15px sans-serif; max-width: 960px; margin: 2em auto; }}\npre {{ background: #f4f4f4; padding: 1em; }}\n\
         svg text {{ font: 12px sans-serif; }}\n</style></head>\n<body><h1>{title}</h1>\n<pre>{text}</pre>\n",
        title = escaped(title),
        text = escaped(text),
    );
    let each = |value: fn(&Point) -> f64| points.iter().map(value).collect::<Vec<f64>>();
    let rate = |count: u64, point: &Point| count as f64 / point.length.as_secs_f64().max(1e-9);
    let plot = |page: &mut String, title: &str, lines: Vec<Line<'_>>| {
        if lines.iter().any(|line| line.values.iter().any(|value| *value > 0.0)) {
            page.push_str(&svg(title, points, &lines));
        }
    };
    let line = |name, values| Line { name, values };
    plot(
        &mut page,
        "units a second",
        vec![
            line(
                "done",
                points.iter().map(|point| rate(point.tally.done, point)).collect(),
            ),
            line(
                "failed",
                points.iter().map(|point| rate(point.tally.failed(), point)).collect(),
            ),
        ],
    );
    let quantile = |quantile: f64| {
        let values = points
            .iter()
            .map(|point| point.tally.latencies.value_at_quantile(quantile) as f64 / 1000.0);
        values.collect()
    };
    let latencies = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    plot(
        &mut page,
        "latency, ms",
        latencies.map(|(name, at)| line(name, quantile(at))).into(),
    );
    plot(
        &mut page,
        "the server's CPU time, seconds a second",
        vec![line(
            "CPU",
            each(|point| point.cpu.as_secs_f64() / point.length.as_secs_f64().max(1e-9)),
        )],
    );
    plot(
        &mut page,
        "the server's own memory, MiB",
        vec![line("memory", each(|point| point.memory as f64 / f64::from(1 << 20)))],
    );
    plot(
        &mut page,
        "sessions held",
        vec![line("held", each(|point| point.held as f64))],
    );
    page.push_str("</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The next of 1, 2, 5, 10, 20, 50, ... at or above `value`.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= value * 0.999_999);
    step.unwrap_or(10.0) * power
}

fn svg(title: &str, points: &[Point], lines: &[Line<'_>]) -> String {
    let most = lines.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
    let top = round_up(most.max(1e-9));
    let end = points.last().map_or(1.0, |point| point.at.as_secs_f64()).max(1e-9);
    let x = |seconds: f64| LEFT + (WIDTH - LEFT - 10.0) * seconds / end;
    let y = |value: f64| 10.0 + (HEIGHT - 10.0 - BELOW) * (1.0 - value / top);
    // Writing to a string cannot fail.
    let mut svg = format!(
        "<h2>{}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n",
        escaped(title)
    );
    for part in 0..=4 {
        let (value, seconds) = (top * f64::from(part) / 4.0, end * f64::from(part) / 4.0);
        let (level, place) = (y(value), x(seconds));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{level:.1}\" y2=\"{level:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds:.1} s</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            level + 4.0,
            shown(value),
            HEIGHT - 8.0,
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .zip(&line.values)
            .map(|(point, value)| format!("{:.1},{:.1}", x(point.at.as_secs_f64()), y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\
             <text x=\"{}\" y=\"24\" fill=\"{colour}\">{}</text>",
            path.join(" "),
            LEFT + 10.0 + 70.0 * number as f64,
            escaped(line.name),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn shown(value: f64) -> String {
    if value == 0.0 || value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;
    use std::time::Duration;

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, rounded) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (730.0, 1000.0),
            (1000.0, 1000.0),
        ] {
            assert!((round_up(value) - rounded).abs() < 1e-6 * rounded, "{value}");
        }
    }

    #[test]
    fn a_page_stands_alone_and_shows_what_happened() {
        let mut tally = Tally::new();
        tally.add(Ok(10), Duration::from_millis(3));
        let point = |seconds| Point {
            at: Duration::from_secs(seconds),
            length: Duration::from_secs(1),
            tally: tally.clone(),
            cpu: Duration::ZERO,
            memory: 0,
            held: 0,
        };
        let page = page("smtp <1>", "a & b", &[point(1), point(2)]);
        assert!(page.contains("smtp &lt;1&gt;") && page.contains("a &amp; b"));
        assert_eq!(page.matches("<svg").count(), 2, "what was not measured has no plot");
        assert_eq!(page.matches("<polyline").count(), 6);
        assert!(!page.contains("http"), "nothing comes from elsewhere");
    }
}
