//! The clock: Windows counts milliseconds since the machine started, sleep included. It has no name for a
//! start of the machine, so this gives each one a name: a key of the registry that is kept in memory
//! only, and is gone with the power.

#![expect(
    unsafe_code,
    reason = "neither the standard library nor the crate for the registry has the calls"
)]

use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_SET_VALUE, REG_OPTION_VOLATILE, RegCreateKeyExW,
};
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use winreg::RegKey;

use super::failure::Code;
use super::path::wide;
use crate::host::pace::{Pace, wall_ms};
use crate::host::{Clock, Uptime};

/// Where a start of the machine has its name, below HKEY_LOCAL_MACHINE.
const BOOT: &str = r"SOFTWARE\mailmend\ThisBoot";
const NAME: &str = "Id";

#[derive(Debug)]
pub(super) struct WindowsClock {
    pace: Pace,
    boot: OnceLock<String>,
}

impl WindowsClock {
    pub(super) fn with_factor(factor: f64) -> Self {
        Self {
            pace: Pace::of(factor),
            boot: OnceLock::new(),
        }
    }
}

/// The name of this start of the machine, made by whoever asks first.
fn boot() -> Result<String, Code> {
    let path = wide(BOOT);
    let mut key: HKEY = std::ptr::null_mut();
    // SAFETY: the text ends with a zero; the handle is one that the call fills; nothing else is asked.
    let refused = unsafe {
        RegCreateKeyExW(
            HKEY_LOCAL_MACHINE,
            path.as_ptr(),
            0,
            std::ptr::null(),
            REG_OPTION_VOLATILE,
            KEY_QUERY_VALUE | KEY_SET_VALUE,
            std::ptr::null(),
            &raw mut key,
            std::ptr::null_mut(),
        )
    };
    if refused != 0 {
        return Err(Code(refused));
    }
    // The crate closes it as any other key.
    let key = RegKey::predef(key);
    let named = || {
        key.get_value::<String, _>(NAME)
            .ok()
            .filter(|name| !name.is_empty())
    };
    if let Some(name) = named() {
        return Ok(name);
    }
    let name = uuid::Uuid::new_v4().to_string();
    key.set_value(NAME, &name)
        .map_err(|error| Code::of(&error))?;
    // Two that ask at once each write; the one that reads last reads what stays.
    Ok(named().unwrap_or(name))
}

impl Clock for WindowsClock {
    fn wall_ms(&self) -> i64 {
        wall_ms()
    }

    fn uptime(&self) -> Uptime {
        let boot = self.boot.get_or_init(|| {
            // An agent that may not write there takes each start of its own for one of the machine: budgets
            // that were open then count as used up, and what was stopped is started at once.
            boot().unwrap_or_else(|code| {
                tracing::warn!(
                    r"the registry key `HKLM\{BOOT}` cannot be made ({code}): each start of the agent counts as a start of the machine"
                );
                uuid::Uuid::new_v4().to_string()
            })
        });
        // SAFETY: asks for a number.
        let since = Duration::from_millis(unsafe { GetTickCount64() });
        Uptime {
            boot: boot.clone(),
            since_boot: self.pace.passed(since),
        }
    }

    fn sleep(&self, period: Duration) {
        // The uptime moves in steps of up to 16 ms: who slept must find the whole period gone.
        let until = self.uptime().since_boot + period;
        loop {
            let left = until.saturating_sub(self.uptime().since_boot);
            if left.is_zero() {
                return;
            }
            // This is the one wait of the host; steps wait through it, so that the simulated clock can.
            std::thread::sleep(self.pace.needed(left).max(Duration::from_millis(1)));
        }
    }

    fn pace(&self) -> f64 {
        self.pace.factor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_advances_the_uptime_by_its_whole_length_at_any_factor() {
        for factor in [1.0, 60.0] {
            let clock = WindowsClock::with_factor(factor);
            let period = Duration::from_millis(20).mul_f64(factor);
            let (wall, before) = (clock.wall_ms(), clock.uptime());
            clock.sleep(period);
            let after = clock.uptime();
            assert_eq!(before.boot, after.boot);
            assert!(after.since_boot >= before.since_boot + period.mul_f64(0.999));
            assert!(clock.wall_ms() - wall < 10_000, "the wall clock stays true");
        }
    }

    #[test]
    fn one_start_of_the_machine_has_one_name_for_all_who_ask() {
        let names: Vec<String> = (0..3)
            .map(|_| WindowsClock::with_factor(1.0).uptime().boot)
            .collect();
        assert!(!names[0].is_empty());
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }
}
