//! `mailmend completions` and `mailmend man`: what the arguments tell of themselves.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::arguments::Cli;
use super::exit::Exit;
use super::failure::Failure;

pub(super) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mailmend", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Exit::Success)
}

pub(super) fn man(out: &Path) -> Result<Exit, Failure> {
    std::fs::create_dir_all(out)
        .and_then(|()| {
            let mut top = Cli::command().disable_help_subcommand(true);
            top.build();
            pages(&top, out)
        })
        .map_err(|why| {
            let what = format!("could not write the manual into `{}`: {why}", out.display());
            Failure::new("C040-output", what)
        })?;
    Ok(Exit::Success)
}

/// Pages of section 1, of the command and of all below it. None of them has a date: the same program writes the same
/// pages.
fn pages(command: &clap::Command, out: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        pages(below, out)?;
    }
    clap_mangen::Man::new(command.clone())
        .section("1")
        .source(concat!("mailmend ", env!("CARGO_PKG_VERSION")))
        .manual("mailmend")
        .generate_to(out)
        .map(drop)
}
