//! docs/pictures: drawn from a text, light and dark. `make pictures` writes them.

use std::fmt::{self, Write as _};

use crate::{file, is_update, root};

const WIDTH: i32 = 196;
const HEIGHT: i32 = 54;
const BETWEEN_COLUMNS: i32 = 92;
const BETWEEN_ROWS: i32 = 38;
const MARGIN: i32 = 6;

/// Colours of one appearance.
struct Palette {
    name: &'static str,
    text: &'static str,
    faint: &'static str,
    line: &'static str,
    /// Fill and border by kind.
    ours: [&'static str; 2],
    bus: [&'static str; 2],
    outside: [&'static str; 2],
}

const PALETTES: [Palette; 2] = [
    Palette {
        name: "light",
        text: "#1f2328",
        faint: "#57606a",
        line: "#6e7781",
        ours: ["#ddf4ff", "#0969da"],
        bus: ["#fff8c5", "#9a6700"],
        outside: ["#f6f8fa", "#8c959f"],
    },
    Palette {
        name: "dark",
        text: "#e6edf3",
        faint: "#9da7b3",
        line: "#8b949e",
        ours: ["#12263f", "#4493f8"],
        bus: ["#2e2405", "#d29922"],
        outside: ["#161b22", "#6e7681"],
    },
];

struct Box<'a> {
    name: &'a str,
    kind: &'a str,
    column: i32,
    rows: (i32, i32),
    words: Vec<&'a str>,
}

impl Box<'_> {
    fn left(&self) -> i32 {
        MARGIN + self.column * (WIDTH + BETWEEN_COLUMNS)
    }

    fn top(&self) -> i32 {
        MARGIN + self.rows.0 * (HEIGHT + BETWEEN_ROWS)
    }

    fn right(&self) -> i32 {
        self.left() + WIDTH
    }

    fn bottom(&self) -> i32 {
        MARGIN + self.rows.1 * (HEIGHT + BETWEEN_ROWS) + HEIGHT
    }

    fn middle(&self) -> i32 {
        i32::midpoint(self.top(), self.bottom())
    }

    /// The height at which both can be reached by a level line: the middle of the smaller one.
    fn level(&self, other: &Self) -> i32 {
        let one = if other.bottom() - other.top() < self.bottom() - self.top() { other } else { self };
        one.middle()
    }
}

struct Arrow<'a> {
    from: &'a str,
    to: &'a str,
    label: &'a str,
}

struct Picture<'a> {
    boxes: Vec<Box<'a>>,
    arrows: Vec<Arrow<'a>>,
}

