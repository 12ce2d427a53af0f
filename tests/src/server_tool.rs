//! The tools of a server, as the command line has them.

use std::path::PathBuf;

use clap::Subcommand;
use mailmend_lab::lab_error::LabError;
use mailmend_lab::server_dir::ServerDir;
use mailmend_lab::tool;

/// Which server.
#[derive(Debug, clap::Args)]
pub(crate) struct OfServer {
    /// The server's folder.
    #[arg(long)]
    server_dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InPlace {
    #[command(flatten)]
    server: OfServer,
    /// A name that no call before had; what is written goes there.
    #[arg(long)]
    place: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Ask for a recalculation of the site's routing.
    Recalculate(OfServer),
    /// Save what is in the folders of the IMS's mailbox.
    Imcsave(InPlace),
    /// List what is in MTS-OUT by MTS-ID.
    ListMtsOut(OfServer),
    /// Export what the IMS is set to.
    ExportConnector(InPlace),
    /// Compare the IMS with its last export; changes nothing.
    CompareConnector(OfServer),
    /// Measure whether there is room to defragment the store; changes nothing.
    StoreRoom(OfServer),
    /// Check and fix the store, once; it must not be in use.
    IsintegFix(OfServer),
    /// Defragment the store, which must not be in use.
    EseutilD(OfServer),
    /// Make a full backup of the store.
    BackUpStore(OfServer),
    /// Save the MTA's database, which must not be in use.
    SaveMtadata(OfServer),
    /// Check and repair the MTA's database, once; prints one of four verdicts.
    Mtacheck(OfServer),
    /// Send a test message; prints `submitted` and its MTS-ID.
    Submit {
        #[command(flatten)]
        server: OfServer,
        /// The recipient.
        #[arg(long)]
        to: String,
    },
}

impl OfServer {
    pub(crate) fn dir(&self) -> ServerDir {
        ServerDir::new(&self.server_dir)
    }
}

impl Tool {
    /// Runs it; returns what it prints.
    pub(crate) fn run(&self) -> Result<String, LabError> {
        match self {
            Self::Recalculate(server) => tool::recalculate(&server.dir()),
            Self::Imcsave(InPlace { server, place }) => {
                tool::imcsave::save(&server.dir(), place.as_deref())
            }
            Self::ListMtsOut(server) => tool::mts_out::list(&server.dir()),
            Self::ExportConnector(InPlace { server, place }) => {
                tool::connector::export(&server.dir(), place.as_deref())
            }
            Self::CompareConnector(server) => tool::connector::compare(&server.dir()),
            Self::StoreRoom(server) => tool::eseutil::room(&server.dir()),
            Self::IsintegFix(server) => tool::isinteg::fix(&server.dir()),
            Self::EseutilD(server) => tool::eseutil::defragment(&server.dir()),
            Self::BackUpStore(server) => tool::eseutil::back_up(&server.dir()),
            Self::SaveMtadata(server) => tool::mtacheck::save(&server.dir()),
            Self::Mtacheck(server) => tool::mtacheck::check(&server.dir()),
            Self::Submit { server, to } => tool::submit(&server.dir(), to),
        }
    }
}
