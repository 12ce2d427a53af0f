//! `enrol`.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use mailmend_agent::config::Config;
use mailmend_agent::enrol::{Enrolment, enrol as call};
use mailmend_agent::identity::time;

use super::failure::Failure;
use super::run::{now_ms, runtime};
use super::table::say;

/// The most bytes of a token.
const LONGEST: u64 = 4096;

#[derive(Args)]
pub(super) struct Enrol {
    /// The token that `mailmend agent token NAME` printed; `-` reads it from standard input, so that
    /// it stands in no list of processes
    #[arg(long, env = "MAILMEND_AGENT_TOKEN", hide_env_values = true)]
    token: String,
    /// The certificate of the controller's authority, `ca.pem`
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Replace a certificate that still holds; the key stays
    #[arg(long)]
    again: bool,
}

pub(super) fn enrol(config: &Config, what: &Enrol) -> Result<(), Failure> {
    let mut token = what.token.clone();
    if token == "-" {
        token.clear();
        std::io::stdin()
            .take(LONGEST)
            .read_to_string(&mut token)
            .map_err(|why| Failure::usage(format!("the token cannot be read: {why}")))?;
    }
    let enrolment = Enrolment {
        address: &config.controller.value,
        data: &config.data.value,
        name: &config.name.value,
        token: token.trim(),
        ca_file: &what.ca,
        again: what.again,
        now_ms: now_ms(),
    };
    let validity = runtime()?.block_on(call(enrolment))?;
    say(&format!(
        "`{}` is enrolled at {}; its certificate holds until {} and is renewed by itself",
        config.name.value,
        config.controller.value,
        time(validity.until_ms)
    ))
}
