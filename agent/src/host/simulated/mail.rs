//! The messages of the simulated site and what truly became of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::world::{IN, OUT, World};

/// What a message does to the service that comes upon it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Harm {
    /// It is sent, or handed to the store.
    #[default]
    Nothing,
    /// The service dies of it: outbound when its text is on the wire, inbound while it is converted.
    Crash,
    /// It dies before anything of it is logged.
    CrashUnlogged,
    /// It dies of it in so many of ten cases.
    Sometimes(u8),
    /// The service holds it open and gets nowhere, and with it nothing else of its queue.
    Hang,
}

/// A message that was submitted.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) mts_id: String,
    pub(super) spool_name: String,
    pub(super) message_id: String,
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) bytes: Arc<[u8]>,
    pub(super) harm: Harm,
    /// From In to the store, not from Out to the next hop.
    pub(super) inbound: bool,
    /// Whether it waits in MTS-OUT: no spool file has been written yet.
    pub(super) in_mts_out: bool,
    /// Whether it was sent and stands in MTS-OUT still.
    pub(super) unremoved: bool,
    /// When the next hop accepted it, in milliseconds since 1970.
    pub(super) deliveries: Vec<i64>,
}

/// Where every message is, told by the world itself and not by anybody's ledger.
#[derive(Debug, Clone)]
pub struct Balance {
    /// One account for each message ever submitted, in order of submission.
    pub accounts: Vec<Account>,
}

/// Where one message is.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its MTS-ID.
    pub mts_id: String,
    /// The name of its spool file.
    pub spool_name: String,
    /// Its Internet Message-ID.
    pub message_id: String,
    /// Whether the service dies of it, or hangs.
    pub poison: bool,
    /// Whether it goes from In to the store.
    pub inbound: bool,
    /// Whether it waits in MTS-OUT, not yet converted to a file.
    pub in_mts_out: bool,
    /// Its names directly in the folder of its queue, unaltered.
    pub live: Vec<PathBuf>,
    /// Its names anywhere else, unaltered.
    pub elsewhere: Vec<PathBuf>,
    /// Files that hold its MTS-ID in a spool header but other bytes.
    pub altered: Vec<PathBuf>,
    /// How often the next hop, or the store, accepted it.
    pub delivered: usize,
}

impl Account {
    /// Whether it is nowhere, was never delivered and waits in no folder of the store.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.delivered == 0 && !self.in_mts_out && self.live.is_empty() && self.elsewhere.is_empty()
    }
}

impl Balance {
    /// The messages that are nowhere.
    #[must_use]
    pub fn lost(&self) -> Vec<&Account> {
        self.accounts
            .iter()
            .filter(|account| account.is_lost())
            .collect()
    }

    /// The messages that the next hop accepted more than once.
    #[must_use]
    pub fn duplicated(&self) -> Vec<&Account> {
        self.accounts
            .iter()
            .filter(|account| account.delivered > 1)
            .collect()
    }

    /// The messages of which a file with other bytes exists.
    #[must_use]
    pub fn altered(&self) -> Vec<&Account> {
        self.accounts
            .iter()
            .filter(|account| !account.altered.is_empty())
            .collect()
    }

    /// The account of the message with this spool name.
    #[must_use]
    pub fn by_spool_name(&self, name: &str) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| account.spool_name == name)
    }
}

impl World {
    /// Submits a message to MTS-OUT; the service converts it to a spool file when it next runs.
    pub(super) fn submit(&mut self, to: &str, size: usize, harm: Harm) -> usize {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let spool_name = loop {
            let name: String = (0..8)
                .map(|_| char::from(LETTERS[self.rng.usize(..LETTERS.len())]))
                .collect();
            if self
                .messages
                .iter()
                .all(|message| message.spool_name != name)
            {
                break name;
            }
        };
        let stamp = super::logs::stamp(self.now_ms);
        let mts_id = format!("c=US;a= ;p=SIMULATED;l=SERVERB{stamp}{spool_name}");
        let number = self.messages.len();
        let message_id =
            format!("<c=US%a=_%p=SIMULATED%l=SERVERB-{stamp}Z-{number}@serverb.simulated.example>");
        let sender = "sender@site.example".to_owned();
        let filler: String = (0..size)
            .map(|_| char::from(self.rng.u8(b'a'..=b'z')))
            .collect();
        let text = format!(
            "Received: by serverb.simulated.example id {spool_name}\r\nMessage-ID: {message_id}\r\n\
             From: {sender}\r\nTo: {to}\r\nSubject: message {number}\r\n\r\n{filler}\r\n"
        );
        let recipients = vec![to.to_owned()];
        let bytes = spool_bytes(&sender, &recipients, &mts_id, &text).into();
        self.messages.push(Message {
            mts_id,
            spool_name,
            message_id,
            sender,
            recipients,
            bytes,
            harm,
            inbound: false,
            in_mts_out: true,
            unremoved: false,
            deliveries: Vec::new(),
        });
        number
    }

