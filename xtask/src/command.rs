//! The table of commands, from which both the list and each `--help` are printed.

use anyhow::{Result, bail};

use crate::{bench, ci, shapes, test, tidy, tree};

/// One command of `cargo xtask`.
#[derive(Debug)]
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// One line for the list.
    pub about: &'static str,
    /// What `--help` says below that line.
    pub help: &'static str,
    run: fn(&[String]) -> Result<()>,
}

/// Every command, in the order in which a newcomer meets them.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        about: "Set up what the tests need and run them all",
        help: test::HELP,
        run: test::run,
    },
    Command {
        name: "tidy",
        about: "Check the work tree's own rules (also an ordinary test)",
        help: tidy::HELP,
        run: run_tidy,
    },
    Command {
        name: "shapes",
        about: "Write AWS's requests and answers from the public service models",
        help: shapes::HELP,
        run: shapes::run,
    },
    Command {
        name: "ci",
        about: "Run what CI runs: format, lints, tidy, tests",
        help: ci::HELP,
        run: ci::run,
    },
    Command {
        name: "bench",
        about: "Measure the platform beside its floors",
        help: bench::HELP,
        run: bench::run,
    },
];

/// Runs the command that the arguments name; without one, prints the list.
pub fn run(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", list());
        return Ok(());
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", list());
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("no command `{name}`; `cargo xtask` lists them");
    };
    // What follows `--` belongs to another program.
    let own = rest.split(|word| word == "--").next().unwrap_or_default();
    if own.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}\n\n{}", command.about, command.help);
        return Ok(());
    }
    (command.run)(rest)
}

/// The list of commands, a line each.
pub fn list() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND [--help]\n\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<8}{}\n", command.name, command.about));
    }
    text
}

fn run_tidy(arguments: &[String]) -> Result<()> {
    if let Some(word) = arguments.first() {
        bail!("`tidy` takes no argument, and got `{word}`");
    }
    let problems = tidy::check(&tree::root())?;
    if problems.is_empty() {
        println!("tidy");
        return Ok(());
    }
    for problem in &problems {
        println!("{problem}");
    }
    bail!("{} to tidy", tree::count(problems.len(), "place"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_listed_and_explained() {
        let list = list();
        for command in COMMANDS {
            assert!(list.contains(command.name), "{}", command.name);
            assert!(
                command.help.starts_with("Usage: cargo xtask"),
                "{}",
                command.name
            );
        }
    }

    #[test]
    fn unknown_commands_are_refused() {
        let error = run(&["tset".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no command `tset`; `cargo xtask` lists them"
        );
    }
}
