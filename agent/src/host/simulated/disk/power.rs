//! What a power loss leaves of a disk.
//!
//! The model, weaker than any journaling file system gives, so that what holds here holds there:
//!
//! - Every name that was added to a folder, changed or removed since the folder was last synced survives or
//!   does not, whatever becomes of the others: a move across two folders is two changes.
//! - One promise: whatever has a name now and had a durable one keeps at least one of them. A move
//!   that was cut leaves the old name, the new one or both, never neither.
//! - A folder is moved, or exchanges names with another, whole or not at all: it never has two names.
//! - A sync of a folder makes all its names durable, and nothing else.
//! - Of a file that was not synced, nothing is left, or the first half, or all. No other byte changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Disk, Node};

/// More undecided changes than this are not enumerated: the cases double with each.
const MOST_CHANGES: usize = 16;

/// How much of a file that was not synced is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Half,
    All,
}

/// What is left of a disk: names of each folder, and lengths of the files that were not synced.
type Remains = (BTreeMap<u64, BTreeMap<String, u64>>, Vec<(u64, usize)>);

impl Disk {
    /// The power fails: of every change to a name that was not synced, `keeps` decides whether it
    /// survives; files that were not synced are empty.
    pub(in super::super) fn lose_power(&mut self, mut keeps: impl FnMut() -> bool) {
        let keeps: Vec<bool> = self.changes().iter().map(|_| keeps()).collect();
        let left = vec![Left::Nothing; self.unwritten().len()];
        let remains = self.remains(&keeps, &left);
        self.become_what_remains(&remains);
    }

    /// Every disk that a power loss can leave now, each once.
    ///
    /// # Panics
    /// Where more than 16 changes are undecided: sync more often, or take fewer messages.
    pub(in super::super) fn power_cuts(&self) -> Vec<Self> {
        let (changes, unwritten) = (self.changes().len(), self.unwritten().len());
        assert!(
            changes + unwritten <= MOST_CHANGES,
            "{changes} names and {unwritten} files are undecided"
        );
        let mut seen: BTreeSet<Remains> = BTreeSet::new();
        let lengths = [Left::Nothing, Left::Half, Left::All];
        for names in 0..1_u32 << changes {
            let keeps: Vec<bool> = (0..changes).map(|bit| names >> bit & 1 == 1).collect();
            for mut lengths_of in 0..lengths.len().pow(u32::try_from(unwritten).unwrap_or(0)) {
                let mut left = Vec::with_capacity(unwritten);
                for _ in 0..unwritten {
                    left.push(lengths[lengths_of % lengths.len()]);
                    lengths_of /= lengths.len();
                }
                seen.insert(self.remains(&keeps, &left));
            }
        }
        let left = |remains: &Remains| {
            let mut disk = self.clone();
            disk.become_what_remains(remains);
            disk
        };
        seen.iter().map(left).collect()
    }

    /// The names that differ from what is durable, in order.
    fn changes(&self) -> Vec<(u64, String)> {
        let mut changes = Vec::new();
        for (&folder, node) in &self.nodes {
            if let Node::Folder { names, durable, .. } = node {
                let all: BTreeSet<&String> = names.keys().chain(durable.keys()).collect();
                let changed = all
                    .into_iter()
                    .filter(|name| names.get(*name) != durable.get(*name));
                changes.extend(changed.map(|name| (folder, name.clone())));
            }
        }
        changes
    }

    /// The files that were not synced and still have, or had, a name.
    fn unwritten(&self) -> Vec<u64> {
        let mut named: BTreeSet<u64> = BTreeSet::new();
        for node in self.nodes.values() {
            if let Node::Folder { names, durable, .. } = node {
                named.extend(names.values().chain(durable.values()));
            }
        }
        let unwritten = |(id, node): (&u64, &Node)| {
            let open =
                matches!(node, Node::File { synced: false, content, .. } if !content.is_empty());
            (open && named.contains(id)).then_some(*id)
        };
        self.nodes.iter().filter_map(unwritten).collect()
    }

    fn remains(&self, keeps: &[bool], left: &[Left]) -> Remains {
        let mut after: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
        let mut reachable: BTreeSet<u64> = BTreeSet::new();
        for (&folder, node) in &self.nodes {
            if let Node::Folder { names, durable, .. } = node {
                after.insert(folder, durable.clone());
                reachable.extend(names.values());
            }
        }
        let mut old: Vec<(u64, String, u64)> = Vec::new();
        let changes = self.changes();
        let mut keeps = keeps.to_vec();
        for [first, second] in &self.coupled {
            let at = |wanted| changes.iter().position(|change| change == wanted);
            if let (Some(first), Some(second)) = (at(first), at(second)) {
                keeps[second] = keeps[first];
            }
        }
        for ((folder, name), keep) in changes.into_iter().zip(keeps) {
            let Some(Node::Folder { names, durable, .. }) = self.nodes.get(&folder) else {
                continue;
            };
            if let Some(&was) = durable.get(&name) {
                old.push((folder, name.clone(), was));
            }
            if let (true, Some(kept)) = (keep, after.get_mut(&folder)) {
                match names.get(&name) {
                    Some(&id) => kept.insert(name, id),
                    None => kept.remove(&name),
                };
            }
        }
        // The promise.
        let mut survivors: BTreeSet<u64> =
            after.values().flat_map(BTreeMap::values).copied().collect();
        for (folder, name, id) in old {
            if reachable.contains(&id)
                && !survivors.contains(&id)
                && let Some(names) = after.get_mut(&folder)
            {
                names.insert(name, id);
                survivors.insert(id);
            }
        }
        let lengths = self.unwritten().into_iter().zip(left).map(|(id, left)| {
            let all = match self.nodes.get(&id) {
                Some(Node::File { content, .. }) => content.len(),
                _ => 0,
            };
            let kept = match left {
                Left::Nothing => 0,
                Left::Half => all / 2,
                Left::All => all,
            };
            (id, kept)
        });
        (after, lengths.collect())
    }

