//! Agents, and the fleet that they are.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{duration, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Agent {
    /// Make a token that lets the agent of one server enrol once
    #[command(after_help = "\
The token is shown once and is not stored. On the server:

  mailmend-agent enrol --config /etc/mailmend/agent.toml --token TOKEN \\
      --ca ca.pem

where ca.pem is the file that --ca wrote, or the one in the operator's identity folder.

Examples:
  mailmend agent token SRV-B --site oslo
  mailmend agent token SRV-B --site oslo --label tier=gold --valid 15m \\
      --ca ca.pem
  mailmend agent token SRV-B --site oslo -o json | jq -r .token")]
    Token {
        /// The server; the agent's name must be the same
        name: String,
        /// The site that the server belongs to: servers that share routing
        #[arg(long)]
        site: String,
        /// A label, may be given several times
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// How long the token may be used: 1m to 7d
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        valid: Duration,
        /// Write the authority's certificate here, for `mailmend-agent enrol --ca`
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// List agents
    #[command(after_help = "\
Examples:
  mailmend agent list
  mailmend agent list -l site=oslo,ims.direction=outbound
  mailmend agent list -o json | jq '.agents[] | select(.connected|not).name'")]
    List {
        /// Only these, such as `site=oslo,role in (a,b),!retired`
        #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
        selector: String,
    },
    /// Take a server in hand: nothing begins at its site until it is given back
    #[command(after_help = with_codes("\
No binding acts at its site, and rollouts wait there; `mailmend rollout explain` says for whom. A run \
that is open goes to the end of what was released to it, so that service comes back.

Examples:
  mailmend agent in-hand SRV-B --why 'new disk, until noon'
  mailmend agent in-hand SRV-B --why 'call 4711' --by anna"))]
    InHand {
        /// The server
        name: String,
        /// Why, for those who wait
        #[arg(long)]
        why: String,
        /// Who has it, where that is somebody else than the operator
        #[arg(long, default_value = "")]
        by: String,
    },
    /// Give a server back that was taken in hand
    #[command(after_help = "\
Examples:
  mailmend agent give-back SRV-B")]
    GiveBack {
        /// The server
        name: String,
    },
    /// End the certificates of an agent at once, and its connection with them
    #[command(after_help = with_codes("\
Its unused tokens end too. What it was told before it may still carry out to the end of what was released \
to it, so that service comes back. It comes back with a new token: mailmend agent token, then \
mailmend-agent enrol --again.

Examples:
  mailmend agent revoke SRV-B --why 'its disk was stolen'"))]
    Revoke {
        /// The server
        name: String,
        /// Why, for those who find the connection closed
        #[arg(long)]
        why: String,
    },
    /// Show all that is known of one agent
    #[command(after_help = "\
Examples:
  mailmend agent show SRV-B")]
    Show {
        /// The server
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Fleet {
    /// List where which policies' symptoms stand, since when, and what is done about them
    #[command(after_help = with_codes("\
Agents look for the symptoms of bound policies all the time; `mailmend policy bind` binds one. What an \
agent cannot tell is listed too.

Examples:
  mailmend fleet symptoms
  mailmend fleet symptoms --all -l site=oslo
  mailmend fleet symptoms -o json |
      jq '.symptoms[] | select(.state == \"stands\") | .agent'"))]
    Symptoms {
        /// Also symptoms that are known not to stand
        #[arg(long)]
        all: bool,
        /// Only on these servers
        #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
        selector: String,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "a label is written KEY=VALUE".to_owned())?;
    if key.is_empty() || value.is_empty() {
        return Err("a label is written KEY=VALUE, both not empty".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
