//! The simulated Internet Mail Service: it takes files from Out and sends them, takes files from In and hands
//! them to the store, logs, removes them, and can be killed between any two of these.

use std::path::Path;

use super::mail::Harm;
use super::world::{IN, OUT, QUEUE_DAT, World};

/// How often it looks for new files.
const POLL_MS: u64 = 100;

#[derive(Debug, Clone, Default)]
pub(super) struct Ims {
    /// The process, while there is one.
    pub(super) pid: Option<u32>,
    /// Whether it takes new files: not while starting or stopping.
    pub(super) taking: bool,
    /// Whether the routes that it loaded lead anywhere.
    pub(super) routes_fresh: bool,
    pub(super) in_flight: Vec<Flight>,
    pub(super) next_poll: u64,
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) name: String,
    pub(super) number: Option<usize>,
    inbound: bool,
    connection: usize,
    stage: Stage,
    pub(super) due: u64,
}

/// What has happened last. A kill leaves it at that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// DATA and the header stand in the SMTP log; the text is on the wire.
    Begun,
    /// The next hop has it; nobody here knows.
    Accepted,
    /// The reply stands in the SMTP log.
    Replied,
    /// The tracking log has its 1011.
    Tracked,
    /// It holds the file open and gets nowhere.
    Hung,
}

/// The folder that a message is taken from.
const fn folder(inbound: bool) -> &'static str {
    if inbound { IN } else { OUT }
}

impl World {
    /// The process is up and has loaded what it needs.
    pub(super) fn ims_ready(&mut self) {
        self.ims.taking = true;
        self.ims.in_flight.clear();
        self.send_unremoved_again();
        self.ims.routes_fresh = self.table_fresh;
        self.ims.next_poll = self.up_ms + POLL_MS;
        self.write_route();
        self.write_queue_dat();
        for connection in 0..self.settings.connections {
            self.open_smtp_log(connection);
        }
        self.event(
            "MSExchangeIMC",
            1000,
            "The Internet Mail Service 5.0.1460.8 was started",
        );
    }

    /// Whatever was on its way stays as it is.
    pub(super) fn ims_gone(&mut self) {
        self.ims.pid = None;
        self.ims.taking = false;
        self.ims.in_flight.clear();
    }

    fn write_queue_dat(&mut self) {
        let names: Vec<String> = self
            .disk
            .list(Path::new(OUT))
            .map(|entries| entries.into_iter().map(|entry| entry.name).collect())
            .unwrap_or_default();
        let text = format!("{{\"outbound\":{names:?}}}\n");
        self.disk
            .put(Path::new(QUEUE_DAT), text.as_bytes(), self.now_ms);
    }

    /// When it next does something, in uptime.
    pub(super) fn ims_due(&self) -> Option<u64> {
        self.ims.pid?;
        let poll = self.ims.taking.then_some(self.ims.next_poll);
        self.ims
            .in_flight
            .iter()
            .map(|flight| flight.due)
            .chain(poll)
            .min()
    }

    /// Passes over the looks at the folders that would find nothing, up to a time: most of a server's life.
    pub(super) fn skip_idle_polls(&mut self, end: u64) {
        if self.ims.pid.is_none() || !self.ims.taking || self.ims.next_poll > end || !self.idles() {
            return;
        }
        let next = self.services_due().unwrap_or(end).min(end);
        let looks = next.saturating_sub(self.ims.next_poll) / POLL_MS;
        self.ims.next_poll += looks * POLL_MS;
    }

    /// Whether a look at the folders changes nothing, now and until something else does.
    pub(super) fn idles(&self) -> bool {
        let on_its_way = |flight: &Flight| flight.stage != Stage::Hung;
        if self.ims.in_flight.iter().any(on_its_way) || self.messages.iter().any(|m| m.in_mts_out) {
            return false;
        }
        [true, false].into_iter().all(|inbound| {
            let hangs = self
                .ims
                .in_flight
                .iter()
                .any(|flight| flight.inbound == inbound);
            let looked_at = inbound || self.ims.routes_fresh;
            hangs || !looked_at || !self.disk.has_spool_file(Path::new(folder(inbound)))
        })
    }

    pub(super) fn ims_step(&mut self) {
        let due = self
            .ims
            .in_flight
            .iter()
            .position(|flight| flight.due <= self.up_ms);
        if let Some(index) = due {
            self.fly(index);
        } else if self.ims.taking && self.ims.next_poll <= self.up_ms {
            self.ims.next_poll = self.up_ms + POLL_MS;
            self.poll();
        }
    }

    fn poll(&mut self) {
        let submitted: Vec<usize> = (0..self.messages.len())
            .filter(|&n| self.messages[n].in_mts_out)
            .collect();
        for number in submitted {
            self.convert(number);
        }
        self.poll_folder(true);
        if self.ims.routes_fresh {
            self.poll_folder(false);
        }
    }

