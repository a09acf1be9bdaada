//! What must never be in a log: passwords and tokens, card numbers, payment tokens, addresses of people.

use std::collections::BTreeSet;

/// Secrets shorter than this are words that a log may have for other reasons.
const SHORTEST: usize = 6;

/// Digits of a card number (ISO/IEC 7812).
const CARD: std::ops::RangeInclusive<usize> = 13..=19;

/// The secrets among a process's variables: what their names say, and passwords in addresses.
#[must_use]
pub fn secrets(variables: &[(String, String)]) -> BTreeSet<String> {
    let is_secret = |name: &str| ["PASSWORD", "TOKEN", "SECRET"].iter().any(|word| name.contains(word));
    let mut secrets = BTreeSet::new();
    for (name, value) in variables {
        if is_secret(name) && !name.ends_with("_FILE") {
            secrets.insert(value.clone());
        }
        let password = value.split_once("://").and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'));
        secrets.extend(password.map(|(_, password)| password.to_owned()));
    }
    secrets.retain(|secret| secret.len() >= SHORTEST);
    secrets
}

/// The lines of `output` that have one of `secrets` in them, or what nobody ever wants to log.
#[must_use]
pub fn leaks(output: &str, secrets: &BTreeSet<String>) -> Vec<String> {
    let leaks = |line: &&str| {
        secrets.iter().any(|secret| line.contains(secret.as_str()))
            || words(line).any(|word| is_card(word) || is_payment_token(word))
            || has_address(line)
    };
    output.lines().filter(leaks).map(str::to_owned).collect()
}

/// Runs of letters, digits and underscores; so an id that happens to have many digits is no number, and seconds with many are
/// one word with their point.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let runs = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.');
    let words = runs.map(|run| run.trim_matches('.')).flat_map(|run| {
        let is_fraction = run.parse::<f64>().is_ok() && run.find('.').is_some_and(|at| at < *CARD.start());
        let point = if is_fraction { None } else { Some('.') };
        run.split(move |c| Some(c) == point)
    });
    words.filter(|word| !word.is_empty())
}

/// Whether it may be the number of a card: the first digit is that of a bank, travel or shop, the last one fits (Luhn).
fn is_card(word: &str) -> bool {
    let fits = |word: &str| {
        let sum: u32 = word
            .bytes()
            .rev()
            .enumerate()
            .map(|(place, byte)| {
                let digit = u32::from(byte - b'0');
                if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
            })
            .sum();
        sum.is_multiple_of(10)
    };
    CARD.contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && word.starts_with(['3', '4', '5', '6'])
        && fits(word)
}

fn is_payment_token(word: &str) -> bool {
    word.starts_with("tok_")
}

/// Whether there is something like `ada@example.com`.
fn has_address(line: &str) -> bool {
    line.match_indices('@').any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(after.len());
        let domain = after[..end].trim_end_matches('.');
        let top = domain.rsplit_once('.').map_or("", |(_, top)| top);
        before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-'))
            && top.len() >= 2
            && top.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_logged_is_found() {
        let variables =
            [("DATABASE_URL", "postgres://shop:hunter22@db:5432/x"), ("ADMIN_TOKEN", "open sesame"), ("PORT", "8080")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let secrets = secrets(&variables);
        assert_eq!(secrets.iter().collect::<Vec<_>>(), ["hunter22", "open sesame"]);
        for line in [
            r#"{"message":"cannot reach postgres://shop:hunter22@db"}"#,
            "token \"open sesame\" is wrong",
            "paid with 4111111111111111",
            r#"{"card":"5555555555554444"}"#,
            "paid with 4111111111111111.",
            "paid 4111111111111111.50",
            "token tok_decline was declined",
            "mail to ada.lovelace+shop@example.com, at once",
        ] {
            assert_eq!(leaks(&format!("fine\n{line}\nfine"), &secrets), [line]);
        }
        for line in [
            "4111111111111112",
            r#"{"elapsed_secs":1.4111111111111111}"#,
            "1795345200000",
            "0af7651916cd43dd8448eb211c80319c",
            "41111111-1111-1111-8111-411111111111",
            "made by someone@localhost, 3@7 or @example.com",
            "token=***",
        ] {
            assert!(leaks(line, &secrets).is_empty(), "{line}");
        }
    }
}
