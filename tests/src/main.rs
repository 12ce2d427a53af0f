//! `mailmend-lab`: on Linux the whole lab, under Windows what a server of it is made of.

#[cfg(unix)]
mod command_line;
#[cfg(windows)]
mod server_command_line;
mod server_tool;

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    return command_line::main();
    #[cfg(windows)]
    server_command_line::main()
}
