//! The guard: what this agent may touch, whoever asks and whatever the input.
//!
//! The guard file is local, owned by the administrator of the server, and cannot be set from afar.
//! What it does not name does not happen: folders, services, tools with typed flags, and how much
//! of it within an hour.

mod file;
pub mod last_good;
mod machine;
mod parse;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use mailmend_policy::name::{ServiceName, ToolName};

use crate::faults::known;

pub use file::GuardError;
pub use machine::Changeable;
pub(crate) use machine::kept_from_others;
pub use tool::{Flag, NoVerdict, Pattern, Tool};

/// The agent's allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    policies: Policies,
    roots: Vec<PathBuf>,
    services: BTreeSet<ServiceName>,
    tools: BTreeMap<ToolName, Tool>,
    limits: Limits,
    watchdog: Watchdog,
    immunity: Immunity,
    hold: Option<PathBuf>,
}

/// Whose policies this server takes. There is no default: an administrator writes it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policies {
    /// Whatever the controller sends.
    Unsigned,
    /// Only what is signed by keys that this root leads to.
    Signed {
        /// The file of the root that is believed at the first start.
        root: PathBuf,
    },
}

/// What fleet immunity may do here: set aside messages that have the fingerprint of a poison found on another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immunity {
    /// Whether it may set aside anything.
    pub allowed: bool,
    /// The most messages set aside within an hour.
    pub max_per_hour: u32,
    /// The most messages that are set aside at one time, those in doubt among them.
    pub max_files: u64,
}

impl Default for Immunity {
    /// What holds where the guard file says nothing: it protects, and a wrong fingerprint holds few messages.
    fn default() -> Self {
        Self {
            allowed: true,
            max_per_hour: 20,
            max_files: 100,
        }
    }
}

/// How much may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most service starts within an hour, over all runs and the watchdog together.
    pub restarts_per_hour: u32,
    /// The most sections begun within an hour, over all runs.
    pub sections_per_hour: u32,
    /// The most calls of tools within an hour, over all runs: a test message goes out with each probe.
    pub tools_per_hour: u32,
    /// The most files that one quarantine or replay may move.
    pub files_per_action: u64,
    /// The most bytes that one quarantine or replay may move.
    pub bytes_per_action: u64,
    /// Bytes that must stay free on a volume; less, and nothing is begun.
    pub least_free_bytes: u64,
    /// A queue with so many files is held as a whole folder, so that the time without service does not grow
    /// with it; 0: never.
    pub whole_folder_from: u64,
    /// The most files that the escrow of one queue may keep; 0 ends escrow.
    pub escrow_files: u64,
    /// The most bytes that the escrow of one queue may keep.
    pub escrow_bytes: u64,
}

impl Default for Limits {
    /// What holds where the guard file says nothing: enough for one server's mail, too little for a
    /// loop of restarts.
    fn default() -> Self {
        Self {
            restarts_per_hour: 6,
            sections_per_hour: 4,
            tools_per_hour: 60,
            files_per_action: 100_000,
            bytes_per_action: 16 << 30,
            least_free_bytes: 64 << 20,
            whole_folder_from: 5_000,
            escrow_files: 100_000,
            escrow_bytes: 4 << 30,
        }
    }
}

/// What the watchdog cares for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watchdog {
    /// Services that are started again when they are found dead; a part of the allowed services.
    pub services: BTreeSet<ServiceName>,
}

/// The guard does not allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {remedy}")]
pub struct Refusal {
    /// A code of `docs/faults.md`.
    pub code: &'static str,
    /// What was asked for, and why it is refused.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Guard {
    /// Whether a service may be stopped, started or ended.
    ///
    /// # Errors
    /// Where the guard file does not list it.
    pub fn allows_service(&self, service: &ServiceName) -> Result<(), Refusal> {
        // Service names are compared without case, as the service manager does.
        let listed = |name: &ServiceName| name.as_str().eq_ignore_ascii_case(service.as_str());
        if self.services.iter().any(listed) {
            return Ok(());
        }
        Err(Refusal {
            code: const { known("A030-guard-service") },
            what: format!("the guard file does not allow the service `{service}`"),
            remedy: "list it in `services` of the guard file if this agent shall disturb it",
        })
    }

    /// Whether a file or folder may be changed: lexically, so the caller still has to refuse links.
    ///
    /// # Errors
    /// Where the path is relative, has `..` in it, or is not below an allowed root. A root itself is
    /// not allowed, only what is below it.
    pub fn allows_path(&self, path: &Path) -> Result<(), Refusal> {
        let refusal = |why: String| Refusal {
            code: const { known("A031-guard-path") },
            what: why,
            remedy: "add the folder that holds it to `roots` of the guard file if this agent shall change it",
        };
        let shown = path.display();
        if !path.is_absolute() {
            return Err(refusal(format!("`{shown}` is not an absolute path")));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(refusal(format!("`{shown}` has `..` in it")));
        }
        if self
            .roots
            .iter()
            .any(|root| path != root && path.starts_with(root))
        {
            return Ok(());
        }
        let what = format!("`{shown}` is below none of the guard file's roots");
        Err(refusal(what))
    }

    /// A tool that may be run.
    #[must_use]
    pub fn tool(&self, name: &ToolName) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// As [`Self::tool`], for a caller that has to say why not.
    ///
    /// # Errors
    /// Where the guard file does not define it.
    pub fn allows_tool(&self, name: &ToolName) -> Result<&Tool, Refusal> {
        self.tool(name).ok_or_else(|| Refusal {
            code: const { known("A032-guard-tool") },
            what: format!("the guard file defines no tool `{name}`"),
            remedy: "define it as `[tools.NAME]` in the guard file if this agent shall run it",
        })
    }

    /// Whose policies it takes.
    #[must_use]
    pub const fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The folders below which it may change something.
    #[must_use]
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The services that it may disturb.
    #[must_use]
    pub const fn services(&self) -> &BTreeSet<ServiceName> {
        &self.services
    }

    /// The tools that it may run, by name.
    #[must_use]
    pub const fn tools(&self) -> &BTreeMap<ToolName, Tool> {
        &self.tools
    }

    /// How much may happen.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the watchdog cares for.
    #[must_use]
    pub const fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// What fleet immunity may do.
    #[must_use]
    pub const fn immunity(&self) -> &Immunity {
        &self.immunity
    }

    /// Where held files go, absolute and below a root; `None`: a folder `mailmend-held` beside
    /// Imcdata.
    #[must_use]
    pub fn hold_folder(&self) -> Option<&Path> {
        self.hold.as_deref()
    }
}

#[cfg(test)]
mod tests;
