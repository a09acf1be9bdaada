//! The command line every binary shares.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::schema::Schema;
use crate::{Loaded, Problems, Settings, Sources, Var, Warnings, load};

/// What to do after reading settings.
#[derive(Debug)]
pub enum Start<S> {
    /// Run with these.
    Run(S),
    /// Nothing to run (`--check`, `--help`, or settings that are wrong): end with this code.
    Exit(ExitCode),
}

/// Exit code for settings or arguments that are wrong, as clap and most shells' tools have it.
const WRONG: u8 = 2;

/// Exit code when what was asked for could not be printed.
const UNSAID: u8 = 1;

/// Where settings come from; taken before and after the name of a command.
#[derive(Debug, Args)]
struct Given {
    /// TOML file with settings; may be given several times, later files win
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,

    /// Sets one setting, such as log.level=debug; wins over files and variables
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    given: Given,

    /// Checks the settings, lists every problem with its source, and ends with 0 or 2
    #[arg(long)]
    check: bool,

    /// Prints every effective setting and where it came from, secrets masked, and ends
    #[arg(long)]
    explain: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("use KEY=VALUE, such as log.level=debug".to_owned()),
    }
}

/// Settings to run with.
#[derive(Debug)]
pub struct Begun<S, C> {
    /// The settings.
    pub settings: S,
    /// What it takes to [`load`] them again while the process runs.
    pub sources: Sources,
    /// What was set and has no effect, to be logged.
    pub warnings: Warnings,
    /// What to do instead of what the program does without a command.
    pub command: Option<C>,
}

/// Reads arguments and environment of a program that can also be told to do one of `C` instead of what it does without.
/// Problems are printed, all of them; the code is then 2.
pub fn start<S: Settings, C: Subcommand>(version: &'static str) -> Start<Begun<S, C>> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    match decide::<S, C>(version, std::env::args_os(), env) {
        Decision::Run(begun) => Start::Run(begun),
        Decision::Exit { code, out, err } => Start::Exit(ExitCode::from(tell(code, &out, &err))),
    }
}

/// Says it all. What could not be said was not done: a full disk must not look like success. A reader that went away
/// (`--help | head`) has read enough.
fn tell(code: u8, out: &str, err: &str) -> u8 {
    let mut stdout = std::io::stdout();
    let told = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    // With standard error closed there is nobody to tell.
    let _ = std::io::stderr().write_all(err.as_bytes());
    match told {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "error: standard output cannot be written: {error}");
            UNSAID
        }
        _ => code,
    }
}

enum Decision<T> {
    Run(T),
    Exit { code: u8, out: String, err: String },
}

fn decide<S: Settings, C: Subcommand>(
    version: &'static str,
    args: impl IntoIterator<Item = OsString>,
    env: Vec<(String, String)>,
) -> Decision<Begun<S, C>> {
    let (Arguments { given, check, explain }, command) = match arguments::<S, C>(version, args) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let sources = Sources { files: given.config, env, set: given.set };
    match load::<S>(&sources) {
        Err(problems) => Decision::Exit { code: WRONG, out: String::new(), err: listed(S::NAME, &problems) },
        Ok(loaded) if explain => {
            Decision::Exit { code: 0, out: loaded.explain(), err: warned(S::NAME, &loaded.warnings) }
        }
        Ok(loaded) if check => {
            let out = format!("{}: the settings are fine\n", S::NAME);
            Decision::Exit { code: 0, out, err: warned(S::NAME, &loaded.warnings) }
        }
        Ok(Loaded { settings, warnings, .. }) => Decision::Run(Begun { settings, sources, warnings, command }),
    }
}

