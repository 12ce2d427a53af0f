//! `mailmend trust`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use mailmend_trust::{Holder, PublicKey};

use super::{seconds, with_codes};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Trust {
    /// Make and show keys, where they are kept; no controller is asked
    #[command(subcommand)]
    Key(Key),
    /// Write a root: which keys count, and how many of them sign
    #[command(after_help = with_codes("\
Without --from a first root; with it the next one, with the keys of the one before, those given added and \
those named by --remove taken out. The next root is signed by enough keys of both. A document that is there \
is not replaced. No controller is asked.

Examples:
  mailmend trust root --out root.1.toml --life 365d --root-threshold 2 \\
      --root-key anna=4be1… --root-key ben=77c0… --root-key cleo=90aa… \\
      --catalogue-key anna=1f02… --timestamp-key ops=c3d4…
  mailmend trust root --from root.1.toml --out root.2.toml --life 365d \\
      --remove ben --root-key dora=5d5e…"))]
    Root(Root),
    /// Write a catalogue: which policies may be carried out, by their exact bytes
    #[command(after_help = with_codes("\
Name and version are read from each policy, which has to be sound. With --from the entries of the one \
before stay and its version is followed. A policy's older versions stay beside the newer one, for rollouts \
that are under way, until --withdraw takes them out. No controller is asked.

Examples:
  mailmend trust catalogue --out catalogue.1.toml --life 90d stuck.toml
  mailmend trust catalogue --from catalogue.1.toml --out catalogue.2.toml \\
      --life 90d --shipped stuck-message --withdraw stuck-outbound-routing@1"))]
    Catalogue(Catalogue),
    /// Write a timestamp: which catalogue is current, for a short time
    #[command(override_usage = "\
mailmend trust timestamp --root FILE --catalogue FILE --life LIFE
                                [--from FILE] --out FILE")]
    #[command(after_help = with_codes("\
Its key may be less cold than the others: it can only say again what the catalogue's keys have signed. No \
controller is asked.

Examples:
  mailmend trust timestamp --root root.1.toml --catalogue catalogue.1.toml \\
      --out timestamp.1.toml --life 7d
  mailmend trust timestamp --root root.1.toml --catalogue catalogue.1.toml \\
      --from timestamp.1.toml --out timestamp.2.toml --life 7d"))]
    Timestamp(Timestamp),
    /// Sign a document over its exact bytes; the signature goes to FILE.sig
    #[command(after_help = with_codes("\
Each person signs alone, where the key is kept; FILE.sig has a line for each signature, so that files of \
signatures may be put together with cat. Look at the document before. No controller is asked.

Examples:
  mailmend trust sign root.1.toml --key anna.secret
  cat anna/root.1.toml.sig ben/root.1.toml.sig > root.1.toml.sig"))]
    Sign {
        /// The document
        file: PathBuf,
        /// The file of the secret key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Tell whether an agent that trusts a root would take these documents
    #[command(after_help = with_codes("\
Each FILE with its signatures in FILE.sig. Exit code 1: something is refused. No controller is asked.

Examples:
  mailmend trust verify --root root.1.toml root.2.toml root.3.toml
  mailmend trust verify --root root.1.toml catalogue.1.toml timestamp.1.toml"))]
    Verify {
        /// The root that is trusted: what agents were pinned to
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// Roots that follow, a catalogue, a timestamp; in any order
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Give signed documents to the controller, which sends them to the agents
    #[command(after_help = with_codes("\
Each FILE with its signatures in FILE.sig; all are taken, or none. A catalogue comes with its timestamp; a \
newer timestamp may come alone. Agents verify everything by themselves.

Examples:
  mailmend trust publish root.1.toml catalogue.1.toml timestamp.1.toml
  mailmend trust publish timestamp.2.toml"))]
    Publish {
        /// The documents
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show what is signed, until when it holds, and what each agent holds of it
    #[command(after_help = with_codes("\
Exit code 3: nothing new can be begun by agents that take signed policies alone.

Examples:
  mailmend trust show
  mailmend trust show -o json | jq -r '.agents[] | select(.code) | .agent'"))]
    Show,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Key {
    /// Make a key; its secret half stays in the file, readable for you alone
    #[command(after_help = "\
Do this on a machine that is kept offline, and keep the file there, or on a medium of its own. A file that
is there is not replaced.

Examples:
  mailmend trust key new anna.secret
  mailmend trust key new anna.secret -o json | jq -r .key")]
    New {
        /// The file to make
        file: PathBuf,
    },
    /// Show the public half of a key, which is no secret
    #[command(after_help = "\
Examples:
  mailmend trust key show anna.secret
  mailmend trust key show anna.secret -o json | jq -r .id")]
    Show {
        /// The file of the secret key
        file: PathBuf,
    },
}

/// A key with who has it: `NAME=KEY`.
fn holder(text: &str) -> Result<Holder, String> {
    let (holder, key) = text
        .split_once('=')
        .ok_or("write NAME=KEY, the key as `mailmend trust key show` prints it")?;
    let key: PublicKey = key.parse().map_err(|why| format!("{why}"))?;
    Ok(Holder {
        key,
        holder: holder.to_owned(),
    })
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Root {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: PathBuf,
    /// The root before it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) from: Option<PathBuf>,
    /// How long it holds from now on
    #[arg(long, value_name = "LIFE", value_parser = seconds)]
    pub(in crate::cli) life: Duration,
    /// A key that signs roots
    #[arg(long, value_name = "NAME=KEY", value_parser = holder)]
    pub(in crate::cli) root_key: Vec<Holder>,
    /// A key that signs catalogues
    #[arg(long, value_name = "NAME=KEY", value_parser = holder)]
    pub(in crate::cli) catalogue_key: Vec<Holder>,
    /// A key that signs timestamps; it may have no other role
    #[arg(long, value_name = "NAME=KEY", value_parser = holder)]
    pub(in crate::cli) timestamp_key: Vec<Holder>,
    /// How many keys sign a root [default: as before, or 1]
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) root_threshold: Option<u32>,
    /// How many keys sign a catalogue [default: as before, or 1]
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) catalogue_threshold: Option<u32>,
    /// How many keys sign a timestamp [default: as before, or 1]
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) timestamp_threshold: Option<u32>,
    /// Take out the keys of this holder, or the key whose id begins so
    #[arg(long, value_name = "HOLDER|ID", requires = "from")]
    pub(in crate::cli) remove: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Catalogue {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: PathBuf,
    /// The catalogue before it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) from: Option<PathBuf>,
    /// How long it holds from now on
    #[arg(long, value_name = "LIFE", value_parser = seconds)]
    pub(in crate::cli) life: Duration,
    /// Files of policies
    pub(in crate::cli) files: Vec<PathBuf>,
    /// A policy that mailmend ships
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) shipped: Vec<String>,
    /// Take a policy out, or one version of it; it never comes back at that version
    #[arg(long, value_name = "NAME[@VERSION]", requires = "from")]
    pub(in crate::cli) withdraw: Vec<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Timestamp {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: PathBuf,
    /// The newest root
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) root: PathBuf,
    /// The catalogue that is current
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) catalogue: PathBuf,
    /// The timestamp before it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) from: Option<PathBuf>,
    /// How long it holds from now on, at most 92d
    #[arg(long, value_name = "LIFE", value_parser = seconds)]
    pub(in crate::cli) life: Duration,
}
