//! The table as a picture.

use super::{COLUMNS, LEGEND, NEEDS_ROOT, OWN, Row};
use crate::picture::{self, MARGIN, text};

/// The top of the first row.
const TOP: usize = 120;
const ROW: usize = 30;
/// The width of the first column.
const STEP: usize = 172;
const COLUMN: usize = 72;
/// The box around a word: its size, and the space around it.
const BOX: (usize, usize) = (64, 24);
const GAP: usize = 10;

/// Draws the table. The result of each row is only in its own group and in its own
/// line of the description.
pub(super) fn draw(rows: &[Row]) -> String {
    let bottom = TOP + rows.len() * ROW;
    let described: Vec<String> = rows.iter().map(describe).collect();
    let title = "What each step's container shares with the host";
    let heading = format!("{title}, as the host's /proc shows");
    let mut out = picture::head(bottom + 44, title, &heading, &described);
    for (index, (column, about)) in COLUMNS.into_iter().enumerate() {
        out += &text("column", middle(index), 82, column);
        out += &text("about", middle(index), 102, about);
    }
    for (index, row) in rows.iter().enumerate() {
        out += &draw_row(row, TOP + index * ROW);
    }
    out + &picture::foot(bottom, bottom + 27, &[LEGEND.trim()])
}

fn draw_row(row: &Row, y: usize) -> String {
    let base = y + 20;
    let mut out = format!("  <g id=\"{}\">\n", row.step);
    out += &picture::row(y, base, &row.step);
    match row.cells {
        Some(cells) => {
            for (index, word) in cells.into_iter().enumerate() {
                let (width, height) = BOX;
                let (x, middle) = (middle(index) - width / 2, middle(index));
                let top = y + (ROW - height) / 2;
                out += &format!(
                    "  <g class=\"{word}\"><rect x=\"{x}\" y=\"{top}\" width=\"{width}\" \
                     height=\"{height}\" rx=\"6\"/><text x=\"{middle}\" y=\"{base}\">{word}</text></g>\n"
                );
            }
        }
        None => out += &text("missing", middle(0) - BOX.0 / 2, base, NEEDS_ROOT),
    }
    out + "  </g>\n"
}

fn describe(row: &Row) -> String {
    let Some(cells) = row.cells else {
        return format!("{}: {NEEDS_ROOT}.", row.step);
    };
    let own = cells.iter().zip(COLUMNS).filter(|(cell, _)| **cell == OWN);
    let own: Vec<&str> = own.map(|(_, (column, _))| column).collect();
    if own.is_empty() {
        return format!("{}: nothing of its own.", row.step);
    }
    format!("{}: its own {}.", row.step, own.join(", "))
}

/// The middle of a column.
fn middle(column: usize) -> usize {
    MARGIN + STEP + column * COLUMN + GAP / 2 + BOX.0 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_lessons_fit() {
        let row = |number| Row { step: format!("step{number:02}"), cells: None };
        let rows: Vec<Row> = (1..=20).map(row).collect();
        let svg = draw(&rows);
        let value = |from: &str, name: &str| -> usize {
            let value = from.split_once(&format!(" {name}=\"")).expect("a value").1;
            value.split('"').next().expect("its end").parse().expect("a number")
        };
        let height = value(&svg, "height");
        let lines: Vec<usize> =
            svg.split("<text ").skip(1).map(|text| value(&format!(" {text}"), "y")).collect();
        let names: Vec<usize> =
            svg.split("<text class=\"step\"").skip(1).map(|text| value(text, "y")).collect();
        assert_eq!(names.len(), 20, "{svg}");
        assert!(names.windows(2).all(|pair| pair[0] + ROW == pair[1]), "{names:?}");
        assert!(lines.iter().all(|y| *y < height), "{height}: {lines:?}");
        // A projector shows the whole picture, and its letters must stay large.
        assert!(height < value(&svg, "width"), "{height}");
    }
}