fn arguments<S: Settings, C: Subcommand>(
    version: &'static str,
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Arguments, Option<C>), clap::Error> {
    let program = C::augment_subcommands(Arguments::command()).subcommand_required(false).arg_required_else_help(false);
    let program = program.disable_help_subcommand(true).mut_subcommands(with_given);
    let program = program.name(S::NAME).version(version).about(S::ABOUT).after_help(variables::<S>());
    let matches = program.try_get_matches_from(args)?;
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    let mut outer = &matches;
    while let Some((_, inner)) = outer.subcommand() {
        let given = Given::from_arg_matches(inner)?;
        arguments.given.config.extend(given.config);
        arguments.given.set.extend(given.set);
        outer = inner;
    }
    let command = matches.subcommand().map(|_| C::from_arg_matches(&matches)).transpose()?;
    Ok((arguments, command))
}

/// A command and those below it, each with the flags that say where settings come from.
fn with_given(command: clap::Command) -> clap::Command {
    // What is added brings a description of its own along.
    let about = command.get_about().cloned();
    Given::augment_args(command).about(about.unwrap_or_default()).mut_subcommands(with_given)
}

fn listed(program: &str, problems: &Problems) -> String {
    let list: String = problems.iter().fold(String::new(), |list, problem| list + &format!("  {problem}\n"));
    format!("{program}: {} in the settings\n{list}{}", problems.count(), warned(program, problems.warnings()))
}

fn warned(program: &str, warnings: &Warnings) -> String {
    warnings.sentences().iter().fold(String::new(), |list, warning| list + &format!("{program}: warning: {warning}\n"))
}

fn usage<S>(error: &clap::Error) -> Decision<S> {
    let text = error.render().to_string();
    if error.use_stderr() {
        Decision::Exit { code: WRONG, out: String::new(), err: text }
    } else {
        Decision::Exit { code: 0, out: text, err: String::new() }
    }
}

