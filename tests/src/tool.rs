//! The tools of a server that an agent's guard file may name. What Exchange offers only in a window,
//! an adapter does in life; here it is these.

pub mod connector;
pub mod eseutil;
pub mod imcsave;
pub mod isinteg;
pub mod mtacheck;
pub mod mts_out;

use jiff::Timestamp;

use crate::ims;
use crate::lab_error::LabError;
use crate::mta;
use crate::server_dir::ServerDir;
use crate::service_manager::{self, State};
use crate::spool::{self, SpoolMessage, SpoolName};
use crate::store;

/// Asks for a recalculation of the routing, which then goes on in the background.
///
/// # Errors
/// Where the MTA does not take the request.
pub fn recalculate(server: &ServerDir) -> Result<String, LabError> {
    mta::request_recalculation(server)?;
    Ok("routing recalculation requested".to_owned())
}

/// Sends a test message to an address through the server; the answer names its MTS-ID.
///
/// # Errors
/// Where it cannot be put into the store.
pub fn submit(server: &ServerDir, to: &str) -> Result<String, LabError> {
    let config = server.config()?;
    let now = Timestamp::now();
    let name = SpoolName::make(&mut fastrand::Rng::new());
    let mts_id = spool::mts_id(&config.name, now, &name);
    let text = format!(
        "From: <postmaster@contoso.example>\r\nTo: <{to}>\r\nSubject: Test message\r\n\
         Message-ID: <probe-{name}@{}.contoso.example>\r\n\r\nA test message of mailmend.\r\n",
        config.name
    );
    let message = SpoolMessage {
        sender: "postmaster@contoso.example".to_owned(),
        recipients: vec![to.to_owned()],
        mts_id: mts_id.clone(),
        text: text.into_bytes(),
    };
    store::submit(server, &name, &message, None)?;
    Ok(format!("submitted {mts_id}"))
}

/// What is said while a service uses the store.
fn store_in_use(server: &ServerDir) -> Result<Option<String>, LabError> {
    for service in [ims::SERVICE, ims::MTA] {
        let state = service_manager::state(server, service)?;
        if state != Some(State::Stopped) {
            return Ok(Some(
                "The information store is in use; stop it first.".to_owned(),
            ));
        }
    }
    Ok(None)
}
