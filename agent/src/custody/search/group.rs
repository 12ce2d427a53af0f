//! How many files to try together.

use mailmend_policy::bounds::{halvings, reach, restarts_within_crashes};

/// How many of the suspects, in order, the next start has; there are two or more. As near to half of
/// the likelihood as leaves the worst case alone, and fewer where crashes are short.
pub(super) fn first_part(weights: &[u64], crashes: u32) -> usize {
    let suspects = weights.len() as u64;
    let starts = restarts_within_crashes(suspects, crashes.max(1));
    let before = starts.saturating_sub(1);
    // Either answer must leave what the other starts can tell apart.
    let least = suspects
        .saturating_sub(reach(before, crashes.max(1)))
        .max(1);
    let most = reach(before, crashes.max(1) - 1).clamp(least, suspects - 1);
    let (least, most) = (least as usize, most as usize);
    let total: u64 = weights.iter().sum();
    let mut before: u64 = weights[..least].iter().sum();
    let mut part = least;
    while part < most {
        let with = before + weights[part];
        // One more, as long as that comes nearer to half.
        if total.abs_diff(2 * with) > total.abs_diff(2 * before) {
            break;
        }
        before = with;
        part += 1;
    }
    part
}

/// How many of the files, in order, hold half of the likelihood, where those are few enough to be worth a
/// start apart: it gains a halving twice, at the least. Otherwise 0.
pub(super) fn guess(weights: &[u64]) -> usize {
    let total: u64 = weights.iter().sum();
    let mut sum = 0;
    for (place, weight) in weights.iter().enumerate() {
        sum += weight;
        if 2 * sum >= total {
            let files = place + 1;
            return if 4 * files <= weights.len() { files } else { 0 };
        }
    }
    0
}

/// The size of a group when crashes are too few to halve: the largest that leaves one poison to be
/// found with the crashes after it, in the fewest starts.
pub(super) fn frugal(files: usize, crashes: u32) -> usize {
    let files = files as u64;
    if crashes > halvings(files) {
        return files as usize;
    }
    let starts = restarts_within_crashes(files, crashes.max(1)).saturating_sub(1);
    reach(starts, crashes.saturating_sub(1)).clamp(1, files.max(1)) as usize
}
