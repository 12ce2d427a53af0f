//! A file's presence, age, size or text.

use std::io::Read;

use mailmend_policy::condition::{FileTest, PathTemplate};

use super::{Judgement, Scene, age, cannot, resolve};
use crate::host::{FileInfo, FileKind};

/// The most bytes of a file that are searched for a text.
const SEARCHED_BYTES: u64 = 16 << 20;

fn look(template: &PathTemplate, scene: Scene<'_>) -> Result<Option<FileInfo>, Judgement> {
    let path = resolve(template, scene.host).map_err(|error| cannot(&error))?;
    let info = scene
        .host
        .spool()
        .look(&path)
        .map_err(|error| cannot(&error))?;
    match info {
        Some(info) if info.kind == FileKind::Other => Err(Judgement::cannot_tell(format!(
            "`{template}` is a link or a device, which is not followed"
        ))),
        info => Ok(info),
    }
}

pub(super) fn judge(template: &PathTemplate, test: &FileTest, scene: Scene<'_>) -> Judgement {
    let info = match look(template, scene) {
        Ok(info) => info,
        Err(judged) => return judged,
    };
    if let FileTest::Exists(wanted) = test {
        let word = if info.is_some() { "is" } else { "is not" };
        return Judgement::of(
            info.is_some() == *wanted,
            format!("`{template}` {word} there"),
        );
    }
    let Some(info) = info else {
        return Judgement::cannot_tell(format!("`{template}` is not there"));
    };
    match test {
        FileTest::Exists(_) => Judgement::cannot_tell("not reached: answered above"),
        FileTest::OlderThanFile(other) | FileTest::NewerThanFile(other) => {
            let other_info = match look(other, scene) {
                Ok(Some(info)) => info,
                Ok(None) => return Judgement::cannot_tell(format!("`{other}` is not there")),
                Err(judged) => return judged,
            };
            let older = matches!(test, FileTest::OlderThanFile(_));
            let apart = info.modified_ms - other_info.modified_ms;
            Judgement::of(
                if older { apart < 0 } else { apart > 0 },
                format!(
                    "`{template}` was modified {} ms {} `{other}`",
                    apart.abs(),
                    if apart < 0 { "before" } else { "after" }
                ),
            )
        }
        FileTest::OlderThan(bound) => match age(&info, scene.host) {
            Err(why) => Judgement::cannot_tell(why),
            Ok(age) => Judgement::of(
                age > *bound,
                format!("`{template}` was modified {age:.0?} ago, asked for over {bound:?}"),
            ),
        },
        FileTest::ChangedSinceRunBegan => match scene.run_began_ms {
            None => Judgement::cannot_tell("no run has begun yet"),
            Some(began) => {
                let apart = info.modified_ms - began;
                Judgement::of(
                    apart >= 0,
                    format!(
                        "`{template}` was modified {} ms {} the run began",
                        apart.abs(),
                        if apart < 0 { "before" } else { "after" }
                    ),
                )
            }
        },
        FileTest::SizeOver(bound) => Judgement::of(
            info.size > *bound,
            format!(
                "`{template}` has {} bytes, asked for over {bound}",
                info.size
            ),
        ),
        FileTest::Contains(wanted) => contains(template, &info, wanted, scene),
    }
}

fn contains(template: &PathTemplate, info: &FileInfo, wanted: &str, scene: Scene<'_>) -> Judgement {
    if info.size > SEARCHED_BYTES {
        return Judgement::cannot_tell(format!(
            "`{template}` has {} bytes; texts are searched in files of at most {SEARCHED_BYTES}",
            info.size
        ));
    }
    let mut bytes = Vec::new();
    let read = resolve(template, scene.host)
        .and_then(|path| scene.host.spool().open(&path))
        .map_err(|error| cannot(&error))
        .and_then(|file| {
            file.take(SEARCHED_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|why| {
                    Judgement::cannot_tell(format!("could not read `{template}`: {why}"))
                })
        });
    if let Err(judged) = read {
        return judged;
    }
    let found = String::from_utf8_lossy(&bytes).contains(wanted);
    let word = if found {
        "contains"
    } else {
        "does not contain"
    };
    Judgement::of(found, format!("`{template}` {word} `{wanted}`"))
}