    fn become_what_remains(&mut self, (after, lengths): &Remains) {
        self.coupled.clear();
        for (folder, kept) in after {
            if let Some(Node::Folder { names, durable, .. }) = self.nodes.get_mut(folder) {
                durable.clone_from(kept);
                names.clone_from(kept);
            }
        }
        for (id, length) in lengths {
            if let Some(Node::File { content, .. }) = self.nodes.get_mut(id) {
                *content = Arc::from(&content[..*length]);
            }
        }
        for node in self.nodes.values_mut() {
            if let Node::File { synced, .. } = node {
                *synced = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn disk() -> Disk {
        let mut disk = Disk::new(1_000_000);
        for folder in ["/out", "/held"] {
            disk.make_one(Path::new(folder), None).unwrap();
        }
        disk.sync(Path::new("/")).unwrap();
        disk.put(Path::new("/out/A"), b"mail", 1);
        disk
    }

    fn places(disk: &Disk) -> Vec<String> {
        disk.files()
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    #[test]
    fn a_cut_move_leaves_the_old_name_the_new_one_or_both_and_never_neither() {
        let mut seen = BTreeSet::new();
        for choice in 0..4 {
            let mut disk = disk();
            disk.move_new(Path::new("/out/A"), Path::new("/held/A"))
                .unwrap();
            let mut bits = [choice & 1 == 1, choice & 2 == 2].into_iter();
            disk.lose_power(|| bits.next().unwrap());
            let names = places(&disk);
            assert!(!names.is_empty(), "choice {choice} lost the file");
            seen.insert(names);
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_written_out_is_empty() {
        let mut disk = disk();
        disk.move_new(Path::new("/out/A"), Path::new("/held/A"))
            .unwrap();
        disk.sync(Path::new("/held")).unwrap();
        disk.sync(Path::new("/out")).unwrap();
        disk.create(Path::new("/held/B"), b"half", 2, false)
            .unwrap();
        disk.sync(Path::new("/held")).unwrap();
        disk.lose_power(|| false);
        assert_eq!(places(&disk), ["/held/A", "/held/B"]);
        assert_eq!(&*disk.file(Path::new("/held/B")).unwrap().1, b"");
    }

    #[test]
    fn an_unsynced_removal_may_come_back() {
        let mut disk = disk();
        disk.remove(Path::new("/out/A")).unwrap();
        disk.lose_power(|| false);
        assert_eq!(places(&disk), ["/out/A"]);
    }

    #[test]
    fn every_subset_of_two_cut_moves_is_there_once_and_none_has_lost_a_file() {
        let mut disk = disk();
        disk.put(Path::new("/out/B"), b"more", 1);
        for name in ["A", "B"] {
            disk.move_new(
                &Path::new("/out").join(name),
                &Path::new("/held").join(name),
            )
            .unwrap();
        }
        let cuts = disk.power_cuts();
        let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
        for cut in &cuts {
            let names = places(cut);
            for file in ["A", "B"] {
                assert!(names.iter().any(|name| name.ends_with(file)), "{names:?}");
            }
            assert!(seen.insert(names));
        }
        assert_eq!(seen.len(), 9, "the old name, the new one or both, of each");
        disk.sync(Path::new("/held")).unwrap();
        assert_eq!(
            disk.power_cuts().len(),
            4,
            "only the old names are undecided"
        );
        disk.sync(Path::new("/out")).unwrap();
        assert_eq!(disk.power_cuts().len(), 1);
    }

    #[test]
    fn a_source_that_is_synced_before_its_target_can_lose_the_file() {
        let mut disk = disk();
        disk.move_new(Path::new("/out/A"), Path::new("/held/A"))
            .unwrap();
        disk.sync(Path::new("/out")).unwrap();
        assert!(disk.power_cuts().iter().any(|cut| places(cut).is_empty()));
    }

    #[test]
    fn of_a_file_that_was_not_synced_nothing_half_or_all_is_left() {
        let mut disk = disk();
        disk.create(Path::new("/held/B"), b"half", 2, false)
            .unwrap();
        disk.sync(Path::new("/held")).unwrap();
        let mut left: Vec<Vec<u8>> = disk
            .power_cuts()
            .iter()
            .map(|cut| cut.file(Path::new("/held/B")).unwrap().1.to_vec())
            .collect();
        left.sort();
        assert_eq!(left, [b"".to_vec(), b"ha".to_vec(), b"half".to_vec()]);
    }
}
