//! Tables for a terminal and for a page.

use crate::style::Style;

/// The format of a table.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// For a page
    Markdown,
    /// A picture
    Svg,
}

/// The alignment of the cells of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

pub(crate) struct Cell {
    text: String,
    strong: bool,
}

/// A head and rows. A row may have fewer cells than the head. Then its last cell
/// takes the remaining space.
pub(crate) struct Table<'a> {
    pub(crate) head: Vec<(&'a str, Side)>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), strong: false }
    }

    /// An emphasized cell.
    pub(crate) fn strong(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), strong: true }
    }
}

impl Table<'_> {
    pub(crate) fn text(&self, style: Style) -> String {
        let widths = self.widths();
        let head: Vec<Cell> = self.head.iter().map(|(name, _)| Cell::new(*name)).collect();
        let mut out = style.bold(&self.line(&head, &widths, style));
        for row in &self.rows {
            out += &self.line(row, &widths, style);
        }
        out
    }

    pub(crate) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |side: &Side| if *side == Side::Left { "---" } else { "---:" };
        let mut out = line(self.head.iter().map(|(name, _)| (*name).to_owned()).collect());
        out += &line(self.head.iter().map(|(_, side)| rule(side).to_owned()).collect());
        for row in &self.rows {
            let cells = row.iter().map(|cell| {
                let mark = if cell.strong { "**" } else { "" };
                format!("{mark}{}{mark}", cell.text)
            });
            out += &line(cells.collect());
        }
        out
    }

    /// The width of each column. The last cell of a row does not count.
    fn widths(&self) -> Vec<usize> {
        let width = |(column, (name, _)): (usize, &(&str, Side))| {
            let rows = self.rows.iter().filter(|row| column + 1 < row.len());
            let cells = rows.map(|row| row[column].text.chars().count());
            cells.chain([name.chars().count()]).max().unwrap_or_default()
        };
        self.head.iter().enumerate().map(width).collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: Style) -> String {
        let mut line = String::new();
        for (index, (cell, ((_, side), width))) in
            cells.iter().zip(self.head.iter().zip(widths)).enumerate()
        {
            let text = &cell.text;
            let set = match side {
                _ if index + 1 == cells.len() => text.clone(),
                Side::Left => format!("{text:width$}"),
                Side::Right => format!("{text:>width$}"),
            };
            line += if index == 0 { "" } else { "  " };
            line += &if cell.strong { style.green(&set) } else { set };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<'static> {
        let head = vec![("step", Side::Left), ("ms", Side::Right), ("what", Side::Left)];
        let rows = [["step01", "1.50", "runs"], ["step02-long", "12.25", ""]];
        let mut rows: Vec<Vec<Cell>> =
            rows.map(|row| row.map(Cell::new).into_iter().collect()).into();
        rows[0][0].strong = true;
        rows.push(vec![Cell::new("step03"), Cell::new("needs root, says a long text")]);
        Table { head, rows }
    }

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        let expected = "step            ms  what\n\
                        step01        1.50  runs\n\
                        step02-long  12.25\n\
                        step03       needs root, says a long text\n";
        assert_eq!(table().text(Style::new(false)), expected);
    }

    #[test]
    fn colours_take_no_room() {
        let coloured = table().text(Style::new(true));
        assert!(coloured.contains("\x1b[32mstep01     \x1b[0m   1.50  runs\n"), "{coloured:?}");
        assert!(coloured.starts_with("\x1b[1mstep            ms  what\x1b[0m\n"), "{coloured:?}");
    }

    #[test]
    fn a_page_has_the_sides_and_what_stands_out() {
        let expected = "| step | ms | what |\n\
                        | --- | ---: | --- |\n\
                        | **step01** | 1.50 | runs |\n\
                        | step02-long | 12.25 |  |\n\
                        | step03 | needs root, says a long text |\n";
        assert_eq!(table().markdown(), expected);
    }
}
