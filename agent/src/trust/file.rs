//! What is trusted, in the data folder: read whole, written whole, and never taken for nothing where it is damaged.

use std::path::{Path, PathBuf};

use mailmend_trust::{Kind, Sha256, Trusted};

use crate::faults::known;
use crate::guard::kept_from_others;
use crate::identity::Replaced;
use crate::identity::files::{read, write as write_whole};
use crate::inbox::Refusal;

/// The file: a line with the SHA-256 of what follows, then the state.
const FILE: &str = "trust";
const HEAD: &str = "mailmend-agent trust sha256 ";

/// What pinning did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The version of the root.
    pub root: u64,
    /// The digest of its text, to be compared by hand.
    pub sha256: Sha256,
    /// The version of the catalogue that it still vouches for; 0: none.
    pub catalogue: u64,
}

pub(super) fn place(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// What is kept, or what the root file begins with at the first start; that is kept by [`open`].
pub(super) fn look(root: &Path, data: &Path) -> Result<Trusted, Refusal> {
    let Some(state) = kept(&place(data))? else {
        return Trusted::pin(&root_text(root)?).map_err(|why| unusable(root, why));
    };
    // The root file may be gone by now, or be the newer root that this agent has followed to.
    match root_text(root) {
        Ok(text) if Sha256::of(&text) != state.pinned() && text != state.root_text() => {
            Err(Refusal::new(
                const { known("A165-trust-root-changed") },
                format!(
                    "the root file `{}` is not the one that this agent was pinned to (SHA-256 {}), nor the root that it has followed to (version {}); put that back, or have this one believed with `mailmend-agent trust pin`",
                    root.display(),
                    state.pinned(),
                    state.version(Kind::Root)
                ),
            ))
        }
        Ok(_) => Ok(state),
        Err(refusal) => {
            tracing::warn!("{refusal}; what was followed to before counts");
            Ok(state)
        }
    }
}

/// As [`look`], durable on return.
pub(super) fn open(root: &Path, data: &Path) -> Result<Trusted, Refusal> {
    let state = look(root, data)?;
    if !place(data).exists() {
        write(&place(data), &state)?;
    }
    Ok(state)
}

/// Believes a root file on the administrator's word, whether or not it follows from what was believed; a damaged
/// state is begun anew.
///
/// # Errors
/// Where it is not the one with this digest, or no root, others could change it, or the state cannot be written.
pub fn pin(root: &Path, data: &Path, sha256: Sha256) -> Result<Pinned, Refusal> {
    let file = place(data);
    let text = root_text(root)?;
    let found = Sha256::of(&text);
    if found != sha256 {
        return Err(unusable(
            root,
            format!("its SHA-256 is {found}, not {sha256}"),
        ));
    }
    let former = match kept(&file) {
        Ok(former) => former,
        Err(refusal) => {
            tracing::warn!("{refusal}; it begins anew");
            None
        }
    };
    let state = match former {
        Some(former) => former.pin_again(&text),
        None => Trusted::pin(&text),
    };
    let state = state.map_err(|why| unusable(root, why))?;
    write(&file, &state)?;
    Ok(Pinned {
        root: state.version(Kind::Root),
        sha256: state.pinned(),
        catalogue: state.version(Kind::Catalogue),
    })
}

fn root_text(root: &Path) -> Result<Vec<u8>, Refusal> {
    match kept_from_others(root, "root file") {
        Ok(Ok(())) => {}
        Ok(Err(changeable)) => {
            return Err(unusable(
                root,
                format!("{}; {}", changeable.what, changeable.remedy),
            ));
        }
        Err(error) => return Err(unusable(root, error)),
    }
    std::fs::read(root).map_err(|error| unusable(root, error))
}

fn unusable(root: &Path, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        const { known("A166-trust-root-unusable") },
        format!(
            "the root file `{}` cannot be used: {why}; name it as `trust_root` in the guard file",
            root.display()
        ),
    )
}

/// What is kept; `None`: nothing was ever.
fn kept(file: &Path) -> Result<Option<Trusted>, Refusal> {
    let damaged = |why: String| {
        Refusal::new(
            const { known("A164-trust-damaged") },
            format!(
                "`{}` does not read back as it was written: {why}; put it back from a backup, or begin anew with `mailmend-agent trust pin`",
                file.display()
            ),
        )
    };
    let Some(text) = read(file).map_err(|why| damaged(why.to_string()))? else {
        return Ok(None);
    };
    let parts = text
        .strip_prefix(HEAD)
        .and_then(|rest| rest.split_once('\n'));
    let Some((digest, state)) = parts else {
        return Err(damaged("its first line is another".to_owned()));
    };
    if Sha256::of(state.as_bytes()).to_string() != digest {
        return Err(damaged("its digest does not fit".to_owned()));
    }
    let state = Trusted::read(state).map_err(|why| damaged(why.to_string()))?;
    Ok(Some(state))
}

pub(super) fn write(file: &Path, state: &Trusted) -> Result<(), Refusal> {
    let unwritten = |why: String| {
        Refusal::new(
            const { known("A167-trust-unwritten") },
            format!(
                "what this agent trusts could not be written to `{}`: {why}; what was trusted before stays",
                file.display()
            ),
        )
    };
    let text = state.write().map_err(|why| unwritten(why.to_string()))?;
    let digest = Sha256::of(text.as_bytes());
    write_whole(file, &format!("{HEAD}{digest}\n{text}"), Replaced::Whole)
        .map_err(|why| unwritten(why.to_string()))
}