/// The variables with defaults and docs, for the end of `--help`.
fn variables<S: Settings>() -> String {
    let vars = S::vars();
    let mut out = String::from("Environment variables:\n");
    if let Ok(schema) = Schema::of::<S>() {
        // A variable that fills several settings has a line for the first of them.
        let first = |(index, var): &(usize, &Var)| vars.iter().position(|other| other.name == var.name) == Some(*index);
        let rows: Vec<(String, &str, bool)> = vars
            .iter()
            .enumerate()
            .filter(first)
            .map(|(_, var)| var)
            .map(|var| {
                let default = schema.default_text(&var.key);
                (format!("{}={default}", var.name), var.doc, schema.secrets.contains(var.key.as_ref()))
            })
            .collect();
        let width = rows.iter().map(|(left, ..)| left.len()).max().unwrap_or(0).min(48);
        for (left, doc, secret) in rows {
            let file = if secret { " (or in a file named by the variable with _FILE appended)" } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {left:width$}  {doc}{file}");
        }
    }
    out.push_str(
        "\nEvery setting shown by --explain can also be set as SHOP_SECTION__KEY, such as SHOP_LOG__LEVEL=debug.\n\
         Order, later wins: defaults, --config files, the variables above, SHOP_ variables, --set.",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Suite;

    fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<u8>, String, String) {
        let args = std::iter::once("suite").chain(args.iter().copied()).map(OsString::from);
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match decide::<Suite, Verb>("1.2.3", args, env) {
            Decision::Run(_) => (None, String::new(), String::new()),
            Decision::Exit { code, out, err } => (Some(code), out, err),
        }
    }

    #[derive(Debug, PartialEq, Subcommand)]
    enum Verb {
        /// Sings a song
        Sing {
            /// How loud, in decibels
            #[arg(long, default_value_t = 40)]
            loud: u8,
        },
        /// Plays something
        #[command(subcommand)]
        Play(Instrument),
    }

    #[derive(Debug, PartialEq, Subcommand)]
    enum Instrument {
        /// Plays the drum
        Drum,
    }

    fn told(args: &[&str]) -> (u16, Option<Verb>) {
        let args = std::iter::once("suite").chain(args.iter().copied()).map(OsString::from);
        match decide::<Suite, Verb>("1.2.3", args, Vec::new()) {
            Decision::Run(begun) => (begun.settings.product.http.port, begun.command),
            Decision::Exit { err, .. } => panic!("{err}"),
        }
    }

    #[test]
    fn a_command_has_flags_of_its_own_and_takes_settings_before_and_after_its_name() {
        assert_eq!(told(&[]), (8080, None));
        assert_eq!(told(&["sing"]), (8080, Some(Verb::Sing { loud: 40 })));
        assert_eq!(told(&["--set", "product.http.port=1", "sing"]).0, 1);
        let inner = ["play", "--set", "product.http.port=1", "drum", "--set", "product.http.port=2"];
        assert_eq!(told(&inner), (2, Some(Verb::Play(Instrument::Drum))));
        let both = ["--set", "product.http.port=1", "sing", "--loud", "7", "--set", "product.http.port=2"];
        assert_eq!(told(&both), (2, Some(Verb::Sing { loud: 7 })));
    }

    #[test]
    fn help_names_commands_and_a_commands_help_its_flags() {
        let (_, out, _) = run(&["--help"], &[]);
        assert!(out.starts_with(Suite::ABOUT) && out.contains("Sings a song"), "{out}");
        let (code, out, _) = run(&["sing", "--help"], &[]);
        assert_eq!(code, Some(0));
        assert!(
            out.starts_with("Sings a song")
                && out.contains("--loud")
                && out.contains("How loud, in decibels")
                && out.contains("--set"),
            "{out}"
        );
        let (code, _, err) = run(&["dance"], &[]);
        assert_eq!(code, Some(2));
        assert!(err.contains("dance"), "{err}");
    }

    #[test]
    fn no_arguments_run_on_the_defaults() {
        assert_eq!(run(&[], &[]).0, None);
    }

    #[test]
    fn check_says_whether_all_is_well() {
        let (code, out, _) = run(&["--check"], &[]);
        assert_eq!((code, out.as_str()), (Some(0), "suite: the settings are fine\n"));
        let (code, out, err) = run(&["--check"], &[("PORT", "high"), ("DB_SSL_MODE", "maybe")]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        insta::assert_snapshot!(err, @r#"
        suite: 2 problems in the settings
          product.database.ssl_mode = "maybe" (environment variable DB_SSL_MODE): expected one of false, true, disable, prefer, require, verify-full
          product.http.port = "high" (environment variable PORT): expected a whole number from 0 to 65535
        "#);
    }

    #[test]
    fn help_lists_every_variable_with_its_default() {
        let (code, out, _) = run(&["--help"], &[]);
        assert_eq!(code, Some(0));
        for var in Suite::vars() {
            assert!(out.contains(var.name) && out.contains(var.doc), "{}: {out}", var.name);
        }
        assert!(out.contains("PORT=8080"), "{out}");
        assert!(out.contains("DB_PASSWORD=***"), "{out}");
        assert!(!out.contains("=password"), "{out}");
        assert!(out.contains("DATABASE_URL= "), "a secret that is not set is shown as such: {out}");
    }

    #[test]
    fn explain_shows_values_and_sources_but_no_secret() {
        let (code, out, _) = run(&["--explain", "--set", "basket.http.port=1"], &[("DB_PASSWORD", "hunter2")]);
        assert_eq!(code, Some(0));
        let line = |key: &str| {
            let found = out.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap_or_default();
            found.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("basket.http.port"), "basket.http.port = 1 flag --set basket.http.port");
        assert_eq!(line("product.http.port"), "product.http.port = 8080 default");
        assert_eq!(
            line("product.database.password"),
            "product.database.password = \"***\" environment variable DB_PASSWORD"
        );
        assert_eq!(line("product.database.url"), "product.database.url = (unset) default");
        assert!(!out.contains("hunter2"));
    }

    #[test]
    fn version_and_wrong_arguments_end_the_process() {
        assert_eq!(run(&["--version"], &[]), (Some(0), "suite 1.2.3\n".to_owned(), String::new()));
        let (code, _, err) = run(&["--set", "nonsense"], &[]);
        assert_eq!(code, Some(2));
        assert!(err.contains("use KEY=VALUE"), "{err}");
        assert_eq!(run(&["--wrong"], &[]).0, Some(2));
    }
}
