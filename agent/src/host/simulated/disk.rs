//! A disk that forgets what was not synced when its power fails.
//!
//! A folder has the names that everybody sees and the names that are durable; [`power`] says what a
//! power loss keeps of the changes in between.

mod power;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::host::{FileInfo, FileKind, HostErrorKind};

type Result<T> = std::result::Result<T, (HostErrorKind, &'static str)>;

const NOT_THERE: (HostErrorKind, &str) = (HostErrorKind::NotFound, "there is nothing of that name");
const THERE: (HostErrorKind, &str) = (HostErrorKind::Exists, "something of that name is there");

#[derive(Debug, Clone)]
enum Node {
    File {
        content: Arc<[u8]>,
        modified_ms: i64,
        synced: bool,
    },
    Folder {
        names: BTreeMap<String, u64>,
        durable: BTreeMap<String, u64>,
        volume: u32,
    },
    Link,
}

#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Changes of names that a file system makes durable together: those of folders.
    coupled: Vec<[(u64, String); 2]>,
    /// Free bytes; what is written takes them, what is removed gives them back.
    pub(super) free: u64,
}

const ROOT: u64 = 1;

impl Disk {
    pub(super) fn new(free: u64) -> Self {
        let root = Node::Folder {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            volume: 1,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            coupled: Vec::new(),
            free,
        }
    }

    fn add(&mut self, node: Node) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    fn names(&self, folder: u64) -> Result<&BTreeMap<String, u64>> {
        match self.nodes.get(&folder) {
            Some(Node::Folder { names, .. }) => Ok(names),
            Some(Node::Link) => Err((HostErrorKind::Reparse, "a link stands on the way")),
            _ => Err((HostErrorKind::NotFound, "it is no folder")),
        }
    }

    fn names_mut(&mut self, folder: u64) -> Result<&mut BTreeMap<String, u64>> {
        match self.nodes.get_mut(&folder) {
            Some(Node::Folder { names, .. }) => Ok(names),
            Some(Node::Link) => Err((HostErrorKind::Reparse, "a link stands on the way")),
            _ => Err((HostErrorKind::NotFound, "it is no folder")),
        }
    }

