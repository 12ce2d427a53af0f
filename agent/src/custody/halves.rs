//! Doing the same to many files on two threads: files of a few KiB are bound by calls, big ones by
//! hashing, and the servers in question have at least two processors.

/// From so many files on a second thread is worth its start.
const FILES: usize = 256;
/// From so many bytes on, however few the files.
const BYTES: u64 = 16 << 20;

/// The results in the order of the items. Few small files stay on this thread, so that small cases, the
/// crash sweeps among them, happen in one order.
pub(super) fn on_two_threads<T: Send, R: Send>(
    mut items: Vec<T>,
    bytes: u64,
    act: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    if items.len() < FILES && bytes < BYTES {
        return items.into_iter().map(act).collect();
    }
    let second = items.split_off(items.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| second.into_iter().map(&act).collect::<Vec<R>>());
        let mut all: Vec<R> = items.into_iter().map(&act).collect();
        match other.join() {
            Ok(more) => all.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_however_many_there_are() {
        for count in [0, 1, 255, 256, 257, 5000] {
            for bytes in [0, BYTES] {
                let doubled = on_two_threads((0..count).collect(), bytes, |n: usize| n * 2);
                assert_eq!(doubled, (0..count).map(|n| n * 2).collect::<Vec<_>>());
            }
        }
    }
}