    fn poll_folder(&mut self, inbound: bool) {
        let Ok(entries) = self.disk.list(Path::new(folder(inbound))) else {
            return;
        };
        for entry in entries {
            let of_queue = |flight: &&Flight| flight.inbound == inbound;
            let flying = || self.ims.in_flight.iter().filter(of_queue);
            // Whatever hangs lets nothing else of its queue through.
            if flying().any(|flight| flight.stage == Stage::Hung)
                || flying().count() >= self.settings.connections
            {
                return;
            }
            let free = !flying().any(|flight| flight.name == entry.name);
            let spool_file = entry.name.len() == 8 && entry.kind == crate::host::FileKind::File;
            if free && spool_file && self.ims.pid.is_some() {
                self.take(entry.name, inbound);
            }
        }
    }

    fn take(&mut self, name: String, inbound: bool) {
        let Ok((_, content)) = self.disk.file(&Path::new(folder(inbound)).join(&name)) else {
            return;
        };
        let number = self
            .messages
            .iter()
            .position(|message| message.bytes == content);
        let connection = (0..)
            .find(|n| {
                self.ims
                    .in_flight
                    .iter()
                    .all(|flight| flight.inbound || flight.connection != *n)
            })
            .unwrap_or(0);
        let mut stage = Stage::Begun;
        let harm = number.map_or(Harm::Nothing, |number| self.messages[number].harm);
        if harm == Harm::CrashUnlogged {
            self.dies_of_a_message();
            return;
        }
        if self.hangs.contains(&name) || harm == Harm::Hang {
            stage = Stage::Hung;
        } else if let (Some(number), false) = (number, inbound) {
            let message = self.messages[number].clone();
            self.smtp(connection, &format!("MAIL FROM:<{}>", message.sender));
            self.smtp(connection, "IO: |250 sender ok");
            for recipient in &message.recipients {
                self.smtp(connection, &format!("RCPT TO:<{recipient}>"));
                self.smtp(connection, "IO: |250 recipient ok");
            }
            self.smtp(connection, "DATA");
            self.smtp(connection, "IO: |354 go ahead");
            self.smtp(connection, &format!("Message-ID: {}", message.message_id));
        }
        let due = match stage {
            Stage::Hung => u64::MAX,
            _ => self.up_ms + self.settings.send_ms,
        };
        self.ims.in_flight.push(Flight {
            name,
            number,
            inbound,
            connection,
            stage,
            due,
        });
    }

    fn fly(&mut self, index: usize) {
        let step = self.settings.log_ms;
        let flight = &mut self.ims.in_flight[index];
        flight.due = self.up_ms + step;
        let (number, connection, inbound) = (flight.number, flight.connection, flight.inbound);
        let name = flight.name.clone();
        match flight.stage {
            Stage::Begun => {
                flight.stage = Stage::Accepted;
                match number {
                    Some(number) if self.harms(number) => self.dies_of_a_message(),
                    Some(number) => self.messages[number].deliveries.push(self.now_ms),
                    None => self.strangers_sent += 1,
                }
            }
            Stage::Accepted => {
                flight.stage = Stage::Replied;
                if !inbound {
                    self.smtp(connection, "IO: |250 message accepted");
                }
            }
            Stage::Replied => {
                flight.stage = Stage::Tracked;
                if let Some(number) = number {
                    self.track(number, if inbound { 1013 } else { 1011 });
                    if !inbound {
                        self.remove_sent(number);
                    }
                }
            }
            Stage::Tracked => {
                self.ims.in_flight.remove(index);
                // Whoever moved it away under the service's hands has it now; that is a fault of
                // whoever did, and the balance will show it. The removal is not synced: after a
                // power loss the file may be back.
                let _ = self.disk.remove(&Path::new(folder(inbound)).join(&name));
                self.write_queue_dat();
            }
            Stage::Hung => flight.due = u64::MAX,
        }
    }

    fn harms(&mut self, number: usize) -> bool {
        match self.messages[number].harm {
            Harm::Crash => true,
            Harm::Sometimes(of_ten) => self.rng.u8(..10) < of_ten,
            Harm::Nothing | Harm::CrashUnlogged | Harm::Hang => false,
        }
    }

    fn dies_of_a_message(&mut self) {
        self.event(
            "MSExchangeIMC",
            4037,
            "An exception (0xc0000005) was handled while a message was processed; the service ends.",
        );
        self.event("DrWatson", 4097, "The application msexcimc.exe failed");
        self.ims_died(0xC000_0005);
    }

    /// Whether the service has this file open.
    pub(super) fn ims_holds(&self, path: &Path) -> bool {
        let held = |flight: &Flight| Path::new(folder(flight.inbound)).join(&flight.name) == path;
        let queue = self.ims.pid.is_some() && path == Path::new(QUEUE_DAT);
        queue || self.ims.in_flight.iter().any(held)
    }
}
