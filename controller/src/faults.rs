//! The catalogue of the controller's and the command line's failures: code, meaning, remedy.
//!
//! A code is stable over releases and is never given a second meaning. `C001` to `C049` are about
//! starting, trust and the command line; from `C050` about rollouts, runs and the store.

/// Code, what it means, what to do.
pub const FAULTS: &[(&str, &str, &str)] = &[
    (
        "C001-clock",
        "The clock of this machine cannot be right, so no certificate would be valid.",
        "set the clock (for example `timedatectl set-ntp true`), then start again",
    ),
    (
        "C002-data-folder",
        "The data folder cannot be made, read or written.",
        "give `--data` a folder that this user may write, or mend its owner and permissions",
    ),
    (
        "C003-authority-incomplete",
        "The data folder has `ca.pem` without its key `ca.key`; a new key would lock out every agent.",
        "put `ca.key` back from the backup; only if it is lost for good, use a new data folder and enrol every agent again",
    ),
    (
        "C004-key-exposed",
        "A private key can be read by other users of this machine.",
        "`chmod 600` the file, and if others have accounts here consider the key known to them",
    ),
    (
        "C005-key-unreadable",
        "A key or certificate file cannot be read or is damaged.",
        "restore the file from the backup; `server.*` and `operator/*` may be removed, they are made again at the next start",
    ),
    (
        "C006-data-in-use",
        "Another controller runs on this data folder.",
        "stop the other one, or give this one a folder of its own with `--data`",
    ),
    (
        "C007-request-refused",
        "A certificate request is not PKCS#10 in PEM, or its signature does not fit its key.",
        "make the request again on the agent: `mailmend-agent enrol`",
    ),
    (
        "C008-signing",
        "A key or certificate could not be made.",
        "this is a defect of mailmend; report it with the text of the error",
    ),
    (
        "C010-address-taken",
        "Another program listens on this address.",
        "choose another port with `--listen`, or find who has it with `ss -ltnp`",
    ),
    (
        "C011-address",
        "The address to listen on cannot be used on this machine.",
        "give `--listen` an address of this machine with a port, such as 127.0.0.1:7268; ports below 1024 need root",
    ),
    (
        "C012-ready-file",
        "The file that tells others the bound address cannot be written.",
        "give `--ready-file` a path in a folder that this user may write",
    ),
    (
        "C013-stopped",
        "The server ended though nobody asked it to.",
        "look at the log above for the cause, then start it again; nothing stored is lost",
    ),
    (
        "C020-unreachable",
        "The controller does not answer.",
        "see that it runs (`mailmend serve`) and that `--controller` has its address; `mailmend config` shows where that value comes from",
    ),
    (
        "C021-unauthenticated",
        "The caller showed no certificate, or one that is not accepted.",
        "give `--identity` the controller's `operator` folder; if its certificate has expired, it is made again when the controller starts",
    ),
    (
        "C022-not-our-controller",
        "Whoever answers is not the controller that this identity belongs to.",
        "compare `ca.pem` in `--identity` with the controller's, and check `--controller`",
    ),
    (
        "C023-identity",
        "The folder with the operator's certificate cannot be used.",
        "give `--identity` a folder with `operator.pem`, `operator.key` and `ca.pem`; the controller makes one in DATA/operator",
    ),
    (
        "C024-not-permitted",
        "The caller's certificate is valid, but its kind may not call this.",
        "operators use the controller's `operator` folder as `--identity`; an agent's certificate opens only what agents need",
    ),
    (
        "C025-controller-address",
        "The controller's address makes no sense.",
        "write it as https://HOST:PORT",
    ),
    (
        "C030-timed-out",
        "The time that was given is over; what was watched goes on.",
        "watch again with `mailmend rollout watch`, or ask `mailmend rollout explain` what it waits for",
    ),
    (
        "C031-file",
        "A file that was named cannot be read.",
        "check the path and its permissions",
    ),
    (
        "C032-policy-refused",
        "The policy has faults.",
        "mend the places shown; `mailmend policy check FILE` tells all of them at once",
    ),
    (
        "C033-configuration",
        "A configuration file or environment variable has a value that makes no sense.",
        "mend the value at the place named; `mailmend config` shows every value and where it comes from",
    ),
    (
        "C034-not-confirmed",
        "The rollout would change servers and nobody confirmed it.",
        "look at `mailmend rollout plan`, then start with `--approve DIGEST` or `--yes`",
    ),
    (
        "C035-usage",
        "The command was not understood.",
        "see `mailmend help COMMAND`",
    ),
    (
        "C036-not-found",
        "What was named does not exist on the controller.",
        "list what there is: `mailmend policy list`, `mailmend agent list`, `mailmend rollout list`",
    ),
    (
        "C037-refused",
        "A gate refuses for now.",
        "read what the gate says; `mailmend rollout explain` tells which command releases it",
    ),
    (
        "C038-request",
        "The controller refused the request as it stands.",
        "mend what the message names",
    ),
    (
        "C039-controller",
        "The controller failed while it worked on the request.",
        "look at the controller's log at this moment; ask again, requests may be repeated without harm",
    ),
    (
        "C040-output",
        "The answer could not be written out.",
        "see that the disk or the program that reads the output takes it",
    ),
];

/// The remedy for a code; `None` for a code that is not in [`FAULTS`].
#[must_use]
pub fn remedy(code: &str) -> Option<&'static str> {
    FAULTS
        .iter()
        .find(|(known, _, _)| *known == code)
        .map(|(_, _, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_well_formed_and_each_has_a_remedy() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, meaning, remedy) in FAULTS {
            let (number, name) = code.split_once('-').unwrap();
            assert!(number.len() == 4 && number.starts_with('C'), "{code}");
            assert!(number[1..].chars().all(|c| c.is_ascii_digit()), "{code}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                "{code}"
            );
            assert!(seen.insert(number), "{code} is there twice");
            assert!(meaning.ends_with('.') && !remedy.is_empty(), "{code}");
        }
    }
}
