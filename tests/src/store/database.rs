//! PRIV.EDB, the private store, as far as the mailbox of the IMS depends on it: pages of 4 KiB, one thing on each.
//!
//! The store of Exchange is a B-tree of many tables; here a page says in JSON what it holds. What matters is as in
//! life: a damaged folder keeps what should be removed from it, a mailbox that was deleted may stand in the
//! file still, and the file never gets smaller unless it is written anew.

use std::fs::File;
use std::io::{BufWriter, Write};

use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::server_dir::ServerDir;
use crate::whole_file;

/// The bytes of a page.
pub const PAGE: usize = 4096;
/// How many pages of a new store hold what is no matter here, and how many hold nothing any more.
const OTHERS: u32 = 48;

/// What is wrong with the folder of the IMS in the store, and so what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FolderDamage {
    /// The folder itself: a new mailbox has a new one.
    Folder,
    /// The table of folders, so that every folder is as bad until isinteg -fix has mended it.
    Table,
    /// The folder itself, and the deleted mailbox stays under Mailbox Resources, so that a new one gets the
    /// same folder until the store is defragmented (Q322829).
    StillListed,
}

/// What is on a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Page {
    /// The table of folders.
    Folders {
        /// Whether it is damaged.
        damaged: bool,
        /// Whether a deleted mailbox stays listed.
        keeps_deleted: bool,
    },
    /// The mailbox of the IMS.
    Mailbox {
        /// Rises with each that is made.
        number: u32,
        /// Its outbound folder.
        folder: u32,
        /// Deleted, and listed still.
        deleted: bool,
    },
    /// An outbound folder.
    Folder {
        /// Its number.
        number: u32,
        /// Whether it is damaged.
        damaged: bool,
    },
    /// What belongs to others.
    Other(u32),
    /// Nothing any more.
    Free,
}

/// PRIV.EDB, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pages: Vec<Page>,
}

impl Database {
    /// A store as it is after some years, with this damage.
    #[must_use]
    pub fn damaged(damage: FolderDamage) -> Self {
        let mut pages = vec![
            Page::Folders {
                damaged: damage == FolderDamage::Table,
                keeps_deleted: damage == FolderDamage::StillListed,
            },
            Page::Mailbox {
                number: 1,
                folder: 1,
                deleted: false,
            },
            Page::Folder {
                number: 1,
                damaged: damage != FolderDamage::Table,
            },
        ];
        for number in 0..OTHERS {
            pages.extend([Page::Other(number), Page::Free]);
        }
        Self { pages }
    }