impl<'a> Picture<'a> {
    fn read(text: &'a str) -> Self {
        let (mut boxes, mut arrows) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let mut parts = line.split('|').map(str::trim);
            let head: Vec<_> = parts.next().unwrap_or_default().split_whitespace().collect();
            match head[..] {
                ["box", name, kind, column, rows] => {
                    let number = |text: &str| text.parse::<i32>().expect("a number");
                    let (first, last) = rows.split_once('-').unwrap_or((rows, rows));
                    let rows = (number(first), number(last));
                    boxes.push(Box { name, kind, column: number(column), rows, words: parts.collect() });
                }
                ["arrow", from, to] => arrows.push(Arrow { from, to, label: parts.next().unwrap_or_default() }),
                _ => panic!("neither a box nor an arrow: {line}"),
            }
        }
        Self { boxes, arrows }
    }

    fn find(&self, name: &str) -> &Box<'a> {
        self.boxes.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no box {name}"))
    }

    fn draw(&self, colours: &Palette) -> Result<String, fmt::Error> {
        let width = self.boxes.iter().map(Box::right).max().unwrap_or_default() + MARGIN;
        let height = self.boxes.iter().map(Box::bottom).max().unwrap_or_default() + MARGIN;
        let mut out = String::new();
        let Palette { text, faint, line, .. } = colours;
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif" text-anchor="middle">"#
        )?;
        writeln!(out, "<title>Clients, the gateway, four services with their stores, and the bus</title>")?;
        writeln!(
            out,
            r#"<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{line}"/></marker>"#
        )?;
        for arrow in &self.arrows {
            let (way, at) = self.way(arrow);
            writeln!(
                out,
                r#"<path d="{way}" fill="none" stroke="{line}" stroke-width="1.5" marker-end="url(#tip)"/>"#
            )?;
            if !arrow.label.is_empty() {
                let (x, y) = at;
                writeln!(out, r#"<text x="{x}" y="{y}" font-size="12" fill="{faint}">{}</text>"#, arrow.label)?;
            }
        }
        for one in &self.boxes {
            let [fill, border] = match one.kind {
                "ours" => colours.ours,
                "bus" => colours.bus,
                "outside" => colours.outside,
                kind => panic!("no kind {kind}"),
            };
            let (left, top, tall) = (one.left(), one.top(), one.bottom() - one.top());
            writeln!(
                out,
                r#"<rect x="{left}" y="{top}" width="{WIDTH}" height="{tall}" rx="7" fill="{fill}" stroke="{border}"/>"#
            )?;
            let (centre, middle) = (left + WIDTH / 2, one.middle());
            let title = if one.words.len() > 1 { middle - 3 } else { middle + 5 };
            let words = &one.words;
            writeln!(
                out,
                r#"<text x="{centre}" y="{title}" font-size="15" font-weight="600" fill="{text}">{}</text>"#,
                words[0]
            )?;
            if let Some(second) = words.get(1) {
                let second = second.replace('&', "&amp;");
                writeln!(
                    out,
                    r#"<text x="{centre}" y="{}" font-size="11" fill="{faint}">{second}</text>"#,
                    middle + 15
                )?;
            }
        }
        writeln!(out, "</svg>")?;
        Ok(out)
    }

    /// The line of an arrow, and where its label stands.
    fn way(&self, arrow: &Arrow<'_>) -> (String, (i32, i32)) {
        let (from, to) = (self.find(arrow.from), self.find(arrow.to));
        if from.column == to.column {
            let centre = from.left() + WIDTH / 2;
            let (start, end) =
                if from.top() > to.top() { (from.top(), to.bottom()) } else { (from.bottom(), to.top()) };
            if from.rows.0.abs_diff(to.rows.1) == 1 {
                return (format!("M{centre} {start} V{end}"), (centre + 20, i32::midpoint(start, end) + 4));
            }
            // Around what is between, on the right.
            let (side, turn) = (from.right(), from.right() + 22);
            let (start, end) = (from.middle() - 12, to.middle() + 12);
            return (format!("M{side} {start} H{turn} V{end} H{side}"), (turn + 18, i32::midpoint(start, end) - 32));
        }
        let (start, end, turn) = if from.column < to.column {
            (from.right(), to.left(), i32::midpoint(from.right(), to.left()))
        } else {
            (from.left(), to.right(), i32::midpoint(from.left(), to.right()))
        };
        let beside = from.top() <= to.bottom() && to.top() <= from.bottom();
        if beside {
            let level = from.level(to);
            return (format!("M{start} {level} H{end}"), (turn, level - 5));
        }
        let (leave, arrive) = (from.middle(), to.middle());
        (format!("M{start} {leave} H{turn} V{arrive} H{end}"), (turn, arrive - 5))
    }
}

#[test]
fn pictures_are_drawn_from_their_text() {
    let text = file("docs/pictures/architecture.txt");
    let picture = Picture::read(&text);
    for palette in &PALETTES {
        let name = format!("docs/pictures/architecture-{}.svg", palette.name);
        let drawn = picture.draw(palette).expect("text takes it");
        if is_update() {
            std::fs::write(root().join(&name), drawn).expect("writes the picture");
        } else {
            assert!(file(&name) == drawn, "{name} is not what its text says: run `make pictures`");
        }
    }
}
