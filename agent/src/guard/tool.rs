//! Tools: programs by absolute path, with fixed arguments, typed flags and known verdicts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Refusal;
use crate::faults::known;

/// The longest value of a flag, in bytes.
const LONGEST: usize = 256;

/// A program that the guard allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) flags: BTreeMap<String, Flag>,
    pub(super) verdicts: BTreeMap<String, String>,
    pub(super) fresh_place: Option<String>,
    pub(super) only_reads: bool,
}

/// A flag whose value a policy may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the program knows it, such as `--to`.
    pub flag: String,
    /// What its value may be.
    pub pattern: Pattern,
}

/// What the value of a flag may be. No value begins with `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// One mail address, `local@domain`, of the characters that need no quoting.
    Address,
    /// An absolute path below one of the guard's roots, checked by the caller that knows them; here:
    /// absolute, without `..` and control characters.
    Path,
    /// ASCII letters, digits, `-`, `_` and `.`.
    Word,
    /// A decimal number without sign, at most 19 digits.
    Number,
}

impl Pattern {
    /// All patterns with their names in the guard file.
    pub const ALL: [(&'static str, Self); 4] = [
        ("address", Self::Address),
        ("path", Self::Path),
        ("word", Self::Word),
        ("number", Self::Number),
    ];

    /// Its name in the guard file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether a value is such a thing.
    #[must_use]
    pub fn fits(self, value: &str) -> bool {
        let word = |text: &str, extra: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        if value.is_empty() || value.len() > LONGEST || value.starts_with('-') {
            return false;
        }
        match self {
            Self::Address => value.split_once('@').is_some_and(|(local, domain)| {
                word(local, "-_.+=") && word(domain, "-.") && !domain.starts_with(['-', '.'])
            }),
            Self::Path => {
                Path::new(value).is_absolute()
                    && !value.contains(char::is_control)
                    && !value.split(['/', '\\']).any(|part| part == "..")
            }
            Self::Word => word(value, "-_."),
            Self::Number => value.len() < 20 && value.bytes().all(|b| b.is_ascii_digit()),
        }
    }
}

/// No verdict can be told from a tool's output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// The output has none of the known texts.
    #[error("the output has none of the texts that the guard file gives as verdicts")]
    Unknown,
    /// The output has the texts of several verdicts.
    #[error("the output has the texts of several verdicts: {}", .0.join(", "))]
    Several(Vec<String>),
}

impl Tool {
    /// The program's absolute path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The flags that a policy may give values for, by the name that policies use.
    #[must_use]
    pub const fn flags(&self) -> &BTreeMap<String, Flag> {
        &self.flags
    }

    /// The verdicts by name, each with the text that tells it.
    #[must_use]
    pub const fn verdicts(&self) -> &BTreeMap<String, String> {
        &self.verdicts
    }

    /// The flag that takes a word which is new at each call, and below which the tool writes all that it
    /// writes. Whoever declares it says that the tool only adds: it may then be run again after it was
    /// interrupted, even while the first one still runs, since neither touches what the other wrote.
    #[must_use]
    pub fn fresh_place(&self) -> Option<&str> {
        self.fresh_place.as_deref()
    }

    /// Whether it is declared to change nothing: then it may be run again whenever it was interrupted.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        self.only_reads
    }

    /// The arguments that every call has.
    #[must_use]
    pub fn fixed_arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The whole argument list: the fixed arguments, then each flag and its value as two arguments,
    /// in the order of the flags' names.
    ///
    /// # Errors
    /// Where a value is given for a flag that the guard file does not declare, or does not fit its
    /// pattern.
    pub fn arguments_for(&self, with: &BTreeMap<String, String>) -> Result<Vec<String>, Refusal> {
        let mut arguments = self.arguments.clone();
        for (name, value) in with {
            let refusal = |what: String| Refusal {
                code: const { known("A033-guard-flag") },
                what,
                remedy: "change the policy, or declare the flag with a pattern that fits in the guard file",
            };
            let Some(flag) = self.flags.get(name) else {
                let what = format!(
                    "the guard file declares no flag `{}` for `{}`",
                    name.escape_debug(),
                    self.program.display()
                );
                return Err(refusal(what));
            };
            if !flag.pattern.fits(value) {
                let what = format!(
                    "`{}` is no {} for the flag `{name}` of `{}`",
                    value.chars().take(80).collect::<String>().escape_debug(),
                    flag.pattern.name(),
                    self.program.display()
                );
                return Err(refusal(what));
            }
            arguments.push(flag.flag.clone());
            arguments.push(value.clone());
        }
        Ok(arguments)
    }

    /// The one verdict whose text the output has. The tools of Exchange document no exit code, so
    /// this is all there is to judge by.
    ///
    /// # Errors
    /// Where the output has the text of none, or of several.
    pub fn verdict(&self, output: &str) -> Result<&str, NoVerdict> {
        let found: Vec<&str> = self
            .verdicts
            .iter()
            .filter(|(_, text)| output.contains(text.as_str()))
            .map(|(name, _)| name.as_str())
            .collect();
        match found.as_slice() {
            [] => Err(NoVerdict::Unknown),
            [only] => Ok(only),
            several => Err(NoVerdict::Several(
                several.iter().map(|name| (*name).to_owned()).collect(),
            )),
        }
    }
}
