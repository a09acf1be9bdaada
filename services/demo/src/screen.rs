//! What a person sees: one block that is drawn anew every second, or a line now and then where nobody looks.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::Flags;
use super::broken::Broken;
use super::figures::Figures;
use super::summary::Summary;
use super::tally::{Count, Webhooks};

/// Columns and rows of a terminal that does not tell its own.
const SIZE: (u16, u16) = (80, 24);

/// Standard output as it was when the program began.
#[derive(Debug)]
pub struct Screen {
    out: File,
    style: Style,
    keys: bool,
    /// Lines of the block that is there.
    drawn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Block,
    Lines,
    Silent,
}

/// Everything there is to draw.
pub(super) struct View<'a> {
    /// What the shoppers met.
    pub(super) count: Count,
    /// What the shop says.
    pub(super) figures: Figures,
    /// What is switched on.
    pub(super) broken: Broken,
    /// Where the gateway is.
    pub(super) gateway: &'a str,
    /// Where it tells operators how it is.
    pub(super) operators: &'a str,
    /// The log of the services, when they are the demo's own.
    pub(super) log: Option<&'a Path>,
    /// Whether the shopping has ended.
    pub(super) settling: bool,
}

impl Screen {
    /// Takes standard output for itself; what others write there goes to the file `log` from now on.
    pub fn take(flags: &Flags, log: Option<&Path>) -> anyhow::Result<Self> {
        let out = File::from(rustix::io::dup(rustix::stdio::stdout()).context("standard output is closed")?);
        if let Some(log) = log {
            let file = File::options().create(true).append(true).open(log);
            let file = file.with_context(|| format!("cannot write the log {}", log.display()))?;
            rustix::stdio::dup2_stdout(&file).context("standard output cannot become the log")?;
        }
        let style = match (flags.json, out.is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Block,
            (false, false) => Style::Lines,
        };
        Ok(Self { out, style, keys: false, drawn: 0 })
    }

    /// Whether a person looks at it.
    pub(super) fn is_live(&self) -> bool {
        self.style == Style::Block
    }

    /// Shows from now on which keys there are.
    pub(super) fn offer_keys(&mut self) {
        self.keys = true;
    }

    /// Time between two pictures.
    pub(super) fn every(&self) -> Duration {
        Duration::from_secs(if self.style == Style::Block { 1 } else { 5 })
    }

    /// Draws it.
    pub(super) fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        match self.style {
            Style::Block => {
                let mut lines = block(view, self.keys);
                let size =
                    rustix::termios::tcgetwinsize(&self.out).ok().filter(|size| size.ws_col > 0 && size.ws_row > 1);
                let (width, height) = size.map_or(SIZE, |size| (size.ws_col, size.ws_row));
                // What scrolls away cannot be drawn over.
                lines.truncate(usize::from(height) - 1);
                let text: String = lines.iter().map(|line| cut(line, usize::from(width)) + "\n").collect();
                self.erase()?;
                self.drawn = lines.len();
                self.out.write_all(text.as_bytes())
            }
            Style::Lines => writeln!(self.out, "{}", line(view)),
            Style::Silent => Ok(()),
        }
    }

    /// Shows the summary instead.
    pub(super) fn conclude(&mut self, summary: &Summary, json: bool) -> io::Result<()> {
        self.erase()?;
        if json {
            let text = serde_json::to_string(summary)?;
            return writeln!(self.out, "{text}");
        }
        self.out.write_all(epilogue(summary).as_bytes())
    }

    /// Goes back to the first line of the block and clears all below.
    fn erase(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.drawn) {
            0 => Ok(()),
            lines => write!(self.out, "\x1b[{lines}A\r\x1b[J"),
        }
    }
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

fn block(view: &View<'_>, keys: bool) -> Vec<String> {
    let View { count, figures, broken, .. } = view;
    let (p50, p99) = count.lately;
    let mut lines = vec![
        String::new(),
        format!(
            "  shop demo    {}   {}",
            clock(count.elapsed),
            if view.settling { "settling …" } else { view.gateway }
        ),
        format!("  watch it     {}/admin/ui", view.operators),
        format!("  requests     {:.1}/s   p50 {}   p99 {}", count.rate, millis(p50), millis(p99)),
        format!("  answers      {}", answers(count)),
        format!("  reasons      {}", listed(&count.reasons)),
        format!("  purchases    {}", purchases(count)),
        format!("  breakers     {}", breakers(figures)),
        format!("  retries      {}", told(figures.retries)),
        format!("  outbox       {} pending   most {}", told(figures.outbox), figures.outbox_most),
        format!("  notified     {}", notified(figures)),
    ];
    if let Some(log) = view.log {
        lines.push(format!("  log          {}", log.display()));
    }
    lines.push(String::new());
    let key = |letter: &str| if keys { format!("[{letter}] ") } else { String::new() };
    let mut switches = vec![format!("{}failing provider: {}", key("p"), failing(*broken))];
    if view.log.is_some() {
        switches.insert(0, format!("{}slow product: {}", key("s"), slow(*broken)));
        switches.push(format!("{}webhooks: {}", key("w"), webhooks(*broken)));
        switches.push(format!("{}dead consumer: {}", key("c"), dead(*broken)));
    }
    switches.push(if keys { "[q] quit" } else { "Ctrl-C to quit" }.to_owned());
    lines.push(format!("  {}", switches.join("   ")));
    lines
}

