//! The dead letters of a bus without a server: a file a topic, a letter a line, and a folder of those to be tried again.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shop_clock::{Clock as _, SystemClock, rfc3339};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{BusError, Letter, LetterState, Letters, Message, Topic};

/// Dead letters in a folder. Programs may share it: one line is one write, and only the program with the consumers writes lines.
#[derive(Debug, Clone)]
pub struct LetterFiles(PathBuf);

/// A line of a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Buried {
        topic: String,
        key: String,
        group: String,
        reason: String,
        #[serde(default)]
        buried_at: Option<String>,
        headers: Vec<(String, String)>,
        payload: String,
    },
    /// The letter of that line was tried again.
    Replayed { replayed: usize, at: String },
}

impl LetterFiles {
    /// The letters in `folder`, which is made with the first of them.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Adds a letter.
    pub(crate) fn bury(&self, message: &Message, group: &str, reason: &str) -> std::io::Result<()> {
        let Message { topic, key, headers, payload } = message.clone();
        let payload = String::from_utf8_lossy(&payload).into_owned();
        let (group, reason) = (group.to_owned(), reason.to_owned());
        let buried_at = Some(rfc3339(SystemClock.now()));
        self.append(&message.topic, &Line::Buried { topic, key, group, reason, buried_at, headers, payload })
    }

    /// What `group` is to try again.
    pub(crate) fn asked(&self, group: &str) -> std::io::Result<Vec<Letter>> {
        let mut asked = Vec::new();
        for topic in Topic::ALL.into_iter().filter(|topic| self.requests(topic.as_str()).exists()) {
            let letters = self.of(topic.as_str())?.into_iter();
            asked.extend(letters.filter(|letter| letter.state == LetterState::Asked && letter.group == group));
        }
        Ok(asked)
    }

    /// Notes that a letter was tried again.
    pub(crate) fn settle(&self, letter: &Letter) -> std::io::Result<()> {
        let topic = &letter.message.topic;
        let Some(replayed) = line_of(letter) else { return Ok(()) };
        self.append(topic, &Line::Replayed { replayed, at: rfc3339(SystemClock.now()) })?;
        // Tried once more if it fails, which does nothing twice.
        let _ = self.withdraw(letter);
        Ok(())
    }

    /// Takes back that a letter is to be tried again.
    pub(crate) fn withdraw(&self, letter: &Letter) -> std::io::Result<()> {
        let topic = &letter.message.topic;
        let Some(line) = line_of(letter) else { return Ok(()) };
        let withdrawn = std::fs::remove_file(self.requests(topic).join(line.to_string()));
        // Fails while there are others; without any there is nothing to look into.
        let _ = std::fs::remove_dir(self.requests(topic));
        withdrawn
    }

    fn append(&self, topic: &str, line: &Line) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(self.file(topic))?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        // A line that a crash cut off must not swallow this one.
        let begin = if last == *b"\n" { "" } else { "\n" };
        file.write_all(format!("{begin}{}\n", serde_json::to_string(line)?).as_bytes())?;
        file.sync_data()
    }

    /// The letters of a topic.
    fn of(&self, topic: &str) -> std::io::Result<Vec<Letter>> {
        let text = match std::fs::read(self.file(topic)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (mut letters, mut replayed) = (Vec::new(), Vec::new());
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            match serde_json::from_slice(line) {
                Ok(Line::Replayed { replayed: line, .. }) => replayed.push(line),
                Ok(buried @ Line::Buried { .. }) => letters.extend(letter(topic, index + 1, buried)),
                Err(_) if line.is_empty() => {}
                Err(error) => tracing::warn!(topic, line = index + 1, error = %error, "a dead letter cannot be read"),
            }
        }
        for letter in &mut letters {
            let Some(line) = line_of(letter) else { continue };
            if self.requests(topic).join(line.to_string()).exists() {
                letter.state = LetterState::Asked;
            } else if replayed.contains(&line) {
                letter.state = LetterState::Replayed;
            }
        }
        Ok(letters)
    }

    fn file(&self, topic: &str) -> PathBuf {
        self.0.join(format!("{topic}.dlq.jsonl"))
    }

    fn requests(&self, topic: &str) -> PathBuf {
        self.0.join(format!("{topic}.replay"))
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

/// The letter of a line.
fn letter(of: &str, line: usize, buried: Line) -> Option<Letter> {
    let Line::Buried { topic, key, group, reason, buried_at, headers, payload } = buried else { return None };
    let message = Message { topic, key, headers, payload: payload.into_bytes() };
    let buried_at = buried_at.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok());
    let (id, state) = (format!("{of}/{line}"), LetterState::Open);
    Some(Letter { id, group, reason, buried_at, state, origin: None, message, is_whole: true })
}

fn line_of(letter: &Letter) -> Option<usize> {
    letter.id.rsplit_once('/')?.1.parse().ok()
}

#[async_trait]
impl Letters for LetterFiles {
    async fn read(&self) -> Result<Vec<Letter>, BusError> {
        let mut all = Vec::new();
        for topic in Topic::ALL {
            all.extend(self.of(topic.as_str()).map_err(BusError::new)?);
        }
        Ok(all)
    }

    /// Leaves a request: the consumers are in another process, which finds it within seconds or at its next start.
    async fn replay(&self, letter: &Letter) -> Result<(), BusError> {
        let line = line_of(letter).ok_or_else(|| BusError::new(format!("{} is no letter of a file", letter.id)))?;
        let folder = self.requests(&letter.message.topic);
        std::fs::create_dir_all(&folder).map_err(BusError::new)?;
        std::fs::write(folder.join(line.to_string()), "").map_err(BusError::new)
    }
}
