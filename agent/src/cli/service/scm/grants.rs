//! What an account of little privilege has to be granted, as commands that an administrator can read.

use std::path::Path;

use mailmend_agent::config::Config;
use mailmend_agent::guard::Guard;

/// One line for each right, in the order in which to grant them.
pub(super) fn needed(account: &str, guard: &Guard, config: &Config, logs: &Path) -> Vec<String> {
    let mut notes = vec![format!("`{account}` needs, granted by an administrator:")];
    let mut grant = |folder: &Path, right: &str| {
        notes.push(format!(
            "icacls \"{}\" /grant \"{account}:(OI)(CI){right}\"",
            folder.display()
        ));
    };
    grant(&config.data.value, "M");
    grant(logs, "M");
    if let Some(folder) = config.file.parent() {
        grant(folder, "R");
    }
    for root in guard.roots() {
        grant(root, "M");
    }
    if let Some(hold) = guard.hold_folder() {
        grant(hold, "M");
    }
    // Key and certificates take nothing over from their folder.
    notes.push(format!(
        "icacls \"{}\\*\" /grant \"{account}:M\": where the agent was enrolled before",
        config.data.value.display()
    ));
    for service in guard.services() {
        notes.push(format!(
            "sc sdset {service} D:(A;;CCLCSWRPWPLORC;;;SID)...: what `sc sdshow {service}` prints, with that put in after `D:` (SID as `sc showsid` or `whoami /user` tells it)"
        ));
    }
    notes.push(format!(
        "net localgroup \"Event Log Readers\" \"{account}\" /add"
    ));
    notes.push(
        r"read access to HKLM\SYSTEM\CurrentControlSet\Services\MSExchange* (users have it)".into(),
    );
    notes.push(
        "to end a mail service that does not stop: the privilege to debug programs, or the service's own account".into(),
    );
    notes
}