    /// Reads the store of a server; `None` where it has none that matters.
    ///
    /// # Errors
    /// Where it cannot be read or makes no sense.
    pub fn read(server: &ServerDir) -> Result<Option<Self>, LabError> {
        let path = server.private_store();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error).attempting(|| format!("read `{}`", path.display()))?,
        };
        let page = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0);
            serde_json::from_slice(&bytes[..end.unwrap_or(bytes.len())]).map_err(|error| {
                LabError::Malformed {
                    what: format!("`{}`", path.display()),
                    reason: error.to_string(),
                }
            })
        };
        let pages = bytes.chunks(PAGE).map(page).collect::<Result<_, _>>()?;
        Ok(Some(Self { pages }))
    }

    /// As [`Self::read`], for a tool that needs one.
    ///
    /// # Errors
    /// As there, and where there is none.
    pub fn of(server: &ServerDir) -> Result<Self, LabError> {
        Self::read(server)?.ok_or_else(|| LabError::Refused {
            attempted: format!("open `{}`", server.private_store().display()),
            reason: "there is no such file".to_owned(),
        })
    }

    /// Writes the store, in place.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, server: &ServerDir) -> Result<(), LabError> {
        whole_file::write(&server.private_store(), &self.bytes().concat())
    }

    /// Writes the store page by page into another file, synced; `room` says how many bytes that may take.
    ///
    /// # Errors
    /// Where there is not enough room, or it cannot be written.
    pub fn write_beside(&self, server: &ServerDir, room: u64) -> Result<(), LabError> {
        let path = server.defragmenting();
        let attempted = || format!("write `{}`", path.display());
        let mut file = BufWriter::new(File::create(&path).attempting(attempted)?);
        let mut left = room;
        for page in self.bytes() {
            left = left
                .checked_sub(PAGE as u64)
                .ok_or_else(|| LabError::Refused {
                    attempted: attempted(),
                    reason: "there is not enough space on the disk".to_owned(),
                })?;
            file.write_all(&page).attempting(attempted)?;
        }
        let file = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).attempting(attempted)
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let page = |page: &Page| {
            let mut bytes = serde_json::json!(page).to_string().into_bytes();
            bytes.resize(PAGE, 0);
            bytes
        };
        self.pages.iter().map(page).collect()
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The mailbox of the IMS, by its number; none while the service is deleted.
    #[must_use]
    pub fn mailbox(&self) -> Option<u32> {
        self.current().map(|(number, _)| number)
    }

    fn current(&self) -> Option<(u32, u32)> {
        self.pages.iter().find_map(|page| match page {
            Page::Mailbox {
                number,
                folder,
                deleted: false,
            } => Some((*number, *folder)),
            _ => None,
        })
    }

    /// Whether a deleted mailbox of the IMS stands under Mailbox Resources still.
    #[must_use]
    pub fn lists_deleted(&self) -> bool {
        let deleted = |page: &Page| matches!(page, Page::Mailbox { deleted: true, .. });
        self.pages.iter().any(deleted)
    }

    /// Whether what was sent cannot be removed from the outbound folder of the IMS.
    #[must_use]
    pub fn keeps_what_was_sent(&self) -> bool {
        let folder = self.current().map(|(_, folder)| folder);
        self.pages.iter().any(|page| match page {
            Page::Folders { damaged, .. } => *damaged,
            Page::Folder { number, damaged } => *damaged && Some(*number) == folder,
            _ => false,
        })
    }

    /// Deletes the mailbox of the IMS with its folder; it may stay listed.
    pub fn delete_mailbox(&mut self) {
        let keeps = self.pages.iter().any(|page| {
            matches!(
                page,
                Page::Folders {
                    keeps_deleted: true,
                    ..
                }
            )
        });
        let Some((gone, its_folder)) = self.current() else {
            return;
        };
        for page in &mut self.pages {
            match page {
                Page::Mailbox {
                    number, deleted, ..
                } if *number == gone => {
                    if keeps {
                        *deleted = true;
                    } else {
                        *page = Page::Free;
                    }
                }
                Page::Folder { number, .. } if *number == its_folder && !keeps => {
                    *page = Page::Free;
                }
                _ => {}
            }
        }
    }

    /// Makes a mailbox for the IMS. Where a deleted one is listed still it gets the folder of that one.
    pub fn make_mailbox(&mut self) {
        let (mut last, mut folder) = (0, None);
        for page in &self.pages {
            if let Page::Mailbox {
                number,
                folder: its,
                deleted,
            } = page
            {
                last = last.max(*number);
                folder = deleted.then_some(*its).or(folder);
            }
        }
        let number = last.max(1) + 1;
        if folder.is_none() {
            self.pages.push(Page::Folder {
                number,
                damaged: false,
            });
        }
        self.pages.push(Page::Mailbox {
            number,
            folder: folder.unwrap_or(number),
            deleted: false,
        });
    }

    /// isinteg -fix, one pass: mends the table of folders and the folders that are no deleted mailbox's.
    /// Returns how many errors it found, and mended.
    pub fn fix(&mut self) -> usize {
        let listed: Vec<u32> = self
            .pages
            .iter()
            .filter_map(|page| match page {
                Page::Mailbox {
                    folder,
                    deleted: true,
                    ..
                } => Some(*folder),
                _ => None,
            })
            .collect();
        let mut fixed = 0;
        for page in &mut self.pages {
            let damaged = match page {
                Page::Folders { damaged, .. } => damaged,
                Page::Folder { number, damaged } if !listed.contains(number) => damaged,
                _ => continue,
            };
            fixed += usize::from(std::mem::take(damaged));
        }
        fixed
    }

    /// What defragmenting leaves: no free page, no deleted mailbox, and a folder of its own for the mailbox of the
    /// IMS where it had a deleted one's.
    #[must_use]
    pub fn defragmented(&self) -> Self {
        let mut pages: Vec<Page> = self.pages.clone();
        let deleted: Vec<u32> = pages
            .iter()
            .filter_map(|page| match page {
                Page::Mailbox {
                    folder,
                    deleted: true,
                    ..
                } => Some(*folder),
                _ => None,
            })
            .collect();
        pages.retain(|page| match page {
            Page::Free | Page::Mailbox { deleted: true, .. } => false,
            Page::Folder { number, .. } => !deleted.contains(number),
            _ => true,
        });
        let mut own = None;
        for page in &mut pages {
            if let Page::Mailbox { number, folder, .. } = page
                && deleted.contains(folder)
            {
                *folder = *number;
                own = Some(*number);
            }
        }
        pages.extend(own.map(|number| Page::Folder {
            number,
            damaged: false,
        }));
        Self { pages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recreated(damage: FolderDamage) -> Database {
        let mut store = Database::damaged(damage);
        assert!(store.keeps_what_was_sent());
        store.delete_mailbox();
        assert_eq!(store.mailbox(), None);
        store.make_mailbox();
        assert_eq!(store.mailbox(), Some(2));
        store
    }

    #[test]
    fn each_damage_is_mended_by_its_own_tool_and_by_no_lighter_one() {
        let folder = recreated(FolderDamage::Folder);
        assert!(!folder.keeps_what_was_sent() && !folder.lists_deleted());
        let mut table = recreated(FolderDamage::Table);
        assert!(table.keeps_what_was_sent());
        assert!(table.defragmented().keeps_what_was_sent());
        assert_eq!((table.fix(), table.fix()), (1, 0));
        assert!(!table.keeps_what_was_sent());
        let mut listed = recreated(FolderDamage::StillListed);
        assert!(listed.lists_deleted());
        assert_eq!(listed.fix(), 0);
        assert!(listed.keeps_what_was_sent());
        let written = listed.defragmented();
        assert!(!written.keeps_what_was_sent() && !written.lists_deleted());
        assert!(written.pages() < listed.pages());
        assert_eq!(written.mailbox(), Some(2));
    }

    #[test]
    fn a_store_reads_back_as_it_was_written_and_is_never_written_where_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let server = ServerDir::new(folder.path());
        server.lay_out().unwrap();
        assert_eq!(Database::read(&server).unwrap(), None);
        assert!(Database::of(&server).is_err());
        let store = Database::damaged(FolderDamage::Table);
        store.write(&server).unwrap();
        assert_eq!(Database::of(&server).unwrap(), store);
        let bytes = (store.pages() * PAGE) as u64;
        assert!(store.write_beside(&server, bytes - 1).is_err());
        store.write_beside(&server, bytes).unwrap();
    }
}
