//! Doing the same to many files on two threads: files of a few KiB are bound by calls, big ones by
//! hashing, and the servers in question have at least two processors.

/// From so many files on a second thread is worth its start.
const FILES: usize = 256;
/// From so many bytes on, however few the files.
const BYTES: u64 = 16 << 20;

/// What `act` makes of the items, or of each half of them; the results in the order of the items. Few small files stay on this thread, so that small cases, the
/// crash sweeps among them, happen in one order.
pub(super) fn on_two_threads<T: Send, R: Send>(
    mut items: Vec<T>,
    bytes: u64,
    act: impl Fn(Vec<T>) -> Vec<R> + Sync,
) -> Vec<R> {
    if items.len() < FILES && bytes < BYTES {
        return act(items);
    }
    let second = items.split_off(items.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| act(second));
        let mut all = act(items);
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
                let double = |half: Vec<usize>| half.into_iter().map(|n| n * 2).collect();
                let doubled: Vec<usize> = on_two_threads((0..count).collect(), bytes, double);
                assert_eq!(doubled, (0..count).map(|n| n * 2).collect::<Vec<_>>());
            }
        }
    }
}
