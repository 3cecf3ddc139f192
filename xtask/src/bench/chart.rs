//! The first table as a picture.

use super::{Row, is_step};
use crate::picture::{self, MARGIN, text};

/// The top of the first row.
const TOP: usize = 80;
const ROW: usize = 56;
/// The left end of the bars, the length of the longest bar, and the height of a
/// bar.
const LEFT: usize = 190;
const LONGEST: f64 = 560.0;
const BAR: usize = 20;

const TITLE: &str = "How long a container takes to start and end";

/// Draws the medians as bars. The description has the figures, too.
pub(super) fn draw(rows: &[&Row], circumstances: &[String; 2]) -> String {
    let longest = rows.iter().map(|row| row.median).fold(0.0, f64::max);
    let bottom = TOP + rows.len() * ROW;
    let described: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {:.2} ms; {}", row.name, row.median, row.remark))
        .collect();
    let mut out = picture::head(bottom + 60, TITLE, TITLE, &described);
    out += &text("legend", MARGIN, 62, "median in milliseconds; shorter is better");
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + index * ROW;
        let width = ((row.median / longest * LONGEST).round() as usize).max(2);
        let class = if is_step(row) { "own" } else { "peer" };
        out += &picture::row(y, y + 25, &row.name);
        out += &format!(
            "  <g class=\"{class}\"><rect x=\"{LEFT}\" y=\"{}\" width=\"{width}\" height=\"{BAR}\" rx=\"4\"/></g>\n",
            y + 10
        );
        out += &text("figure", LEFT + width + 8, y + 25, &format!("{:.2} ms", row.median));
        out += &text("legend", LEFT, y + 47, &row.remark);
    }
    out + &picture::foot(bottom, bottom + 25, &circumstances.each_ref().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::peers::PEERS;
    use super::super::tests::row;
    use super::*;

    #[test]
    fn the_longest_bar_is_the_slowest() {
        let rows = [row("step08-overlay", 2.0, "x < y"), row("peer 1", 8.0, "")];
        let svg = draw(&rows.each_ref(), &["How.".to_owned(), "Where & when.".to_owned()]);
        assert!(svg.contains("step08-overlay: 2.00 ms; x &lt; y\n"), "{svg}");
        assert!(svg.contains("<g class=\"own\"><rect x=\"190\" y=\"90\" width=\"140\""), "{svg}");
        assert!(svg.contains("<g class=\"peer\"><rect x=\"190\" y=\"146\" width=\"560\""), "{svg}");
        assert!(svg.contains(">Where &amp; when.</text>"), "{svg}");
    }

    /// The picture in the README, drawn once more from the figures in it.
    #[test]
    fn the_picture_is_what_is_drawn() {
        let file = common::workspace().join("docs/bench.svg");
        let shown = fs::read_to_string(&file).expect("read the picture");
        let (_, rest) = shown.split_once("<desc id=\"desc\">\n").expect("a description");
        let (described, rest) = rest.split_once("  </desc>\n").expect("its end");
        let rows: Vec<Row> = described
            .lines()
            .map(|line| {
                let (name, rest) = line.trim().split_once(": ").expect("a name");
                let (figure, remark) = rest.split_once(" ms; ").expect("a figure");
                row(name, figure.parse().expect("a number"), remark)
            })
            .collect();
        // It was the newest lesson when the picture was drawn.
        let lesson = lessons::find(&rows[0].name).expect("a lesson");
        assert_eq!(rows[0].remark, lesson.goal);
        for row in &rows[1..] {
            let (_, remark, _) =
                PEERS.iter().find(|(name, ..)| row.name.starts_with(name)).expect("a peer");
            assert_eq!(row.remark, *remark);
        }
        let sentences: Vec<String> = rest
            .rsplit("<text class=\"legend\"")
            .take(2)
            .map(|text| text.split(['>', '<']).nth(1).expect("a sentence").to_owned())
            .collect();
        let [second, first] = sentences.try_into().expect("two sentences");
        assert!(
            draw(&rows.iter().collect::<Vec<_>>(), &[first, second]) == shown,
            "{} is stale: cargo xtask bench --format svg >docs/bench.svg",
            file.display()
        );
    }
}
