//! Inbound mail: from the wire to `Work`, to `In`, and to MTS-IN in the store.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use jiff::Timestamp;

use super::fault::Moment;
use super::{INTERNAL, Ims};
use crate::event_log::Gravity;
use crate::fault::Place;
use crate::lab_error::{Attempting, LabError};
use crate::server_dir::{ServerDir, spooled};
use crate::smtp_log::SmtpLog;
use crate::smtp_server::{self, Received};
use crate::spool::{SpoolMessage, SpoolName, mts_id};
use crate::store;
use crate::tracking_log::{Befell, Record};

/// The first number of an inbound connection's log; outbound connections have the ones below.
const FIRST_LOG: usize = 100;

/// Listens at the server's port of 127.0.0.1: the one of the last run where it is still free.
pub(super) fn listen(server: &ServerDir) -> Result<TcpListener, LabError> {
    let known = std::fs::read_to_string(server.smtp_port()).ok();
    let known = known.and_then(|text| text.trim().parse::<u16>().ok());
    let listener = known
        .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .map_or_else(|| TcpListener::bind("127.0.0.1:0"), Ok)
        .attempting(|| "listen for mail".to_owned())?;
    let port = listener
        .local_addr()
        .attempting(|| "learn the port".to_owned())?
        .port();
    std::fs::write(server.smtp_port(), port.to_string())
        .attempting(|| "write down the port".to_owned())?;
    listener
        .set_nonblocking(true)
        .attempting(|| "listen for mail".to_owned())?;
    Ok(listener)
}

/// Takes connections until the IMS stops.
pub(super) fn receive(ims: &Ims, listener: &TcpListener) {
    std::thread::scope(|threads| {
        let mut number = FIRST_LOG;
        while !ims.stopping() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let log = number;
                    number += 1;
                    threads.spawn(move || serve(ims, stream, log));
                }
                // Nobody calls: the listener does not block, so that a stop is seen.
                Err(_) => std::thread::sleep(super::LOOK),
            }
        }
    });
}

fn serve(ims: &Ims, stream: TcpStream, number: usize) {
    let log = SmtpLog::open(&ims.server.log(), number).ok();
    let _ = stream.set_nonblocking(false);
    let Ok(closer) = stream.try_clone() else {
        return;
    };
    std::thread::scope(|threads| {
        let (over, ended) = std::sync::mpsc::channel::<()>();
        // A silent client must not hold up the stop of the service.
        threads.spawn(move || {
            while !ims.stopping() {
                match ended.recv_timeout(Duration::from_millis(50)) {
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
            let _ = closer.shutdown(std::net::Shutdown::Read);
        });
        let mut random = fastrand::Rng::new();
        let _ = smtp_server::converse(stream, &ims.config.name, log.as_ref(), |received| {
            let name = SpoolName::make(&mut random);
            take(ims, &name, received).map_err(|error| error.whole())?;
            Ok(format!("OK {name}"))
        });
        drop(over);
    });
}

fn take(ims: &Ims, name: &SpoolName, received: Received) -> Result<(), LabError> {
    let message = SpoolMessage {
        sender: received.sender,
        recipients: received.recipients,
        mts_id: mts_id(&ims.config.name, Timestamp::now(), name),
        text: received.text,
    };
    let work = ims.server.work();
    std::fs::write(work.join(name.as_str()), message.encode())
        .attempting(|| format!("write `{name}` to Work"))?;
    store::hand_over(name, &work, &ims.server.inbound())?;
    track(ims, Befell::ReceivedInbound, name, &message);
    Ok(())
}

/// Converts what is in `In`, until the IMS stops.
pub(super) fn convert(ims: &Ims) {
    while !ims.stopping() {
        for file in spooled(&ims.server.inbound()).unwrap_or_default() {
            if ims.stopping() {
                return;
            }
            let from = ims.server.inbound();
            // Held for the whole conversion: nobody may move a file that is being converted.
            let Ok(mut open) = File::open(from.join(file.name.as_str())) else {
                continue;
            };
            let mut bytes = Vec::new();
            if open.try_lock().is_err() || open.read_to_end(&mut bytes).is_err() {
                continue;
            }
            let message = match SpoolMessage::parse(&bytes) {
                Ok(message) => message,
                Err(error) => {
                    let text = format!(
                        "The spool file {} failed and was moved to the archive: {}",
                        file.name,
                        error.whole()
                    );
                    ims.events
                        .write(4117, Gravity::Error, "Content Conversion", &text);
                    let _ = store::hand_over(&file.name, &from, &ims.server.inbound_archive());
                    continue;
                }
            };
            ims.come_upon(Place::In, Moment::Read, &file.name, &message.text);
            if ims.stopping() {
                return;
            }
            if ims.vanishes(Place::In, &message.text) {
                // No event, no report, no archive.
                let _ = std::fs::remove_file(from.join(file.name.as_str()));
                continue;
            }
            if ims.config.archive {
                let archived = ims.server.inbound_archive().join(file.name.as_str());
                let _ = std::fs::hard_link(from.join(file.name.as_str()), archived);
            }
            match store::deliver(&file.name, &from, &ims.server.mts_in()) {
                Ok(()) => track(ims, Befell::TransferredInbound, &file.name, &message),
                Err(error) => ims
                    .events
                    .write(4102, Gravity::Error, INTERNAL, &error.whole()),
            }
        }
        // Nothing tells of a new file in the folder.
        std::thread::sleep(super::LOOK);
    }
}

fn track(ims: &Ims, befell: Befell, name: &SpoolName, message: &SpoolMessage) {
    let befell = match befell {
        // 4.0 tracks nothing when it has received a message.
        Befell::ReceivedInbound if ims.config.is_4_0() => return,
        Befell::TransferredInbound if ims.config.is_4_0() => Befell::GatewayIn,
        other => other,
    };
    if ims.drops_record_of(&message.text) {
        let text = "A tracking record could not be written and is dropped.";
        return ims.events.write(3016, Gravity::Error, INTERNAL, text);
    }
    let record = Record {
        befell,
        mts_id: &message.mts_id,
        partner: "",
        message_id: &message.message_id().unwrap_or_default(),
        spool_name: name.as_str(),
        originator: &message.sender,
        bytes: message.text.len(),
        recipients: &message.recipients,
    };
    if let Err(error) = ims.tracking.write(&record) {
        ims.events
            .write(3016, Gravity::Error, INTERNAL, &error.whole());
    }
}