fn line(view: &View<'_>) -> String {
    let View { count, figures, broken, .. } = view;
    format!(
        "{}  {:.1}/s p50 {} p99 {}  {}  completed {} declined {}  breakers {}  retries {}  outbox {}  notified {}  slow product {}, \
         failing provider {}, webhooks {}, dead consumer {}",
        clock(count.elapsed),
        count.rate,
        millis(count.lately.0),
        millis(count.lately.1),
        answers(count),
        count.purchases.completed,
        count.purchases.declined,
        breakers(figures),
        told(figures.retries),
        told(figures.outbox),
        notified(figures),
        slow(*broken),
        failing(*broken),
        webhooks(*broken),
        dead(*broken),
    )
}

fn epilogue(summary: &Summary) -> String {
    let Summary { purchases, answers, webhooks, .. } = summary;
    let mut text = format!(
        "\n  {} calls in {} s: 2xx {}, 4xx {}, 5xx {}, none {}; p50 {} ms, p99 {} ms\n  purchases: completed {}, declined {}, \
         refunded {}, abandoned {}, restocked {}\n",
        summary.requests,
        summary.seconds,
        answers.fine,
        answers.refused,
        answers.failed,
        answers.none,
        summary.p50_ms,
        summary.p99_ms,
        purchases.completed,
        purchases.declined,
        purchases.refunded,
        purchases.abandoned,
        purchases.restocked
    );
    let opened: Vec<_> = summary.breakers_opened.iter().map(String::as_str).collect();
    // Writing to a String cannot fail.
    let Webhooks { confirmed, sent, refused } = webhooks;
    let _ = writeln!(text, "  webhooks: sent {sent} about {confirmed} buyers, refused {refused}");
    let _ = writeln!(text, "  reasons: {}", listed(&summary.reasons));
    let opened = if opened.is_empty() { "none".to_owned() } else { opened.join(", ") };
    let _ = writeln!(text, "  breakers opened: {opened}; retries: {}", told(summary.retries));
    if let Some(outbox) = &summary.outbox {
        let _ = writeln!(text, "  outbox: at most {}, at the end {}", outbox.most, outbox.left);
    }
    if let Some(notifications) = &summary.notifications {
        let _ = writeln!(text, "  notifications: sent {}, pending {}", notifications.sent, notifications.pending);
    }
    if let Some(log) = &summary.log {
        let _ = writeln!(text, "  log: {}", log.display());
    }
    text
}

fn answers(count: &Count) -> String {
    let all = count.answers;
    format!("2xx {}   4xx {}   5xx {}   none {}", all.fine, all.refused, all.failed, all.none)
}

fn purchases(count: &Count) -> String {
    let all = count.purchases;
    format!(
        "completed {}   declined {}   refunded {}   abandoned {}   restocked {}",
        all.completed, all.declined, all.refunded, all.abandoned, all.restocked
    )
}

fn breakers(figures: &Figures) -> String {
    let all: Vec<_> = figures.breakers.iter().map(|(service, state)| format!("{service} {state}")).collect();
    if all.is_empty() { "?".to_owned() } else { all.join("   ") }
}

fn notified(figures: &Figures) -> String {
    figures.notified.map_or_else(|| "?".to_owned(), |(sent, pending)| format!("{sent} sent   {pending} pending"))
}

/// The most frequent first.
fn listed(reasons: &std::collections::BTreeMap<String, u64>) -> String {
    let mut all: Vec<_> = reasons.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let all: Vec<_> = all.into_iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join("   ") }
}

fn told(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

fn slow(broken: Broken) -> String {
    if broken.slow.is_zero() { "off".to_owned() } else { format!("{:?}", broken.slow) }
}

fn failing(broken: Broken) -> String {
    if broken.failing.0 == 0 { "off".to_owned() } else { format!("{} %", broken.failing.0) }
}

fn webhooks(broken: Broken) -> &'static str {
    broken.webhooks.map_or("at once", super::broken::Webhooks::word)
}

fn dead(broken: Broken) -> &'static str {
    broken.dead.map_or("off", super::broken::Consumer::word)
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn millis(took: Duration) -> String {
    format!("{:.0} ms", took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_shows_switches_that_work_here_and_keys_that_are_there() {
        let mut view = View {
            count: Count::default(),
            figures: Figures::default(),
            broken: Broken { slow: Duration::from_millis(800), ..Broken::default() },
            gateway: "http://localhost:8083",
            operators: "http://localhost:9083",
            log: Some(Path::new("/tmp/x/shop.log")),
            settling: false,
        };
        let text = block(&view, true).join("\n");
        for part in [
            "localhost:9083/admin/ui",
            "[s] slow product: 800ms",
            "[p] failing provider: off",
            "[w] webhooks: at once",
            "[q] quit",
            "/tmp/x/shop.log",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        view.log = None;
        let text = block(&view, false).join("\n");
        assert!(!text.contains("slow product") && !text.contains('[') && text.contains("Ctrl-C"), "{text}");
    }

    #[test]
    fn lines_are_cut_to_the_width_whatever_letters_they_have() {
        assert_eq!(cut("settling …!", 10), "settling …");
    }
}
