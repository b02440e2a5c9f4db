//! Completions and manual pages, made from the definition of the arguments: of each flag where its help is.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;
use super::exit::{Code, Failure};
use super::output;

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lograft", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page of the program or of a verb.
pub(super) fn man(verb: Option<&str>) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let command = match verb {
        None => program,
        Some(name) => of_verb(&program, name)?,
    };
    let mut page = Vec::new();
    let rendered = Man::new(command).source(concat!("lograft ", env!("CARGO_PKG_VERSION"))).render(&mut page);
    rendered.map_err(|error| Failure::new(Code::Error, format!("cannot make the manual page: {error}")))?;
    output::print(&String::from_utf8_lossy(&page))
}

fn of_verb(program: &Command, name: &str) -> Result<Command, Failure> {
    let verb = program
        .get_subcommands()
        .find(|verb| verb.get_name() == name || verb.get_all_aliases().any(|alias| alias == name))
        .cloned();
    verb.ok_or_else(|| {
        let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
        let message = format!("there is no verb {name:?}: the verbs are {}", names.join(", "));
        Failure::new(Code::BadArguments, message)
    })
}
