//! The parts that all pictures of the tasks have.

const WIDTH: usize = 880;
pub(crate) const MARGIN: usize = 24;

const STYLE: &str = include_str!("picture.css");

/// The start of a picture: its size, its title, the lines of its description, the
/// colours, the background, and the heading.
pub(crate) fn head(height: usize, title: &str, heading: &str, described: &[String]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title desc\">\n  \
         <title id=\"title\">{title}</title>\n  \
         <desc id=\"desc\">\n"
    );
    for line in described {
        out += &format!("    {}\n", escape(line));
    }
    out += &format!("  </desc>\n  <style>\n{STYLE}  </style>\n");
    out += &format!(
        "  <rect class=\"panel\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        WIDTH - 1,
        height - 1
    );
    out + &text("title", MARGIN, 38, heading)
}

/// The start of a row: a line above it, and its name. `base` is the baseline of the
/// name.
pub(crate) fn row(y: usize, base: usize, name: &str) -> String {
    line(y) + &text("step", MARGIN, base, name)
}

/// The end of a picture: a line, and sentences below it. `base` is the baseline of
/// the first sentence.
pub(crate) fn foot(bottom: usize, base: usize, sentences: &[&str]) -> String {
    let mut out = line(bottom);
    for (index, sentence) in sentences.iter().enumerate() {
        out += &text("legend", MARGIN, base + 20 * index, sentence);
    }
    out + "</svg>\n"
}

/// Text with its baseline at `y`.
pub(crate) fn text(class: &str, x: usize, y: usize, text: &str) -> String {
    let text = escape(text);
    format!("  <text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n")
}

/// A line across the picture.
fn line(y: usize) -> String {
    format!(
        "  <line class=\"line\" x1=\"{MARGIN}\" y1=\"{y}.5\" x2=\"{}\" y2=\"{y}.5\"/>\n",
        WIDTH - MARGIN
    )
}

/// Text, escaped for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
