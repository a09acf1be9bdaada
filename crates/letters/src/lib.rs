//! Dead letters for people: what events a program gave up on, why, and trying them again.

mod view;

use std::io::Write as _;

use anyhow::{Context as _, ensure};
use shop_clock::{Clock, SystemClock};
use shop_config::Kafka;
use shop_events::{Letter, LetterState, Letters};
use shop_identity::IdentitySettings;
use shop_kafka::KafkaBus;
use shop_telemetry::Metrics;

/// What a program that consumes events from Kafka does instead of serving.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// What every service can do.
    #[command(flatten)]
    Identity(shop_identity::Command),

    /// Shows the events that could not take effect, and tries them again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

impl Command {
    /// Does it, for the program of these settings, whose consumers are `groups`.
    pub async fn run(self, identity: &IdentitySettings, kafka: &Kafka, groups: &[&str]) -> anyhow::Result<()> {
        match self {
            Self::Identity(command) => command.run(identity),
            Self::DeadLetters(command) => command.run_on_kafka(kafka, groups).await,
        }
    }
}

/// What can be done about dead letters.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLetters {
    /// Lists those that nobody did anything about yet
    List {
        /// Among them.
        #[command(flatten)]
        which: Which,

        /// Lists those that were tried again, too
        #[arg(long)]
        all: bool,

        /// As JSON, a line a letter, headers and body included
        #[arg(long)]
        json: bool,
    },
    /// Shows one with its headers and its body
    Show {
        /// Which, as the list names it, such as stock-events/0/17
        id: String,
    },
    /// Tries some again: only the group that gave an event up gets it, and what took effect already takes none again
    Replay {
        /// Which, as the list names them
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,

        /// All that nobody did anything about yet; --group and --type choose among them
        #[arg(long)]
        all: bool,

        /// Among them.
        #[command(flatten)]
        which: Which,
    },
}

/// Chooses among letters.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only what this group of consumers gave up
    #[arg(long)]
    group: Option<String>,

    /// Only events of this type, such as payment.completed
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

impl Which {
    fn takes(&self, letter: &Letter) -> bool {
        self.group.as_ref().is_none_or(|group| *group == letter.group)
            && self.kind.as_ref().is_none_or(|kind| letter.event_type() == Some(kind))
    }
}

impl DeadLetters {
    /// Does it for `groups` of a Kafka cluster.
    pub async fn run_on_kafka(self, kafka: &Kafka, groups: &[&str]) -> anyhow::Result<()> {
        let bus = KafkaBus::open(kafka, "dead-letters", &Metrics::new("dead-letters"))?;
        self.run(&bus.letters(groups)).await
    }

    /// Does it and says what came of it.
    pub async fn run(self, letters: &dyn Letters) -> anyhow::Result<()> {
        let said = self.answer(letters, &SystemClock).await?;
        let mut stdout = std::io::stdout();
        stdout.write_all(said.as_bytes()).and_then(|()| stdout.flush()).context("standard output cannot be written")
    }

    async fn answer(self, letters: &dyn Letters, clock: &dyn Clock) -> anyhow::Result<String> {
        let all = letters.read().await.context("the dead letters cannot be read")?;
        match self {
            Self::List { which, all: replayed, json } => {
                let wanted =
                    |letter: &&Letter| which.takes(letter) && (replayed || letter.state != LetterState::Replayed);
                let listed: Vec<_> = all.iter().filter(wanted).collect();
                Ok(if json { view::lines(&listed) } else { view::table(&listed) })
            }
            Self::Show { id } => Ok(view::whole(find(&all, &id)?)),
            Self::Replay { ids, all: every, which } => {
                let now = clock.now();
                if every {
                    let open = |letter: &&Letter| letter.state == LetterState::Open && which.takes(letter);
                    let (chosen, old): (Vec<_>, Vec<_>) =
                        all.iter().filter(open).partition(|letter| letter.in_time(now).is_ok());
                    let old = old.into_iter().filter_map(|letter| letter.in_time(now).err());
                    let said = replay(letters, &chosen).await?;
                    return Ok(old.fold(said, |said, old| format!("{said}passed over: {old}\n")));
                }
                let chosen: Vec<_> = ids.iter().map(|id| find(&all, id)).collect::<Result<_, _>>()?;
                chosen.iter().try_for_each(|letter| letter.in_time(now))?;
                replay(letters, &chosen).await
            }
        }
    }
}

fn find<'a>(all: &'a [Letter], id: &str) -> anyhow::Result<&'a Letter> {
    all.iter().find(|letter| letter.id == id).with_context(|| format!("there is no dead letter {id}: see the list"))
}