    fn node(&self, path: &Path) -> Result<u64> {
        let mut at = vec![ROOT];
        for component in path.components() {
            let here = at.last().copied().unwrap_or(ROOT);
            match component {
                Component::Normal(name) => {
                    let name = name.to_string_lossy();
                    at.push(*self.names(here)?.get(&*name).ok_or(NOT_THERE)?);
                }
                Component::ParentDir => {
                    at.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(at.last().copied().unwrap_or(ROOT))
    }

    /// The folder that holds a path, and the name in it.
    fn place(&self, path: &Path) -> Result<(u64, String)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err((HostErrorKind::Malformed, "the path has no name at its end"));
        };
        let folder = self.node(parent)?;
        self.names(folder)?;
        Ok((folder, name.to_string_lossy().into_owned()))
    }

    fn info(&self, name: &str, id: u64) -> FileInfo {
        let (kind, size, modified_ms) = match self.nodes.get(&id) {
            Some(Node::File {
                content,
                modified_ms,
                ..
            }) => (FileKind::File, content.len() as u64, *modified_ms),
            Some(Node::Folder { .. }) => (FileKind::Folder, 0, 0),
            Some(Node::Link) | None => (FileKind::Other, 0, 0),
        };
        FileInfo {
            name: name.to_owned(),
            kind,
            file_id: id,
            size,
            modified_ms,
        }
    }

    pub(super) fn list(&self, folder: &Path) -> Result<Vec<FileInfo>> {
        let names = self.names(self.node(folder)?)?;
        Ok(names
            .iter()
            .map(|(name, &id)| self.info(name, id))
            .collect())
    }

    /// Whether a folder has a file that the service would take.
    pub(super) fn has_spool_file(&self, folder: &Path) -> bool {
        let names = self.node(folder).and_then(|id| self.names(id));
        names.is_ok_and(|names| {
            names.iter().any(|(name, id)| {
                name.len() == 8 && matches!(self.nodes.get(id), Some(Node::File { .. }))
            })
        })
    }

    pub(super) fn look(&self, path: &Path) -> Result<Option<FileInfo>> {
        let (folder, name) = match self.place(path) {
            Ok(place) => place,
            Err((HostErrorKind::NotFound, _)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self
            .names(folder)?
            .get(&name)
            .map(|&id| self.info(&name, id)))
    }

    /// The id and content of a regular file.
    pub(super) fn file(&self, path: &Path) -> Result<(u64, Arc<[u8]>)> {
        let (folder, name) = self.place(path)?;
        let id = *self.names(folder)?.get(&name).ok_or(NOT_THERE)?;
        match self.nodes.get(&id) {
            Some(Node::File { content, .. }) => Ok((id, Arc::clone(content))),
            Some(Node::Link) => Err((HostErrorKind::Reparse, "it is a link")),
            _ => Err((HostErrorKind::Io, "it is a folder")),
        }
    }

    pub(super) fn move_new(&mut self, from: &Path, to: &Path) -> Result<()> {
        let id = self.file(from)?.0;
        let (source, old) = self.place(from)?;
        let (target, new) = self.place(to)?;
        self.one_volume(source, target)?;
        if self.names(target)?.contains_key(&new) {
            return Err(THERE);
        }
        self.names_mut(source)?.remove(&old);
        self.names_mut(target)?.insert(new, id);
        Ok(())
    }

    pub(super) fn link_new(&mut self, from: &Path, to: &Path) -> Result<()> {
        let id = self.file(from)?.0;
        let (source, _) = self.place(from)?;
        let (target, new) = self.place(to)?;
        self.one_volume(source, target)?;
        if self.names(target)?.contains_key(&new) {
            return Err(THERE);
        }
        self.names_mut(target)?.insert(new, id);
        Ok(())
    }

    /// A new file, synced or not.
    pub(super) fn create(
        &mut self,
        path: &Path,
        bytes: &[u8],
        now: i64,
        synced: bool,
    ) -> Result<()> {
        let (folder, name) = self.place(path)?;
        if self.names(folder)?.contains_key(&name) {
            return Err(THERE);
        }
        let size = bytes.len() as u64;
        if size > self.free {
            return Err((HostErrorKind::NoSpace, "the volume is full"));
        }
        self.free -= size;
        let id = self.add(Node::File {
            content: bytes.into(),
            modified_ms: now,
            synced,
        });
        self.names_mut(folder)?.insert(name, id);
        Ok(())
    }

    /// Writes a file of the server's own, new or not, name and content durable at once.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8], now: i64) {
        let Ok((folder, name)) = self.place(path) else {
            return;
        };
        let there = self
            .names(folder)
            .ok()
            .and_then(|names| names.get(&name))
            .copied();
        let node = Node::File {
            content: bytes.into(),
            modified_ms: now,
            synced: true,
        };
        let id = match there {
            Some(id) => {
                self.nodes.insert(id, node);
                id
            }
            None => self.add(node),
        };
        if let Some(Node::Folder { names, durable, .. }) = self.nodes.get_mut(&folder) {
            names.insert(name.clone(), id);
            durable.insert(name, id);
        }
    }

    /// Appends to a file of the server's own, durable at once.
    pub(super) fn append(&mut self, path: &Path, bytes: &[u8], now: i64) {
        let mut content = self
            .file(path)
            .map_or_else(|_| Vec::new(), |(_, old)| old.to_vec());
        content.extend_from_slice(bytes);
        self.put(path, &content, now);
    }

    pub(super) fn put_link(&mut self, path: &Path) {
        let id = self.add(Node::Link);
        if let Ok((folder, name)) = self.place(path)
            && let Ok(names) = self.names_mut(folder)
        {
            names.insert(name, id);
        }
    }

    pub(super) fn touch(&mut self, path: &Path, modified: i64) {
        if let Ok((id, _)) = self.file(path)
            && let Some(Node::File { modified_ms, .. }) = self.nodes.get_mut(&id)
        {
            *modified_ms = modified;
        }
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<()> {
        let size = self.file(path)?.1.len() as u64;
        let (folder, name) = self.place(path)?;
        self.names_mut(folder)?.remove(&name);
        self.free += size;
        Ok(())
    }

    /// Makes one folder; its name is not durable until its parent is synced.
    pub(super) fn make_one(&mut self, path: &Path, volume: Option<u32>) -> Result<()> {
        let (parent, name) = self.place(path)?;
        if let Some(&id) = self.names(parent)?.get(&name) {
            return self.names(id).map(drop);
        }
        let volume = volume.unwrap_or_else(|| self.volume(parent));
        let folder = Node::Folder {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            volume,
        };
        let id = self.add(folder);
        self.names_mut(parent)?.insert(name, id);
        Ok(())
    }

    pub(super) fn sync(&mut self, folder: &Path) -> Result<()> {
        let id = self.node(folder)?;
        self.names(id)?;
        self.make_durable(id, None);
        let (with, without): (Vec<_>, Vec<_>) = std::mem::take(&mut self.coupled)
            .into_iter()
            .partition(|pair| pair.iter().any(|(folder, _)| *folder == id));
        self.coupled = without;
        for (folder, name) in with.into_iter().flatten() {
            self.make_durable(folder, Some(&name));
        }
        Ok(())
    }

    /// Makes one name of a folder durable, or all.
    fn make_durable(&mut self, folder: u64, name: Option<&str>) {
        let Some(Node::Folder { names, durable, .. }) = self.nodes.get_mut(&folder) else {
            return;
        };
        match name {
            None => durable.clone_from(names),
            Some(name) => {
                match names.get(name) {
                    Some(&id) => durable.insert(name.to_owned(), id),
                    None => durable.remove(name),
                };
            }
        }
    }

    /// Lets two folders exchange their names.
    pub(super) fn exchange_folders(&mut self, a: &Path, b: &Path) -> Result<()> {
        let ((folder_a, name_a), (folder_b, name_b)) = (self.place(a)?, self.place(b)?);
        let (id_a, id_b) = (self.node(a)?, self.node(b)?);
        self.names(id_a)?;
        self.names(id_b)?;
        self.one_volume(id_a, id_b)?;
        self.names_mut(folder_a)?.insert(name_a.clone(), id_b);
        self.names_mut(folder_b)?.insert(name_b.clone(), id_a);
        self.coupled.push([(folder_a, name_a), (folder_b, name_b)]);
        Ok(())
    }

    pub(super) fn move_folder_new(&mut self, from: &Path, to: &Path) -> Result<()> {
        let ((source, old), (target, new)) = (self.place(from)?, self.place(to)?);
        let id = self.node(from)?;
        self.names(id)?;
        self.one_volume(source, target)?;
        if self.names(target)?.contains_key(&new) {
            return Err(THERE);
        }
        self.names_mut(source)?.remove(&old);
        self.names_mut(target)?.insert(new.clone(), id);
        self.coupled.push([(source, old), (target, new)]);
        Ok(())
    }

    fn volume(&self, folder: u64) -> u32 {
        match self.nodes.get(&folder) {
            Some(Node::Folder { volume, .. }) => *volume,
            _ => 1,
        }
    }

    fn one_volume(&self, a: u64, b: u64) -> Result<()> {
        if self.volume(a) == self.volume(b) {
            Ok(())
        } else {
            Err((
                HostErrorKind::CrossVolume,
                "the two paths are not on one volume",
            ))
        }
    }

    /// The volume of what is at a path.
    pub(super) fn volume_of(&self, path: &Path) -> Result<u32> {
        let id = self.node(path)?;
        match self.nodes.get(&id) {
            Some(Node::Folder { volume, .. }) => Ok(*volume),
            _ => self.place(path).map(|(folder, _)| self.volume(folder)),
        }
    }

    /// Every file, under every name that it has.
    pub(super) fn files(&self) -> Vec<(PathBuf, Arc<[u8]>)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, id)) = open.pop() {
            match self.nodes.get(&id) {
                Some(Node::Folder { names, .. }) => {
                    open.extend(names.iter().map(|(name, &id)| (path.join(name), id)));
                }
                Some(Node::File { content, .. }) => found.push((path, Arc::clone(content))),
                Some(Node::Link) | None => {}
            }
        }
        found.sort();
        found
    }
}