    /// Converts a submitted message: its spool file appears in Out and it is scheduled.
    pub(super) fn convert(&mut self, number: usize) {
        let message = &mut self.messages[number];
        message.in_mts_out = false;
        let path = Path::new(OUT).join(&message.spool_name);
        let bytes = Arc::clone(&message.bytes);
        self.disk.put(&path, &bytes, self.now_ms);
        self.disk.free = self.disk.free.saturating_sub(bytes.len() as u64);
        self.track(number, 1010);
    }

    /// A message that was received: its spool file appears in In.
    pub(super) fn receive(&mut self, size: usize, harm: Harm) -> usize {
        let number = self.submit("somebody@site.example", size, harm);
        let message = &mut self.messages[number];
        message.in_mts_out = false;
        message.inbound = true;
        let path = Path::new(IN).join(&message.spool_name);
        let bytes = Arc::clone(&message.bytes);
        self.disk.put(&path, &bytes, self.now_ms);
        self.disk.free = self.disk.free.saturating_sub(bytes.len() as u64);
        self.track(number, 1012);
        number
    }

    pub(super) fn balance(&self) -> Balance {
        let mut accounts: Vec<Account> = self
            .messages
            .iter()
            .map(|message| Account {
                mts_id: message.mts_id.clone(),
                spool_name: message.spool_name.clone(),
                message_id: message.message_id.clone(),
                poison: message.harm != Harm::Nothing,
                inbound: message.inbound,
                in_mts_out: message.in_mts_out,
                live: Vec::new(),
                elsewhere: Vec::new(),
                altered: Vec::new(),
                delivered: message.deliveries.len(),
            })
            .collect();
        let whole: BTreeMap<&[u8], usize> = self
            .messages
            .iter()
            .enumerate()
            .map(|(n, m)| (&*m.bytes, n))
            .collect();
        for (path, content) in self.disk.files() {
            if let Some(&number) = whole.get(&*content) {
                let account = &mut accounts[number];
                let queue = if account.inbound { IN } else { OUT };
                let place = if path.parent() == Some(Path::new(queue)) {
                    &mut account.live
                } else {
                    &mut account.elsewhere
                };
                place.push(path);
            } else if content.starts_with(b"\xF7ImCr") {
                let text = String::from_utf8_lossy(&content);
                if let Some(account) = accounts.iter_mut().find(|a| text.contains(&a.mts_id)) {
                    account.altered.push(path);
                }
            }
        }
        Balance { accounts }
    }
}

fn spool_bytes(sender: &str, recipients: &[String], mts_id: &str, text: &str) -> Vec<u8> {
    let mut bytes = b"\xF7ImCr".to_vec();
    let short = |number: usize, bytes: &mut Vec<u8>| {
        // Nothing that is simulated is longer than 64 KiB.
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        bytes.extend(number.to_le_bytes());
    };
    short(1, &mut bytes);
    short(sender.len(), &mut bytes);
    bytes.extend(sender.as_bytes());
    short(recipients.len(), &mut bytes);
    for recipient in recipients {
        short(recipient.len(), &mut bytes);
        bytes.extend(recipient.as_bytes());
    }
    short(mts_id.len(), &mut bytes);
    bytes.extend(mts_id.as_bytes());
    bytes.extend(b"EwLs");
    bytes.extend(text.as_bytes());
    bytes
}
