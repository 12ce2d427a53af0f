//! The last guard file that was good, kept in the data folder.
//!
//! A guard file may be broken while a section is open and the agent is down. Then the agent refuses to
//! work, and would leave a service stopped that it stopped itself. What it may do all the same is to leave
//! such sections, as the guard file under which they were begun allowed: nothing else is ever done
//! under this copy.

use std::path::Path;

use mailmend_policy::digest::Digest;

use super::Guard;
use crate::identity::files::{read, write};
use crate::identity::{IdentityError, Replaced};

const FILE: &str = "guard.last";
const HEAD: &str = "mailmend-guard blake3 ";

/// Keeps a guard file's text, durable on return; the same text is not written again.
///
/// # Errors
/// Where it cannot be read or written.
pub fn remember(data: &Path, text: &str) -> Result<(), IdentityError> {
    let file = data.join(FILE);
    let digest = Digest::of(text.as_bytes());
    let kept = format!("{HEAD}{digest}\n{text}");
    if read(&file)?.as_deref() == Some(kept.as_str()) {
        return Ok(());
    }
    write(&file, &kept, Replaced::Whole)
}

/// The guard that was kept; `None` where there is none, or where it is not what was written.
#[must_use]
pub fn recall(data: &Path) -> Option<Guard> {
    let kept = read(&data.join(FILE)).ok()??;
    let (digest, text) = kept.strip_prefix(HEAD)?.split_once('\n')?;
    if Digest::of(text.as_bytes()).to_string() != digest {
        return None;
    }
    // One that was kept before the key was needed; nothing is ever begun under this copy.
    let older = || Guard::parse(FILE, &format!("policies = \"unsigned\"\n{text}"));
    Guard::parse(FILE, text).or_else(|_| older()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "roots = [\"/exchsrvr\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n";

    #[test]
    fn what_is_remembered_is_recalled_and_anything_else_is_not() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(recall(data.path()), None);
        remember(data.path(), TEXT).unwrap();
        let guard = Guard::parse("guard.toml", TEXT).unwrap();
        assert_eq!(recall(data.path()), Some(guard));
        let file = data.path().join(FILE);
        let good = std::fs::read_to_string(&file).unwrap();
        for bad in [
            good.replace("MSExchangeIMC", "MSExchangeIS!"),
            good.replace("blake3 ", "blake3 0"),
            good[..good.len() - 3].to_owned(),
            String::new(),
        ] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(recall(data.path()), None);
        }
        remember(data.path(), TEXT).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), good);
    }

    #[test]
    fn a_copy_from_before_the_key_policies_still_brings_service_up() {
        let data = tempfile::tempdir().unwrap();
        let older = TEXT.replace("policies = \"unsigned\"\n", "");
        assert_ne!(older, TEXT);
        remember(data.path(), &older).unwrap();
        let guard = recall(data.path()).unwrap();
        assert_eq!(guard.services().len(), 1);
    }
}
