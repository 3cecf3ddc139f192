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

/// A head and rows. A row may have fewer cells than the head. Then its last cell
/// takes the remaining space.
pub(crate) struct Table<'a> {
    pub(crate) head: Vec<&'a str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// A cell with this word stands out.
    pub(crate) strong: Option<&'a str>,
}

impl Table<'_> {
    pub(crate) fn render(&self, format: Format, style: Style) -> String {
        if format == Format::Markdown { self.markdown() } else { self.text(style) }
    }

    fn text(&self, style: Style) -> String {
        let head: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        let columns: Vec<_> = (0..head.len()).map(|index| self.column(index)).collect();
        let rows = self.rows.iter().map(|row| self.line(row, &columns, style));
        style.bold(&self.line(&head, &columns, style)) + &rows.collect::<String>()
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let head = self.head.iter().map(ToString::to_string).collect();
        let rules = (0..self.head.len()).map(|at| if self.column(at).1 { "---:" } else { "---" });
        let mark = |cell: &String| match cell {
            cell if Some(&**cell) == self.strong => format!("**{cell}**"),
            cell => cell.clone(),
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(mark).collect()));
        line(head) + &line(rules.map(str::to_owned).collect()) + &rows.collect::<String>()
    }

    /// The width of a column, and whether it has numbers. The last cell of a row does not
    /// count.
    fn column(&self, index: usize) -> (usize, bool) {
        let rows = self.rows.iter().filter(|row| index + 1 < row.len());
        let cells: Vec<&str> = rows.map(|row| &*row[index]).collect();
        let is_number = !cells.is_empty() && cells.iter().all(|cell| cell.parse::<f64>().is_ok());
        let widths = cells.iter().chain([&self.head[index]]).map(|cell| cell.chars().count());
        (widths.max().unwrap_or_default(), is_number)
    }

    fn line(&self, row: &[String], columns: &[(usize, bool)], style: Style) -> String {
        let cells =
            row.iter().zip(columns).enumerate().map(|(index, (cell, &(width, is_number)))| {
                let set = match is_number {
                    _ if index + 1 == row.len() => cell.clone(),
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:width$}"),
                };
                if Some(&**cell) == self.strong { style.green(&set) } else { set }
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<'static> {
        let rows = [
            &["step01", "1.50", "runs"][..],
            &["step02-long", "12.25", ""],
            &["step03", "needs root, says a long text"],
        ];
        let rows = rows.map(|row| row.iter().map(ToString::to_string).collect()).into();
        Table { head: vec!["step", "ms", "what"], rows, strong: Some("step01") }
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
