//! Letting go of copies: of delivered messages only, and only after their time.
//!
//! A copy whose message was delivered, by the logs, is moved to `delivered-YYYYMMDD` below the folder of
//! copies: the day, in UTC, on which the evidence was seen. So the time counts on through restarts, and when
//! the logs are gone. The names there carry the evidence no further than that: the messages were delivered.

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use mailmend_policy::condition::Queue;

use super::keeper::Kept;
use super::{Order, name_beside, spool_name_of};
use crate::evidence::{Direction, MessageKey, left_the_service, spool_file};
use crate::host::{FileInfo, FileKind, Host, HostErrorKind};

const DAY_MS: i64 = 86_400_000;
/// How many copies are looked up in the logs at once: reading the logs is what costs.
const AT_ONCE: usize = 5_000;
/// A file that left its queue so short a time ago may not have its record yet, in uptime.
const SETTLES_MS: f64 = 60_000.0;
const DELIVERED: &str = "delivered-";

/// Moves the copies of delivered messages aside. `queued` is what the queue holds now.
pub(super) fn settle(host: &dyn Host, order: &Order, queued: &[FileInfo], kept: &mut Kept) {
    let now_ms = host.clock().wall_ms();
    #[expect(clippy::cast_possible_truncation, reason = "a minute, made shorter")]
    let young_ms = (SETTLES_MS / host.clock().pace()) as i64;
    let copies = host.spool().list(&order.kept_in).unwrap_or_default();
    let left: Vec<FileInfo> = copies
        .into_iter()
        .filter(|copy| copy.kind == FileKind::File && spool_name_of(&copy.name).is_some())
        .filter(|copy| queued.iter().all(|file| file.file_id != copy.file_id))
        .filter(|copy| now_ms.saturating_sub(copy.modified_ms) >= young_ms)
        .take(AT_ONCE)
        .collect();
    let keys: Vec<MessageKey> = left.iter().map(|copy| key(host, order, copy)).collect();
    let Some(since_ms) = keys.iter().map(|key| key.written_ms).min() else {
        return;
    };
    let folder = order.kept_in.join(day_folder(now_ms));
    for (copy, gone) in left.iter().zip(left_the_service(host, since_ms, &keys)) {
        if !gone || host.spool().make_folder(&folder).is_err() {
            continue;
        }
        let from = order.kept_in.join(&copy.name);
        let beside = name_beside(
            spool_name_of(&copy.name).unwrap_or(&copy.name),
            copy.file_id,
        );
        for name in [copy.name.as_str(), beside.as_str()] {
            match host.spool().move_new(&from, &folder.join(name)) {
                Ok(()) => {
                    kept.settled += 1;
                    break;
                }
                Err(error) if error.kind == HostErrorKind::Exists => {}
                // It is tried again at the next sweep.
                Err(_) => break,
            }
        }
    }
}

/// Removes the copies whose time is over; returns whether any was.
pub(super) fn let_go(host: &dyn Host, order: &Order, kept: &mut Kept) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "at most 90 days"
    )]
    let keep_ms = (order.keep_ms as f64 / host.clock().pace()) as i64;
    let now_ms = host.clock().wall_ms();
    let mut any = false;
    for (day_ms, folder) in days(host, order) {
        // The evidence was seen at the end of that day at the latest.
        if now_ms < day_ms.saturating_add(DAY_MS).saturating_add(keep_ms) {
            continue;
        }
        for file in host.spool().list(&folder).unwrap_or_default() {
            if file.kind == FileKind::File
                && spool_name_of(&file.name).is_some()
                && host.spool().remove(&folder.join(&file.name)).is_ok()
            {
                kept.removed += 1;
                any = true;
            }
        }
    }
    any
}

/// The copies of delivered messages that are still there.
pub(super) fn settled_files(host: &dyn Host, order: &Order) -> Vec<FileInfo> {
    let mut files = Vec::new();
    for (_, folder) in days(host, order) {
        files.extend(host.spool().list(&folder).unwrap_or_default());
    }
    files.retain(|file| file.kind == FileKind::File && spool_name_of(&file.name).is_some());
    files
}

fn days(host: &dyn Host, order: &Order) -> Vec<(i64, PathBuf)> {
    let all = host.spool().list(&order.kept_in).unwrap_or_default();
    all.into_iter()
        .filter(|entry| entry.kind == FileKind::Folder)
        .filter_map(|entry| Some((day_of(&entry.name)?, order.kept_in.join(&entry.name))))
        .collect()
}

fn day_folder(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!(
        "{DELIVERED}{}",
        at.to_zoned(TimeZone::UTC).strftime("%Y%m%d")
    )
}

/// When the day of a folder began, in milliseconds since 1970 UTC.
fn day_of(name: &str) -> Option<i64> {
    let day = Date::strptime("%Y%m%d", name.strip_prefix(DELIVERED)?).ok()?;
    let began = day.to_zoned(TimeZone::UTC).ok()?;
    Some(began.timestamp().as_millisecond())
}

fn key(host: &dyn Host, order: &Order, copy: &FileInfo) -> MessageKey {
    let header = host
        .spool()
        .open(&order.kept_in.join(&copy.name))
        .ok()
        .and_then(|mut open| spool_file::read(&mut *open).ok())
        .unwrap_or_default();
    let direction = match order.queue {
        Queue::InboundAwaitingConversion | Queue::InboundAwaitingDelivery => Direction::Inbound,
        Queue::OutboundAwaitingConversion | Queue::OutboundAwaitingDelivery => Direction::Outbound,
    };
    let name = spool_name_of(&copy.name).unwrap_or(&copy.name);
    MessageKey::new(name, header, copy.modified_ms, direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_a_folder_is_read_back() {
        let at_ms = 878_759_460_000;
        let name = day_folder(at_ms);
        assert_eq!(name, "delivered-19971105");
        assert_eq!(day_of(&name), Some(at_ms - at_ms % DAY_MS));
        for other in [
            "delivered-",
            "delivered-1997110",
            "Archive",
            "delivered-19971305",
        ] {
            assert_eq!(day_of(other), None);
        }
    }
}