/// Tries them again, the oldest first, as far as it goes.
async fn replay(letters: &dyn Letters, chosen: &[&Letter]) -> anyhow::Result<String> {
    if chosen.is_empty() {
        return Ok("there is nothing to try again\n".to_owned());
    }
    let mut said = Vec::new();
    for (index, letter) in chosen.iter().enumerate() {
        ensure!(!letter.group.is_empty(), "{} does not say who gave it up", letter.id);
        let asked = letters.replay(letter).await;
        asked.with_context(|| format!("{index} of {} are tried again, {} is not", chosen.len(), letter.id))?;
        said.push(format!("{} is tried again by {}\n", letter.id, letter.group));
    }
    Ok(said.concat())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use shop_clock::ManualClock;
    use shop_events::{BusError, Message};

    use super::*;

    /// Three letters, and which of them were tried again.
    #[derive(Default)]
    struct Pile(Mutex<Vec<String>>);

    fn letter(id: &str, group: &str, kind: &str, state: LetterState) -> Letter {
        let headers = [("ce_id", "7"), ("ce_type", kind)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (topic, key) = ("payment-events".to_owned(), "3".to_owned());
        Letter {
            id: id.to_owned(),
            group: group.to_owned(),
            reason: "no such line\nat all".to_owned(),
            buried_at: Some(time::macros::datetime!(2026-01-02 03:04:05 UTC)),
            state,
            origin: None,
            message: Message { topic, key, headers: headers.to_vec(), payload: b"{\"a\":1}".to_vec() },
            is_whole: true,
        }
    }

    #[async_trait]
    impl Letters for Pile {
        async fn read(&self) -> Result<Vec<Letter>, BusError> {
            Ok(vec![
                letter("payment-events/0/1", "notification", "payment.completed", LetterState::Open),
                letter("payment-events/0/2", "product-sales", "payment.failed", LetterState::Open),
                letter("payment-events/0/3", "notification", "payment.failed", LetterState::Replayed),
            ])
        }

        async fn replay(&self, letter: &Letter) -> Result<(), BusError> {
            self.0.lock().push(letter.id.clone());
            Ok(())
        }
    }

    #[derive(clap::Parser)]
    struct Program {
        #[command(subcommand)]
        command: DeadLetters,
    }

    async fn said(letters: &Pile, words: &str) -> String {
        said_on(letters, words, time::macros::datetime!(2026-01-11 03:04:05 UTC)).await
    }

    async fn said_on(letters: &Pile, words: &str, now: time::OffsetDateTime) -> String {
        let words = std::iter::once("dead-letters").chain(words.split(' '));
        let program = <Program as clap::Parser>::try_parse_from(words).expect("is understood");
        let clock = ManualClock::at(now);
        program.command.answer(letters, &clock).await.unwrap_or_else(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn a_person_sees_what_is_open_and_why() {
        insta::assert_snapshot!(said(&Pile::default(), "list").await, @r"
        LETTER              BURIED                GROUP          TYPE               EVENT  STATE  REASON
        payment-events/0/1  2026-01-02T03:04:05Z  notification   payment.completed  7      open   no such line at all
        payment-events/0/2  2026-01-02T03:04:05Z  product-sales  payment.failed     7      open   no such line at all
        ");
        assert_eq!(said(&Pile::default(), "list --all").await.lines().count(), 4);
        let json = said(&Pile::default(), "list --json --group product-sales").await;
        insta::assert_snapshot!(json, @r#"{"body":{"a":1},"buried_at":"2026-01-02T03:04:05Z","event_id":"7","group":"product-sales","headers":[["ce_id","7"],["ce_type","payment.failed"]],"key":"3","letter":"payment-events/0/2","origin":null,"reason":"no such line\nat all","state":"open","topic":"payment-events","type":"payment.failed","whole":true}"#);
        let shown = said(&Pile::default(), "show payment-events/0/1").await;
        assert!(shown.contains("  ce_type: payment.completed\n") && shown.ends_with("{\"a\":1}\n"), "{shown}");
    }

    #[tokio::test]
    async fn a_letter_is_tried_again_on_day_nine_and_refused_when_nobody_knows_any_more_what_took_effect() {
        let on = |day| time::macros::datetime!(2026-01-02 03:04:05 UTC) + time::Duration::days(day);
        for (day, tried) in [(9, 1), (37, 1), (38, 0), (400, 0)] {
            let letters = Pile::default();
            let said = said_on(&letters, "replay payment-events/0/1", on(day)).await;
            assert_eq!(letters.0.lock().len(), tried, "{said}");
            assert_eq!(said.contains("a replay might do it twice"), tried == 0, "{said}");
        }
        let said = said_on(&Pile::default(), "replay --all", on(38)).await;
        assert_eq!(said.lines().filter(|line| line.starts_with("passed over: payment-events/0/")).count(), 2, "{said}");
    }

    #[tokio::test]
    async fn a_replay_that_fails_makes_no_letter_younger() {
        let first = letter("payment-events/0/1", "g", "payment.completed", LetterState::Open);
        let again =
            Letter { message: first.again(), buried_at: Some(time::macros::datetime!(2026-02-01 0:00 UTC)), ..first };
        assert!(again.in_time(time::macros::datetime!(2026-02-08 0:00 UTC)).is_ok());
        assert!(again.in_time(time::macros::datetime!(2026-02-09 0:00 UTC)).is_err(), "37 days after the first");
        let unknown =
            Letter { message: Message { headers: Vec::new(), ..again.message.clone() }, buried_at: None, ..again };
        assert!(unknown.in_time(time::macros::datetime!(2026-02-01 0:00 UTC)).is_err());
    }

    #[tokio::test]
    async fn what_is_tried_again_can_be_chosen() {
        for (words, tried) in [
            ("replay payment-events/0/3", "payment-events/0/3"),
            ("replay --all", "payment-events/0/1 payment-events/0/2"),
            ("replay --all --type payment.completed", "payment-events/0/1"),
            ("replay --all --group product-sales", "payment-events/0/2"),
            ("replay --all --group basket", ""),
            ("replay payment-events/9/9", ""),
        ] {
            let letters = Pile::default();
            let said = said(&letters, words).await;
            assert_eq!(letters.0.lock().join(" "), tried, "{words}: {said}");
        }
        assert_eq!(said(&Pile::default(), "show x/1").await, "there is no dead letter x/1: see the list");
        assert!(<Program as clap::Parser>::try_parse_from(["dead-letters", "replay"]).is_err());
    }
}
