//! Who may do what with a file of Windows, as its security descriptor says in Windows' own text form
//! (SDDL, as `icacls /save` writes it).

mod right;

use std::fmt;

pub(crate) use self::right::Right;
use self::right::mask;

/// Accounts of every Windows, by the letters that stand for them, their number, and the name that people know.
const KNOWN: [(&str, &str, &str); 16] = [
    ("SY", "S-1-5-18", "SYSTEM"),
    ("BA", "S-1-5-32-544", "Administrators"),
    ("BU", "S-1-5-32-545", "Users"),
    ("BG", "S-1-5-32-546", "Guests"),
    ("PU", "S-1-5-32-547", "Power Users"),
    ("BO", "S-1-5-32-551", "Backup Operators"),
    ("WD", "S-1-1-0", "Everyone"),
    ("AU", "S-1-5-11", "Authenticated Users"),
    ("IU", "S-1-5-4", "Interactive"),
    ("NU", "S-1-5-2", "Network"),
    ("SU", "S-1-5-6", "Service"),
    ("AN", "S-1-5-7", "Anonymous"),
    ("LS", "S-1-5-19", "Local Service"),
    ("NS", "S-1-5-20", "Network Service"),
    ("CO", "S-1-3-0", "Creator Owner"),
    ("OW", "S-1-3-4", "Owner Rights"),
];

/// Windows' own installer, to which its programs belong.
pub(crate) const TRUSTED_INSTALLER: &str =
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";

/// An account or group, by its number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Account(String);

impl Account {
    pub(crate) fn of(text: &str) -> Self {
        let known = KNOWN.iter().find(|(letters, ..)| *letters == text);
        Self(known.map_or(text, |(_, number, _)| number).to_owned())
    }

    pub(crate) fn system() -> Self {
        Self::of("SY")
    }

    pub(crate) fn administrators() -> Self {
        Self::of("BA")
    }

    /// Its number, as SDDL and `icacls *NUMBER` take it.
    pub(crate) fn number(&self) -> &str {
        &self.0
    }

    /// Stands for the owner, who is judged by himself, or for nobody at all.
    fn is_placeholder(&self) -> bool {
        *self == Self::of("OW") || *self == Self::of("CO")
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(_, number, _)| *number == self.0) {
            Some((_, number, name)) => write!(f, "{name} ({number})"),
            None => f.write_str(&self.0),
        }
    }
}

/// What a security descriptor says of a file or folder itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccessList {
    owner: Option<Account>,
    /// In the order in which Windows asks them; `None`: there is no list, and everybody may do everything.
    entries: Option<Vec<Entry>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    allows: bool,
    mask: u32,
    account: Account,
}

impl AccessList {
    /// Reads an owner and a list in SDDL.
    pub(crate) fn parse(sddl: &str) -> Result<Self, String> {
        let (owner, list) = match sddl.split_once("D:") {
            Some((owner, list)) => (owner, Some(list)),
            None => (sddl, None),
        };
        let owner = owner.strip_prefix("O:").map(|owner| {
            let end = owner.find("G:").unwrap_or(owner.len());
            Account::of(&owner[..end])
        });
        let entries = match list {
            None => None,
            Some(list) if list.starts_with("NO_ACCESS_CONTROL") => None,
            Some(list) => Some(entries(list)?),
        };
        Ok(Self { owner, entries })
    }

    /// Who has that right beside those who may have it, the owner included: he may give himself any.
    pub(crate) fn others_who_may(&self, right: Right, trusted: &[Account]) -> Vec<Account> {
        let Some(entries) = &self.entries else {
            return vec![Account::of("WD")];
        };
        let mut others: Vec<Account> = Vec::new();
        let mut add = |account: &Account| {
            if !trusted.contains(account) && !others.contains(account) {
                others.push(account.clone());
            }
        };
        match &self.owner {
            Some(owner) => add(owner),
            None => add(&Account::of("CO")),
        }
        // Windows asks the entries in their order, and what was refused first stays refused. Of groups nobody
        // here knows the members: only what is refused to everybody, or to the same account, counts.
        let mut denied: Vec<(&Account, u32)> = Vec::new();
        let everybody = Account::of("WD");
        for entry in entries {
            if !entry.allows {
                denied.push((&entry.account, entry.mask));
                continue;
            }
            let refused = denied
                .iter()
                .filter(|(account, _)| **account == entry.account || **account == everybody)
                .fold(0, |all, (_, mask)| all | mask);
            let left = entry.mask & !refused & right.mask();
            if left != 0 && !entry.account.is_placeholder() {
                add(&entry.account);
            }
        }
        others
    }
}

fn entries(list: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    // Before the first bracket stand flags of the whole list.
    let mut rest = &list[list.find('(').unwrap_or(list.len())..];
    while let Some(inside) = rest.strip_prefix('(') {
        let end = closing(inside).ok_or_else(|| format!("`{rest}` has no end"))?;
        entries.extend(entry(&inside[..end])?);
        rest = &inside[end + 1..];
    }
    if rest.is_empty() || rest.starts_with("S:") {
        Ok(entries)
    } else {
        Err(format!("`{rest}` is no entry"))
    }
}

/// Where the bracket that is open ends; an entry with a condition has brackets in it.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        (open == 0).then_some(at)
    })
}

/// An entry, `None` where it is only for what is made in a folder.
fn entry(text: &str) -> Result<Option<Entry>, String> {
    let parts: Vec<&str> = text.splitn(7, ';').collect();
    let [kind, flags, rights, _, _, account, ..] = parts[..] else {
        return Err(format!("`{text}` is no entry"));
    };
    let conditional = parts.len() == 7;
    let allows = match kind {
        // A condition that nobody here can judge is taken as met.
        "A" | "OA" | "XA" | "ZA" => true,
        // … and as not met where it refuses.
        "XD" | "ZD" => return Ok(None),
        "D" | "OD" if !conditional => false,
        _ => return Err(format!("`{kind}` is no kind of entry")),
    };
    let inherit_only = flags.as_bytes().chunks(2).any(|flag| flag == b"IO");
    if inherit_only {
        return Ok(None);
    }
    if account.is_empty() {
        return Err(format!("`{text}` is for nobody"));
    }
    Ok(Some(Entry {
        allows,
        mask: mask(rights).ok_or_else(|| format!("`{rights}` are no rights"))?,
        account: Account::of(account),
    }))
}

/// Accounts in one line.
pub(crate) fn listed(accounts: &[Account]) -> String {
    let shown: Vec<String> = accounts.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests;
