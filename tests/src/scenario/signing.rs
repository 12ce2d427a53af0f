//! Who signs policies in the lab: keys, documents and signatures, all by the commands that people use.
//!
//! Two people sign roots together, one signs catalogues, a machine signs timestamps. Whatever an operator of the lab
//! publishes is signed at once, as it would be by people who have looked at it.

use std::path::{Path, PathBuf};

use super::operator::Operator;
use crate::lab_error::{Attempting, LabError};

/// The folder of the keys, as it would be on a machine without a network.
#[derive(Debug, Clone)]
pub struct Signing {
    folder: PathBuf,
}

/// Called before a further try of a command that could not reach the controller.
type Keep<'a> = dyn FnMut() -> Result<(), LabError> + 'a;

/// Who signs documents of a kind.
const ROOT: [&str; 2] = ["anna", "ben"];
const CATALOGUE: [&str; 1] = ["cleo"];
const TIMESTAMP: [&str; 1] = ["machine"];

impl Signing {
    /// Makes keys and the first root in a folder.
    ///
    /// # Errors
    /// Where a command fails.
    pub(super) fn begin(operator: &Operator, folder: PathBuf) -> Result<Self, LabError> {
        std::fs::create_dir_all(&folder)
            .attempting(|| format!("make the folder `{}`", folder.display()))?;
        let signing = Self { folder };
        let out = signing.file("root", 1);
        let mut root = vec![
            "trust",
            "root",
            "--out",
            &out,
            "--life",
            "365d",
            "--root-threshold",
            "2",
        ];
        let mut keys = Vec::new();
        for (flag, holders) in [
            ("--root-key", &ROOT[..]),
            ("--catalogue-key", &CATALOGUE[..]),
            ("--timestamp-key", &TIMESTAMP[..]),
        ] {
            for holder in holders {
                keys.push((flag, format!("{holder}={}", signing.key(operator, holder)?)));
            }
        }
        for (flag, key) in &keys {
            root.extend([*flag, key.as_str()]);
        }
        operator.ask(&root)?;
        signing.sign(operator, "root", 1, &ROOT)?;
        Ok(signing)
    }

    /// The first root: what agents are pinned to.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.1.toml")
    }

    /// Makes a key; returns its public half.
    ///
    /// # Errors
    /// Where the command fails.
    pub fn key(&self, operator: &Operator, holder: &str) -> Result<String, LabError> {
        let made = operator.ask(&["trust", "key", "new", &self.secret(holder)])?;
        Ok(made["key"].as_str().unwrap_or_default().to_owned())
    }

    /// The file of a document.
    #[must_use]
    pub fn file(&self, kind: &str, version: u32) -> String {
        self.folder
            .join(format!("{kind}.{version}.toml"))
            .display()
            .to_string()
    }

    fn secret(&self, holder: &str) -> String {
        self.folder
            .join(format!("{holder}.secret"))
            .display()
            .to_string()
    }

    /// The newest version of a kind; 0: there is none.
    #[must_use]
    pub fn newest(&self, kind: &str) -> u32 {
        let there = |version: &u32| Path::new(&self.file(kind, *version)).exists();
        (1..).take_while(there).last().unwrap_or(0)
    }

    /// Signs a document with the keys of some people.
    ///
    /// # Errors
    /// Where a command fails.
    pub fn sign(
        &self,
        operator: &Operator,
        kind: &str,
        version: u32,
        by: &[&str],
    ) -> Result<(), LabError> {
        for holder in by {
            let (file, key) = (self.file(kind, version), self.secret(holder));
            operator.ask(&["trust", "sign", &file, "--key", &key])?;
        }
        Ok(())
    }

    /// Writes and signs the next catalogue: what the newest lists, with `policies` as `mailmend policy publish`
    /// takes them, and without `withdrawn`. Returns its version.
    ///
    /// # Errors
    /// Where a command fails.
    pub fn catalogue(
        &self,
        operator: &Operator,
        policies: &[&str],
        withdrawn: &[&str],
    ) -> Result<u32, LabError> {
        let before = self.newest("catalogue");
        let (from, out) = (
            self.file("catalogue", before),
            self.file("catalogue", before + 1),
        );
        let mut arguments = vec!["trust", "catalogue", "--out", &out, "--life", "90d"];
        if before > 0 {
            arguments.extend(["--from", &from]);
        }
        for policy in withdrawn {
            arguments.extend(["--withdraw", *policy]);
        }
        arguments.extend(policies);
        operator.ask(&arguments)?;
        self.sign(operator, "catalogue", before + 1, &CATALOGUE)?;
        Ok(before + 1)
    }

    /// Writes and signs the next timestamp, of the newest catalogue. Returns its version.
    ///
    /// # Errors
    /// Where a command fails.
    pub fn timestamp(&self, operator: &Operator, life: &str) -> Result<u32, LabError> {
        let before = self.newest("timestamp");
        let (from, out) = (
            self.file("timestamp", before),
            self.file("timestamp", before + 1),
        );
        let root = self.file("root", self.newest("root"));
        let catalogue = self.file("catalogue", self.newest("catalogue"));
        let mut arguments = vec!["trust", "timestamp", "--out", &out, "--life", life];
        arguments.extend(["--root", &root, "--catalogue", &catalogue]);
        if before > 0 {
            arguments.extend(["--from", &from]);
        }
        operator.ask(&arguments)?;
        self.sign(operator, "timestamp", before + 1, &TIMESTAMP)?;
        Ok(before + 1)
    }

    /// Publishes the newest of everything.
    ///
    /// # Errors
    /// Where the controller refuses it.
    pub fn publish(&self, operator: &Operator) -> Result<(), LabError> {
        self.publish_keeping(operator, &mut || Ok(()))
    }

    fn publish_keeping(&self, operator: &Operator, keep: &mut Keep<'_>) -> Result<(), LabError> {
        let roots = 1..=self.newest("root");
        let mut files: Vec<String> = roots.map(|n| self.file("root", n)).collect();
        for kind in ["catalogue", "timestamp"] {
            files.push(self.file(kind, self.newest(kind)));
        }
        let mut arguments = vec!["trust", "publish"];
        arguments.extend(files.iter().map(String::as_str));
        operator.ask_keeping(&arguments, keep).map(drop)
    }

    /// Has what was just published as a policy signed too; `keep` may bring the controller back meanwhile.
    pub(super) fn follow(
        &self,
        operator: &Operator,
        policies: &[&str],
        keep: &mut Keep<'_>,
    ) -> Result<(), LabError> {
        self.catalogue(operator, policies, &[])?;
        self.timestamp(operator, "7d")?;
        self.publish_keeping(operator, keep)
    }
}
