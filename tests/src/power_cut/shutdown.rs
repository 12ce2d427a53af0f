//! The one call that cuts the power of an ext4.

use std::fs::File;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl, opcode};

use crate::lab_error::{Attempting, LabError};

/// `EXT4_IOC_SHUTDOWN`, from the kernel's `fs/ext4/ext4.h`.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: what has not reached the disk never will.
const WITHOUT_LOG: u32 = 2;

/// Ends all writing to a mounted ext4 at once, without its log being flushed: what was not synced is lost.
///
/// # Errors
/// Where it is no ext4, or this account is not root.
pub(super) fn cut_power(top: &Path) -> Result<(), LabError> {
    let attempting = || format!("cut the power of `{}`", top.display());
    let folder = File::open(top).attempting(attempting)?;
    // SAFETY: the kernel reads one `u32` from the pointer, whatever the direction in the number says, and one is
    // given.
    #[expect(
        unsafe_code,
        reason = "rustix has no typed call for it; the kernel reads a u32, which is given"
    )]
    let done = unsafe { ioctl(&folder, Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG)) };
    done.attempting(attempting)
}
