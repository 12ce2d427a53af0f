//! A queue of the Internet Mail Service in the name of one run: where it is, who owns it, and what custody
//! needs to act on it.

use std::path::{Path, PathBuf};

use mailmend_policy::condition::{PathRoot, Queue};
use mailmend_policy::name::ServiceName;
use mailmend_proto::run::{Batch, BatchId, Event, RunId, RunState, ServiceChange};
use uuid::{Builder, Uuid};

use crate::ablation::{Mechanism, off};
use crate::condition::EVENT_STARTED;
use crate::custody::quarantine::{Take, Taken};
use crate::custody::recover::{Circumstances, recover};
use crate::custody::{
    CustodyError, Desk, HowStopped, Limits, Records, Stopped, index, whole, withdraw,
};
use crate::faults::known;
use crate::host::{HostErrorKind, ServiceState, ServiceStatus};
use crate::inbox::held_root;
use crate::journal::JournalError;
use crate::station::{Station, Trouble};

/// The service that owns the queues, 4.0 to 5.5.
pub const MAIL_SERVICE: &str = "MSExchangeIMC";

/// A queue that is a folder of files.
pub(crate) struct QueueCare<'a> {
    station: &'a Station,
    run: RunId,
    service: ServiceName,
    queue: Queue,
    imcdata: PathBuf,
    folder: PathBuf,
}

impl<'a> QueueCare<'a> {
    /// The queue, where it is a folder that the guard allows to change.
    pub(crate) fn open(station: &'a Station, run: RunId, queue: Queue) -> Result<Self, String> {
        let folder = queue
            .folder()
            .ok_or_else(|| format!("queue `{}` is no folder of files", queue.name()))?;
        let imcdata = station
            .host
            .root(PathRoot::Imcdata)
            .map_err(|error| format!("could not {error}"))?;
        let folder = imcdata.join(folder);
        for path in [&folder, &held_root(&station.guard, &imcdata)] {
            let allowed = station.guard.allows_path(path);
            if !off(Mechanism::GuardAtStep) {
                allowed.map_err(|refusal| refusal.to_string())?;
            }
        }
        let service = MAIL_SERVICE
            .parse()
            .map_err(|fault| format!("`{MAIL_SERVICE}` is no service name: {fault}"))?;
        Ok(Self {
            station,
            run,
            service,
            queue,
            imcdata,
            folder,
        })
    }

    pub(crate) const fn service(&self) -> &ServiceName {
        &self.service
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn imcdata(&self) -> &Path {
        &self.imcdata
    }

    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk {
            host: self.station.host.as_ref(),
            journal: &self.station.journal,
            run: self.run,
        }
    }

    /// What is to be taken, into a batch of this id, within the guard's limits and `most_files`.
    pub(crate) fn take(&self, batch: BatchId, step: Option<u32>, most_files: u64) -> Take {
        let limits = self.station.guard.limits();
        Take {
            batch,
            step,
            queue: self.queue,
            source: self.folder.clone(),
            held_root: held_root(&self.station.guard, &self.imcdata),
            limits: Limits {
                files: limits.files_per_action.min(most_files),
                bytes: limits.bytes_per_action,
                least_free: limits.least_free_bytes,
            },
        }
    }

    /// The batch that a step takes: the same id on every try, so that a try after a crash is the same.
    pub(crate) fn batch_of_step(&self, step: u32) -> BatchId {
        self.batch_id(&format!("step {step}"))
    }

    /// The batch of copies that an order takes up for this queue.
    pub(crate) fn batch_of_order(&self, order: Uuid) -> BatchId {
        self.batch_id(&format!("copies {order} {}", self.queue.name()))
    }

    /// The batch that is taken for this reason from this queue.
    pub(crate) fn batch_of(&self, what: &str) -> BatchId {
        self.batch_id(&format!("{what} {}", self.queue.name()))
    }

