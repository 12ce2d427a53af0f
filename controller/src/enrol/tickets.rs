//! The keys of TLS tickets, kept in the data folder: a fleet that comes back after a restart resumes its sessions instead of
//! signing ten thousand times.
//!
//! A ticket holds what the handshake proved, the caller's certificate among it. Whoever has these keys could forge that; they
//! lie beside the authority's key, which is worth more. What a ticket says is believed no longer than the certificate in it
//! holds and is not revoked: both are asked at each connection, resumed or not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;

use super::certificate::random;
use super::{EnrolFault, key_file};

/// The file in the data folder: a line for each key, the newest first.
const FILE: &str = "tickets.key";
/// How long tickets are made with one key.
const MADE_FOR: Duration = Duration::from_secs(12 * 3600);
/// How long a ticket may be shown: as long as its key is kept after the next one was made.
const SHOWN_FOR: Duration = Duration::from_secs(12 * 3600);
/// Bytes that tell one key from another, and of a key.
const NAME: usize = 16;
const KEY: usize = 32;

/// The keys that hold now.
#[derive(Clone)]
pub struct TicketKeys(Arc<Keys>);

struct Keys {
    /// Tickets are made with it.
    current: Key,
    /// Tickets that were made with it are taken.
    former: Option<Key>,
    /// The authority: a ticket of another one is no ticket.
    authority: [u8; 32],
}

struct Key {
    made_ms: i64,
    name: [u8; NAME],
    bytes: [u8; KEY],
    aead: LessSafeKey,
}

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys themselves are never shown.
        f.debug_struct("TicketKeys")
            .field("made_ms", &self.0.current.made_ms)
            .field("former", &self.0.former.is_some())
            .finish_non_exhaustive()
    }
}

impl PartialEq for TicketKeys {
    fn eq(&self, other: &Self) -> bool {
        self.0.current.name == other.0.current.name
    }
}

impl Key {
    fn new(made_ms: i64, name: [u8; NAME], bytes: [u8; KEY]) -> Result<Self, EnrolFault> {
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| EnrolFault::Signing("a key of tickets cannot be used".to_owned()))?;
        let aead = LessSafeKey::new(key);
        Ok(Self {
            made_ms,
            name,
            bytes,
            aead,
        })
    }

    fn made(now_ms: i64) -> Result<Self, EnrolFault> {
        Self::new(now_ms, random()?, random()?)
    }

    /// A line of the file; none where it is none.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let made_ms = words.next()?.parse().ok()?;
        let (name, bytes) = (unhex(words.next()?)?, unhex(words.next()?)?);
        Self::new(made_ms, name, bytes).ok()
    }

    fn line(&self) -> String {
        format!(
            "{} {} {}\n",
            self.made_ms,
            hex(&self.name),
            hex(&self.bytes)
        )
    }

    /// Whether it is younger than that. One of the future was made under a wrong clock: it is not.
    fn is_within(&self, life: Duration, now_ms: i64) -> bool {
        let age = u128::try_from(now_ms - self.made_ms);
        age.is_ok_and(|age| age < life.as_millis())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

impl TicketKeys {
    /// The keys in a data folder, the next one made where the current one is due. A file that makes no sense is replaced:
    /// all that is lost with it is that callers resume.
    pub(super) fn open(folder: &Path, ca_pem: &str, now_ms: i64) -> Result<Self, EnrolFault> {
        let path = folder.join(FILE);
        let mut known = Vec::new();
        if key_file::exists(&path)? {
            key_file::refuse_exposed(&path)?;
            known.extend(key_file::read(&path)?.lines().filter_map(Key::read));
        }
        known.retain(|key| key.is_within(MADE_FOR + SHOWN_FOR, now_ms));
        let due = known
            .first()
            .is_none_or(|newest| !newest.is_within(MADE_FOR, now_ms));
        if due {
            known.insert(0, Key::made(now_ms)?);
        }
        known.truncate(2);
        let text: String = known.iter().map(Key::line).collect();
        key_file::replace(&path, &text)?;
        let mut keys = known.into_iter();
        let current = keys.next().map_or_else(|| Key::made(now_ms), Ok)?;
        Ok(Self(Arc::new(Keys {
            current,
            former: keys.next(),
            authority: *blake3::hash(ca_pem.as_bytes()).as_bytes(),
        })))
    }

    /// What TLS asks for tickets.
    #[must_use]
    pub fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        Arc::new(self.clone())
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(SHOWN_FOR.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = &self.0.current;
        let nonce: [u8; NONCE_LEN] = random().ok()?;
        let mut sealed = plain.to_vec();
        key.aead
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&self.0.authority),
                &mut sealed,
            )
            .ok()?;
        Some([&key.name[..], &nonce[..], &sealed[..]].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let known = [Some(&self.0.current), self.0.former.as_ref()];
        let key = known.into_iter().flatten().find(|key| key.name == *name)?;
        let mut opened = sealed.to_vec();
        let length = key
            .aead
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(&self.0.authority),
                &mut opened,
            )
            .ok()?
            .len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    fn keys(folder: &Path, now_ms: i64) -> TicketKeys {
        TicketKeys::open(folder, "authority", now_ms).unwrap()
    }

    #[test]
    fn a_ticket_is_taken_after_a_restart_and_after_the_next_key_and_not_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let ticket = keys(folder.path(), NOW).encrypt(b"who it was").unwrap();
        assert!(!ticket.windows(3).any(|three| three == b"who"));
        let shown = |after: i64| keys(folder.path(), NOW + after * HOUR).decrypt(&ticket);
        assert_eq!(shown(0).as_deref(), Some(&b"who it was"[..]));
        assert_eq!(shown(11).as_deref(), Some(&b"who it was"[..]));
        assert_eq!(
            shown(13).as_deref(),
            Some(&b"who it was"[..]),
            "the former key"
        );
        assert_eq!(shown(25), None, "both have gone");
    }

    #[test]
    fn a_changed_or_foreign_ticket_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let ours = keys(folder.path(), NOW);
        let ticket = ours.encrypt(b"who it was").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ours.decrypt(&changed), None, "byte {at}");
            assert_eq!(ours.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        let other = TicketKeys::open(folder.path(), "another authority", NOW).unwrap();
        assert_eq!(other.decrypt(&ticket), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone_and_damage_costs_only_the_tickets() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let ticket = keys(folder.path(), NOW).encrypt(b"x").unwrap();
        let path = folder.path().join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "nonsense\n1 2 3\n").unwrap();
        let anew = keys(folder.path(), NOW);
        assert_eq!(anew.decrypt(&ticket), None);
        assert!(anew.decrypt(&anew.encrypt(b"x").unwrap()).is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = TicketKeys::open(folder.path(), "authority", NOW).unwrap_err();
        assert_eq!(exposed.code(), "C004-key-exposed");
    }

    #[test]
    fn keys_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path(), NOW);
        let shown = format!("{keys:?}");
        assert!(
            !shown.contains(&hex(&keys.0.current.bytes)) && !shown.contains("bytes"),
            "{shown}"
        );
    }
}
