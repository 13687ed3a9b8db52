//! `docs/reference/cli.md`: every command, from the table that the command line is parsed by.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, Command, CommandFactory, Parser};

use super::page::{Page, code};
use crate::cli::args::Cli;

const ABOUT: &str = "Every command of `trapjaw`, as `trapjaw help` shows it. \
    An option goes before the environment variable that stands for it, and the variable before the default; \
    what a daemon does that is told nothing is in [settings.md](settings.md). \
    What a command's exit code says is in [errors.md](errors.md#exit-codes).";

#[test]
fn the_command_line_is_as_it_was_reviewed() {
    super::review("reference/cli.md", &page());
}

/// What a page says of a bound is what the parser does.
#[test]
fn the_bounds_of_the_command_line_hold() {
    for (line, max) in [("bench --seconds", 3_600_u32), ("trigger try t.yaml --last", 1_000), ("run ls --limit", 1_000)]
    {
        for (number, expected) in [(0, false), (1, true), (max, true), (max + 1, false)] {
            let line = format!("trapjaw {line} {number}");
            assert_eq!(Cli::try_parse_from(line.split(' ')).is_ok(), expected, "{line}");
        }
    }
}

fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = Page::new("Commands", ABOUT);
    page.code("text", &usage(&mut root));
    page.section("Options of every command");
    page.text("They may stand before or after the command.");
    page.table(HEADS, &rows(&root, Arg::is_global_set));
    for command in root.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        show(command, "trapjaw", &mut page);
    }
    let mut variables = BTreeMap::new();
    gather(&root, &mut Vec::new(), &mut variables);
    page.section("Environment variables");
    page.text(
        "Beside these, `trapjaw` reads `HOME`, for the place of the context, and what [the settings](settings.md) expose \
         to definitions.",
    );
    let rows: Vec<[String; 2]> = variables.into_iter().map(|(name, uses)| [code(&name), uses.join(", ")]).collect();
    page.table(["Variable", "Stands for"], &rows);
    page.finish()
}

fn show(command: &mut Command, outer: &str, page: &mut Page) {
    let name = format!("{outer} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    if command.has_subcommands() {
        page.section(&format!("`{name}`"));
        page.text(&sentence(&about));
        for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            show(inner, &name, page);
        }
        return;
    }
    if outer == "trapjaw" {
        page.section(&format!("`{name}`"))
    } else {
        page.part(&format!("`{name}`"))
    }
    page.text(&sentence(&about));
    page.code("text", &usage(command));
    let rows = rows(command, |arg| !arg.is_global_set() && arg.get_id() != "help");
    if !rows.is_empty() {
        page.table(HEADS, &rows);
    }
}

const HEADS: [&str; 5] = ["Argument", "Variable", "Default", "Values", "Meaning"];

fn rows(command: &Command, is_shown: impl Fn(&Arg) -> bool) -> Vec<[String; 5]> {
    command.get_arguments().filter(|arg| is_shown(arg)).map(|arg| row(command, arg)).collect()
}

fn row(command: &Command, arg: &Arg) -> [String; 5] {
    let words = |words: Vec<String>| words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", ");
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let defaults = arg.get_default_values().iter().filter(|_| takes_value);
    let default = defaults.map(|value| value.to_string_lossy().into_owned()).collect();
    let values = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let mut text = sentence(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    for value in arg.get_possible_values().iter().filter(|_| takes_value) {
        let meaning = value.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!(" `{}`: {}", value.get_name(), sentence(&meaning)));
    }
    let others: Vec<String> =
        command.get_arg_conflicts_with(arg).into_iter().map(|other| code(&shown(other))).collect();
    if !others.is_empty() {
        text.push_str(&format!(" Not together with {}.", others.join(", ")));
    }
    let argument = if arg.is_hide_set() { "(by the variable only)".into() } else { code(&shown(arg)) };
    [argument, code(&variable(arg)), words(default), if takes_value { words(values) } else { String::new() }, text]
}

/// The argument as it is typed.
fn shown(arg: &Arg) -> String {
    let value =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
    let dots = if matches!(arg.get_action(), ArgAction::Append) && arg.is_positional() { "…" } else { "" };
    match (arg.get_long(), arg.get_short()) {
        (None, _) if arg.is_required_set() => format!("{value}{dots}"),
        (None, _) => format!("[{}]{dots}", value.trim_matches(['<', '>'])),
        (Some(long), short) => {
            let short = short.map(|short| format!("-{short}, ")).unwrap_or_default();
            let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            if takes_value { format!("{short}--{long} {value}") } else { format!("{short}--{long}") }
        }
    }
}

fn usage(command: &mut Command) -> String {
    command.render_usage().to_string().trim_start_matches("Usage: ").to_owned()
}

fn variable(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn gather(command: &Command, path: &mut Vec<String>, variables: &mut BTreeMap<String, Vec<String>>) {
    path.push(command.get_name().to_owned());
    for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
        let uses = variables.entry(variable(arg)).or_default();
        match (arg.is_global_set(), arg.is_hide_set()) {
            (true, _) if path.len() == 1 => uses.push(format!("{} of every command", code(&shown(arg)))),
            (true, _) => {}
            (false, true) => uses.push(format!("what `{}` is told by it alone", path.join(" "))),
            (false, false) => uses.push(format!("{} of `{}`", code(&shown(arg)), path.join(" "))),
        }
    }
    for inner in command.get_subcommands() {
        gather(inner, path, variables);
    }
    path.pop();
}

/// The parser takes the full stop off a comment of one sentence.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
