//! Being told of files as they appear: inotify. A look at the folders stays the truth.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::reading;
use crate::host::new_files::{NewFile, NewFiles};
use crate::host::{HostError, Watch};

/// Room for the events of one read: some 60 of them.
const BUFFER: usize = 4096;

/// A thread waits in the kernel, so that a file is told of at once; it ends when this is dropped.
pub(super) struct FolderWatch {
    kernel: Arc<Kernel>,
    told: NewFiles,
}

struct Kernel {
    fd: OwnedFd,
    folders: HashMap<i32, PathBuf>,
    over: AtomicBool,
}

impl FolderWatch {
    pub(super) fn of(folders: &[PathBuf]) -> Result<Self, HostError> {
        let failed = |what: String, errno: Errno| reading(what, &errno.into());
        let fd = inotify::init(CreateFlags::CLOEXEC)
            .map_err(|errno| failed("be told of new files".into(), errno))?;
        let mut watched = HashMap::new();
        for folder in folders {
            let wanted = WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR
                | WatchFlags::DONT_FOLLOW;
            let number = inotify::add_watch(&fd, folder, wanted)
                .map_err(|errno| failed(format!("watch `{}`", folder.display()), errno))?;
            watched.insert(number, folder.clone());
        }
        let kernel = Arc::new(Kernel {
            fd,
            folders: watched,
            over: AtomicBool::new(false),
        });
        let (tell, told) = NewFiles::channel("the kernel tells nothing more");
        let heard = Arc::clone(&kernel);
        std::thread::Builder::new()
            .name("new files".into())
            .spawn(move || heard.listen(&tell))
            .map_err(|error| reading("be told of new files", &error))?;
        Ok(Self { kernel, told })
    }
}

impl Kernel {
    fn listen(&self, tell: &Sender<NewFile>) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        while !self.over.load(Ordering::Acquire) {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().and_then(|name| name.to_str().ok());
                    if let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), name)
                        && tell.send((folder.clone(), name.to_owned())).is_err()
                    {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                // Nothing more is told: who waits sees the channel closed.
                Err(_) => return,
            }
        }
    }
}

impl Watch for FolderWatch {
    fn wait(&mut self, limit: Duration) -> Result<Vec<NewFile>, HostError> {
        self.told.wait(limit)
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.kernel.over.store(true, Ordering::Release);
        for number in self.kernel.folders.keys() {
            // A watch that ends is told of as well: that wakes the thread.
            let _ = inotify::remove_watch(&self.kernel.fd, *number);
        }
    }
}
