//! Who may call.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{duration, with_codes};
use crate::trust::role::Role;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Operator {
    /// Let a person in: makes a token that works once
    #[command(after_help = with_codes("\
Roles: viewer looks, and pauses; operator also acts; approver also lets others' changes go on; admin also \
says what may run and who may call. Nobody approves their own change.

Examples:
  mailmend operator add anna --role operator
  mailmend operator add ben --role approver --valid 1d --ca ca.pem
  mailmend operator add anna --role operator --again"))]
    Add {
        /// The operator's name, as it will stand in the audit trail
        name: String,
        /// What it may do: viewer, operator, approver or admin
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// How long the token may be used: 1m to 7d
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        valid: Duration,
        /// For a name that is there already: its role becomes this, and it may enrol anew
        #[arg(long)]
        again: bool,
        /// Write the authority's certificate here, for `mailmend operator enrol --ca`
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Become an operator with a token: makes the key here, and the folder for --identity
    #[command(override_usage = "\
mailmend operator enrol NAME --token-file FILE --ca FILE --into DIR
       mailmend operator enrol NAME --token TOKEN --ca FILE --into DIR")]
    #[command(after_help = with_codes("\
The key is made in the folder and never leaves it.

Examples:
  mailmend operator enrol anna --token TOKEN --ca ca.pem --into ~/.mailmend
  mailmend operator enrol anna --token-file token --ca ca.pem --into ~/.mailmend"))]
    Enrol(Enrol),
    /// Get a new certificate for your own name
    #[command(after_help = with_codes("\
Certificates of operators hold 90 days.

Examples:
  mailmend operator renew --identity ~/.mailmend"))]
    Renew,
    /// Show who you are taken for, and what you may do
    #[command(name = "whoami", after_help = with_codes("\
Examples:
  mailmend operator whoami
  mailmend operator whoami -o json | jq -r .role"))]
    WhoAmI,
    /// List who may call
    #[command(after_help = with_codes("\
Examples:
  mailmend operator list
  mailmend operator list -o json | jq -r '.operators[].name'"))]
    List,
    /// Give an operator another role, from its next call on
    #[command(after_help = with_codes("\
The last admin who can call keeps the role.

Examples:
  mailmend operator role anna approver"))]
    Role {
        /// The operator
        name: String,
        /// What it may do from now on: viewer, operator, approver or admin
        role: Role,
    },
    /// End all certificates of an operator at once, and its connections with them
    #[command(after_help = with_codes("\
Unused tokens end too. The person comes back with a new token: mailmend operator add NAME --again.

Examples:
  mailmend operator revoke anna --why 'the laptop was stolen'"))]
    Revoke {
        /// The operator
        name: String,
        /// Why, for those who find the connection closed
        #[arg(long)]
        why: String,
    },
}

/// Whose name, with which token.
#[derive(Debug, Args)]
pub(in crate::cli) struct Enrol {
    /// The name that the token was made for
    pub(in crate::cli) name: String,
    #[command(flatten)]
    pub(in crate::cli) token: Secret,
    /// The authority's certificate, as `mailmend operator add --ca` wrote it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) ca: PathBuf,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) into: PathBuf,
    /// Replace a certificate that still holds
    #[arg(long)]
    pub(in crate::cli) again: bool,
}

/// The token, or a file with it: a command line is seen by other users of the machine.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Secret {
    /// The token
    #[arg(long, value_name = "TOKEN")]
    pub(in crate::cli) token: Option<String>,
    /// A file that holds the token and nothing else
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
}
