//! `completions` and `man`: what the arguments tell of themselves.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;
use super::table::say;

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mailmend-agent", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}

pub(super) fn man(out: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(out)
        .and_then(|()| {
            let mut top = Cli::command().disable_help_subcommand(true);
            top.build();
            pages(&top, out)
        })
        .map_err(|why| {
            Failure::failed(format!(
                "could not write the manual into `{}`: {why}",
                out.display()
            ))
        })
}

/// Pages of section 8, of the command and of all below it: `mailmend-agent(1)` is the page of the operators' command
/// `mailmend agent`. None of them has a date: the same program writes the same pages.
fn pages(command: &clap::Command, out: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        pages(below, out)?;
    }
    clap_mangen::Man::new(command.clone())
        .section("8")
        .source(concat!("mailmend ", env!("CARGO_PKG_VERSION")))
        .manual("mailmend")
        .generate_to(out)
        .map(drop)
}
