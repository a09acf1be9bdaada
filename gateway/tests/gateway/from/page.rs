//! The page as what it says: pairs of configurations, each with a list of requests.

use shop_config::Sources;
use shop_gateway::Config;

/// One section of the page.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) title: String,
    /// The other proxy's configuration.
    pub(super) theirs: String,
    /// The settings, those in front of all included.
    pub(super) ours: String,
    /// The lines of the list.
    pub(super) list: Vec<String>,
}

/// All pairs.
pub(super) fn pairs() -> Vec<Pair> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gateway-from.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut sections = page.split("\n## ");
    let blocks_before = blocks(sections.next().expect("what stands before the pairs"));
    let [(_, before)] = &blocks_before[..] else { panic!("one block before the pairs: {blocks_before:?}") };
    sections.map(|section| pair(section, before)).collect()
}

fn pair(section: &str, before: &str) -> Pair {
    let title = section.lines().next().unwrap_or_default().to_owned();
    let mut pair = Pair { title, ..Pair::default() };
    for (kind, text) in blocks(section) {
        match kind {
            "nginx" | "yaml" => pair.theirs.push_str(&text),
            "toml" => pair.ours = format!("{before}\n{text}"),
            "text" => pair.list = text.lines().map(str::to_owned).collect(),
            other => panic!("{}: a block of {other:?}", pair.title),
        }
    }
    assert!(!pair.theirs.is_empty() && !pair.ours.is_empty() && pair.list.len() > 3, "{pair:?} is not whole");
    pair
}

/// The blocks of code in a text, each with its language.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((kind, block.join("\n") + "\n"));
        }
    }
    found
}

/// The settings as the gateway reads them from a file, on ports that are free.
pub(super) fn settings(text: &str) -> Config {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let sources = Sources { files: vec![file.path().to_owned()], ..Sources::default() };
    let loaded = shop_config::load::<Config>(&sources);
    let mut settings = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}")).settings;
    settings.admin.port = 0;
    settings.workers = 2;
    settings
}
