//! Outbound mail: from the store to the spool, and from the spool to the next hop.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fault::Moment;
use super::smtp_client::{Offered, SmtpClient};
use super::{INTERNAL, Ims, TRANSFER};
use crate::event_log::Gravity;
use crate::fault::Place;
use crate::lab_error::{Attempting, LabError};
use crate::queue_index::{Job, Settled};
use crate::server_dir::spooled;
use crate::smtp_log::SmtpLog;
use crate::spool::{SpoolMessage, SpoolName};
use crate::store;
use crate::tracking_log::{Befell, Record};

/// Times between attempts, in minutes of life; the last one repeats (Q146669).
const RETRY_MINUTES: [u64; 4] = [15, 30, 60, 240];
/// How long a connection is kept for the next message.
const IDLE: Duration = Duration::from_millis(500);

/// Converts what is in MTS-OUT, until the IMS stops.
pub(super) fn convert(ims: &Ims) {
    let mut told = None::<Instant>;
    while !ims.stopping() {
        ims.tell_of_a_damaged_mta(&mut told);
        // A folder that cannot be read now may be readable at the next look.
        for file in spooled(&ims.server.mts_out()).unwrap_or_default() {
            if ims.stopping() {
                return;
            }
            if ims.trouble.was_converted(&file.name) {
                continue;
            }
            if let Err(error) = convert_one(ims, &file.name) {
                let text = format!(
                    "Message {} could not be converted: {}",
                    file.name,
                    error.whole()
                );
                ims.events
                    .write(4081, Gravity::Error, "Content Conversion", &text);
            }
        }
        // Nothing tells of a new message in the store.
        std::thread::sleep(super::LOOK);
    }
}

fn convert_one(ims: &Ims, name: &SpoolName) -> Result<(), LabError> {
    let from = ims.server.mts_out();
    if let Ok(message) = std::fs::read(from.join(name.as_str()))
        .attempting(|| format!("read `{name}`"))
        .and_then(|bytes| SpoolMessage::parse(&bytes))
    {
        ims.come_upon(Place::MtsOut, Moment::Read, name, &message.text);
        if ims.stopping() {
            return Ok(());
        }
        if ims.vanishes(Place::MtsOut, &message.text) {
            // From the store itself: no file of it was ever in the spool.
            let _ = std::fs::remove_file(from.join(name.as_str()));
            return Ok(());
        }
    }
    if ims.config.archive {
        // A second name, made before the first can go away; that it is there already is no matter.
        let _ = std::fs::hard_link(
            from.join(name.as_str()),
            ims.server.outbound_archive().join(name.as_str()),
        );
    }
    if ims.trouble.keeps_sent() {
        // A scanner or a damaged folder holds the item: it is read, and stays until what was sent is removed.
        if !ims.trouble.first_conversion(name) || !store::copy(name, &from, &ims.server.outbound())?
        {
            return Ok(());
        }
    } else {
        store::hand_over(name, &from, &ims.server.outbound())?;
    }
    let bytes = std::fs::read(ims.server.outbound().join(name.as_str())).unwrap_or_default();
    if let Ok(message) = SpoolMessage::parse(&bytes) {
        track(
            ims,
            Befell::QueuedOutbound,
            &message,
            name,
            "",
            &message.recipients,
        );
    }
    ims.enqueue(name);
    Ok(())
}