    fn batch_id(&self, what: &str) -> BatchId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.run.0.as_bytes());
        hasher.update(what.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let id: Uuid = Builder::from_random_bytes(bytes).into_uuid();
        BatchId(id)
    }

    /// The batches that a step of this run took.
    pub(crate) fn batches_of_step(&self, step: u32) -> Result<Vec<BatchId>, JournalError> {
        let state = self.station.state(self.run)?;
        let of_step = state
            .batches
            .iter()
            .filter(|(_, batch)| batch.step == Some(step));
        Ok(of_step.map(|(id, _)| *id).collect())
    }

    /// What the server's records say about messages.
    pub(crate) fn records(&self) -> Records<'_> {
        Records(self.station.host.as_ref())
    }

    /// Proves that the service is stopped: the manager says so, its process is gone, and nobody has its
    /// index open, which catches a process that nobody knows of any more.
    pub(crate) fn prove_stopped(&self) -> Result<Result<Stopped, String>, Trouble> {
        let host = self.station.host.as_ref();
        let status = match host.services().query(&self.service) {
            Ok(status) => status,
            Err(error) => return Ok(Err(format!("could not {error}"))),
        };
        let how = how_stopped(&status, &*self.station.state(self.run)?, self.station);
        let proof = match Stopped::prove(host, &self.service, status.process.as_ref(), how) {
            Ok(proof) => proof,
            Err(CustodyError::Journal(error)) => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        };
        match host
            .spool()
            .probe_exclusive(&self.imcdata.join(index::FILE))
        {
            Err(error)
                if error.kind == HostErrorKind::Locked && !off(Mechanism::StoppedByOpenIndex) =>
            {
                Ok(Err(format!(
                    "{}: `{}` says that it is stopped, and somebody has `{}` open",
                    const { known("A080-service-not-stopped") },
                    self.service,
                    index::FILE
                )))
            }
            _ => Ok(Ok(proof)),
        }
    }

    /// Lists the files of folders that this run holds whole, the service being up again: they become batches.
    pub(crate) fn list_whole_folders(&self) -> Result<(), CustodyError> {
        let state = self.station.state(self.run)?;
        let folders: Vec<BatchId> = state.folders.keys().copied().collect();
        drop(state);
        for batch in folders {
            let survey = self.station.kept_survey(batch);
            whole::take_stock(&self.desk(), batch, survey, &self.records())?;
        }
        Ok(())
    }

    /// Finishes what custody was interrupted in, in this run.
    pub(crate) fn recover(&self) -> Result<(), CustodyError> {
        let stopped = match self.prove_stopped() {
            Ok(stopped) => stopped.ok(),
            Err(Trouble::Journal(error)) => return Err(error.into()),
            Err(Trouble::Interrupted) => None,
        };
        let circumstances = Circumstances {
            stopped: stopped.as_ref(),
            may_have_run: self.may_have_run()?,
        };
        recover(&self.desk(), circumstances, &self.records())?;
        Ok(())
    }

    /// As [`Self::recover`], where nobody stopped the service for it: it may have run all the time.
    pub(crate) fn recover_while_running(&self) -> Result<(), CustodyError> {
        let stopped = match self.prove_stopped() {
            Ok(stopped) => stopped.ok(),
            Err(Trouble::Journal(error)) => return Err(error.into()),
            Err(Trouble::Interrupted) => None,
        };
        let circumstances = Circumstances {
            stopped: stopped.as_ref(),
            may_have_run: true,
        };
        recover(&self.desk(), circumstances, &self.records())?;
        Ok(())
    }

    /// Whether somebody else may have started the service since we stopped it: it runs, the machine was
    /// started again, or its log shows a start.
    fn may_have_run(&self) -> Result<bool, JournalError> {
        let state = self.station.state(self.run)?;
        let now = self.station.now();
        let rebooted = state
            .section
            .as_ref()
            .is_some_and(|open| open.boot != now.boot);
        let runs = self
            .station
            .host
            .services()
            .query(&self.service)
            .is_ok_and(|status| status.state != ServiceState::Stopped);
        if rebooted || runs {
            return Ok(true);
        }
        let mut stopped_ms = None;
        for record in self.station.journal.records(self.run)? {
            if let Event::ServiceChanged {
                service,
                change: ServiceChange::Stopped | ServiceChange::Killed | ServiceChange::Died,
                ..
            } = &record.event
                && *service == self.service
            {
                stopped_ms = Some(record.at_ms);
            }
        }
        let Some(stopped_ms) = stopped_ms else {
            return Ok(true);
        };
        // A log that cannot be read does not say that nothing happened.
        Ok(self
            .station
            .host
            .events()
            .read(self.service.as_str(), stopped_ms)
            .map_or(true, |events| {
                events.iter().any(|event| event.id == EVENT_STARTED)
            }))
    }

    /// Takes back from the queue what replays of this batch placed there, and nothing else.
    pub(crate) fn take_back(
        &self,
        batch: BatchId,
        stopped: &Stopped,
    ) -> Result<Taken, CustodyError> {
        withdraw::take_back(&self.desk(), batch, &self.folder, stopped, &self.records())
    }

    /// The queue of that name, which a batch came from.
    pub(crate) fn of_batch(
        station: &'a Station,
        run: RunId,
        batch: &Batch,
    ) -> Result<Self, String> {
        let queue = Queue::ALL
            .iter()
            .find(|(name, _)| *name == batch.queue)
            .map(|(_, queue)| *queue)
            .ok_or_else(|| format!("`{}` is no queue", batch.queue))?;
        Self::open(station, run, queue)
    }

    /// Sets aside what may have been sent, before a start after an unclean stop.
    pub(crate) fn set_aside(&self, stopped: &Stopped) -> Result<(), CustodyError> {
        let number = self.station.state(self.run)?.batches.len();
        let batch = self.batch_id(&format!("in doubt {} {number}", self.queue.name()));
        let take = self.take(batch, None, u64::MAX);
        let desk = self.desk();
        let taken =
            crate::custody::in_doubt::set_aside_in_doubt(&desk, &take, stopped, &self.records())?;
        let (in_doubt, gone) = (taken.in_doubt, taken.gone);
        if in_doubt > 0 {
            let text = format!(
                "{in_doubt} messages of `{}` may have been sent when `{}` stopped uncleanly; they are held, {gone} more were delivered",
                self.folder.display(),
                self.service
            );
            let code = const { known("A069-in-doubt") }.into();
            self.station
                .record(self.run, vec![Event::Alarm { code, text }])?;
        }
        Ok(())
    }
}

/// How a service that is stopped came to be so, as far as the run and the manager know.
pub(crate) fn how_stopped(
    status: &ServiceStatus,
    state: &RunState,
    station: &Station,
) -> HowStopped {
    let service = MAIL_SERVICE;
    let last = state
        .services
        .iter()
        .find(|(name, _)| name.as_str().eq_ignore_ascii_case(service))
        .map(|(_, change)| *change);
    let ended = matches!(
        last,
        Some(ServiceChange::Killed | ServiceChange::KillIntended | ServiceChange::Died)
    );
    let failed = status.exit_code.is_some_and(|code| code != 0);
    let rebooted = state
        .section
        .as_ref()
        .is_some_and(|open| open.boot != station.now().boot);
    if ended || failed || rebooted {
        HowStopped::Uncleanly
    } else {
        HowStopped::Cleanly
    }
}
