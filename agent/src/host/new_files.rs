//! Files as they appear: what a thread that listens to the machine tells whoever waits for them.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{HostError, HostErrorKind};

/// A folder, and the name in it that has appeared.
pub(super) type NewFile = (PathBuf, String);

/// The end that waits.
pub(super) struct NewFiles {
    told: Receiver<NewFile>,
    /// What is said when nobody listens any more.
    silent: &'static str,
}

impl NewFiles {
    /// Both ends. When all who tell are gone, whoever waits is told `silent`.
    pub(super) fn channel(silent: &'static str) -> (Sender<NewFile>, Self) {
        let (tell, told) = channel();
        (tell, Self { told, silent })
    }

    /// All that has appeared, as soon as there is one; none when the limit has passed.
    pub(super) fn wait(&self, limit: Duration) -> Result<Vec<NewFile>, HostError> {
        let first = match self.told.recv_timeout(limit) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(HostError::unchanged(
                    HostErrorKind::Io,
                    "be told of new files",
                    self.silent,
                ));
            }
        };
        let mut found = vec![first];
        found.extend(self.told.try_iter());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_has_appeared_is_told_at_once_and_silence_is_an_error() {
        let (tell, files) = NewFiles::channel("nobody listens");
        assert_eq!(files.wait(Duration::ZERO), Ok(Vec::new()));
        let file = |name: &str| (PathBuf::from("in"), name.to_owned());
        tell.send(file("A")).unwrap();
        tell.send(file("B")).unwrap();
        assert_eq!(files.wait(Duration::MAX), Ok(vec![file("A"), file("B")]));
        // What was told before the end is not lost with it.
        tell.send(file("C")).unwrap();
        drop(tell);
        assert_eq!(files.wait(Duration::MAX), Ok(vec![file("C")]));
        let error = files.wait(Duration::MAX).unwrap_err();
        assert_eq!(error.reason, "nobody listens");
    }
}