/// Delivers over one connection at a time, until the IMS stops.
pub(super) fn deliver(ims: &Ims, number: usize) {
    let log = match SmtpLog::open(&ims.server.log(), number) {
        Ok(log) => log,
        Err(error) => {
            ims.events
                .write(4070, Gravity::Error, INTERNAL, &error.whole());
            return;
        }
    };
    let mut open: Option<(String, SmtpClient<'_>)> = None;
    let mut used = Instant::now();
    while !ims.stopping() {
        let job = if ims.trouble.outbound_is_stuck() {
            None
        } else {
            ims.queue().take(Ims::now_ms())
        };
        let Some(job) = job else {
            if used.elapsed() > IDLE
                && let Some((_, client)) = open.take()
            {
                client.quit();
            }
            ims.rest();
            continue;
        };
        let settled = attempt(ims, &log, &job, &mut open);
        used = Instant::now();
        let whole_file_done = ims.queue().settle(&job, settled);
        ims.queue_changed.store(true, Ordering::Relaxed);
        if whole_file_done {
            remove(ims, &job.entry.file);
        } else if settled == Settled::Delivered {
            // Other destinations of the file are still waiting: what is done must be known even after
            // a crash, or it is done twice.
            ims.write_queue();
        }
    }
    if let Some((_, client)) = open.take() {
        client.quit();
    }
}

fn attempt<'a>(
    ims: &Ims,
    log: &'a SmtpLog,
    job: &Job,
    open: &mut Option<(String, SmtpClient<'a>)>,
) -> Settled {
    let name = &job.entry.file;
    // Held for the whole attempt: nobody may move a file that is being sent.
    let mut file = match File::open(ims.server.outbound().join(name.as_str())) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Settled::Gone,
        // Under Windows somebody who has opened it for himself alone keeps it from being opened.
        Err(_) => return later(ims, job.entry.attempts + 1),
    };
    let mut bytes = Vec::new();
    if file.try_lock().is_err() || file.read_to_end(&mut bytes).is_err() {
        return later(ims, job.entry.attempts + 1);
    }
    let message = match SpoolMessage::parse(&bytes) {
        Ok(message) => message,
        Err(error) => {
            let text = format!(
                "The spool file {name} will be retried at restart: {}",
                error.whole()
            );
            ims.events.write(4182, Gravity::Error, INTERNAL, &text);
            return Settled::Gone;
        }
    };
    ims.come_upon(Place::Out, Moment::Read, name, &message.text);
    if ims.stopping() {
        return later(ims, job.entry.attempts);
    }
    let hop = &job.entry.next_hop;
    if open.as_ref().is_none_or(|(connected, _)| connected != hop) {
        if let Some((_, client)) = open.take() {
            client.quit();
        }
        match SmtpClient::connect(hop, &ims.config.name, log) {
            Ok(client) => {
                ims.queue().hop_answered(hop);
                *open = Some((hop.clone(), client));
            }
            Err(error) => return unreachable_hop(ims, log, job, &error),
        }
    }
    let Some((_, client)) = open.as_mut() else {
        return later(ims, job.entry.attempts + 1);
    };
    match client.offer(
        &message.sender,
        &job.entry.recipients,
        &message.text,
        || {
            ims.come_upon(Place::Out, Moment::Offered, name, &message.text);
        },
    ) {
        Ok(Offered::Taken) => {
            track(
                ims,
                Befell::TransferredOutbound,
                &message,
                name,
                hop,
                &job.entry.recipients,
            );
            Settled::Delivered
        }
        Ok(Offered::Refused(reply)) => {
            let text =
                format!("The host {hop} refused {name}: {reply}. Rescheduling delivery for later.");
            ims.events.write(2001, Gravity::Warning, TRANSFER, &text);
            later(ims, job.entry.attempts + 1)
        }
        Err(error) => {
            *open = None;
            unreachable_hop(ims, log, job, &error)
        }
    }
}

fn unreachable_hop(ims: &Ims, log: &SmtpLog, job: &Job, error: &std::io::Error) -> Settled {
    let hop = &job.entry.next_hop;
    log.write([
        format!("499 No routing hosts are reachable ({hop}: {error})").as_str(),
        "Rescheduling delivery for later",
    ]);
    let mut until = 0;
    ims.queue().hop_failed(hop, |failures| {
        until = next_try(ims, failures);
        until
    });
    let text = format!("A connection to the host {hop} could not be made: {error}");
    ims.events
        .write(3010, Gravity::Warning, "SMTP Interface Events", &text);
    Settled::Later(until)
}

fn later(ims: &Ims, failures: u32) -> Settled {
    Settled::Later(next_try(ims, failures))
}

fn next_try(ims: &Ims, failures: u32) -> i64 {
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let minutes = RETRY_MINUTES[index.min(RETRY_MINUTES.len() - 1)];
    let period = ims
        .config
        .clock_factor
        .shorten(Duration::from_secs(minutes * 60));
    Ims::now_ms() + i64::try_from(period.as_millis()).unwrap_or(i64::MAX / 2)
}

fn remove(ims: &Ims, name: &SpoolName) {
    match std::fs::remove_file(ims.server.outbound().join(name.as_str())) {
        Ok(()) => {
            ims.queue().forget(name);
            if ims.trouble.keeps_sent() {
                remove_from_store(ims, name);
            }
        }
        Err(error) => {
            let text = format!(
                "The message {name} was delivered and could not be removed; it will be sent again at \
                 the next start: {error}"
            );
            ims.events.write(3038, Gravity::Error, INTERNAL, &text);
        }
    }
}

/// Removes what was sent from MTS-OUT; the item is closed to it while a scanner or a damaged folder holds it.
fn remove_from_store(ims: &Ims, name: &SpoolName) {
    let path = ims.server.mts_out().join(name.as_str());
    if !ims.trouble.keeps_sent_now(&ims.server) {
        // A person may have removed it meanwhile.
        let _ = std::fs::remove_file(path);
    } else if path.exists() {
        let text = format!(
            "The message {name} was sent and could not be removed from the outbound folder of the \
             information store. If the service is stopped before it is removed it will be sent again."
        );
        ims.events.write(3038, Gravity::Error, INTERNAL, &text);
    }
}

fn track(
    ims: &Ims,
    befell: Befell,
    message: &SpoolMessage,
    name: &SpoolName,
    partner: &str,
    recipients: &[String],
) {
    let befell = match befell {
        // 4.0 tracks nothing when the next hop has a message: only the SMTP log tells.
        Befell::TransferredOutbound if ims.config.is_4_0() => return,
        Befell::QueuedOutbound if ims.config.is_4_0() => Befell::GatewayOut,
        other => other,
    };
    let record = Record {
        befell,
        mts_id: &message.mts_id,
        partner,
        message_id: &message.message_id().unwrap_or_default(),
        spool_name: name.as_str(),
        originator: &message.sender,
        bytes: message.text.len(),
        recipients,
    };
    if let Err(error) = ims.tracking.write(&record) {
        ims.events
            .write(3016, Gravity::Error, INTERNAL, &error.whole());
    }
}
