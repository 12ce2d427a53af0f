//! The agent's catalogue of faults: code, what it means, what to do. `docs/faults.md` is written
//! from it. A code is never given another meaning.
//!
//! A001–A009 configuration and guard file, A010–A019 journal and data folder, A020–A029 identity
//! and connection, A030–A039 the guard refuses, A040–A049 an assignment or order is refused, A050–A079
//! steps, sections and services, A080–A099 custody, A100–A109 symptoms, A110–A119 starts by others, A120–A129 searches for poison,
//! A130–A139 the agent as a service, A160–A169 whose policies are carried out.

/// Code, what it means, remedy; in order of the code.
pub const FAULTS: &[(&str, &str, &str)] = &[
    (
        "A001-config-faulty",
        "The agent's configuration has faults; each is told with its line and column.",
        "Mend what is told; `mailmend-agent config --config FILE` reads it again without starting anything.",
    ),
    (
        "A002-config-unreadable",
        "The agent's configuration file cannot be read.",
        "Name it with `--config FILE` or MAILMEND_AGENT_CONFIG, and make it readable for the agent's account.",
    ),
    (
        "A003-guard-faulty",
        "The guard file has faults; each is told with its line and column. Without a good guard file the agent does nothing.",
        "Mend what is told; `mailmend-agent guard check --config FILE` reads it again without starting anything.",
    ),
    (
        "A004-guard-unreadable",
        "The guard file cannot be read.",
        "Name it as `guard` in the configuration, and make it readable for the agent's account.",
    ),
    (
        "A005-guard-unsafe",
        "Somebody other than the administrator (on Unix root or the agent's account) could change the guard file.",
        "Give the file and its folder to root or the agent's account and `chmod go-w` both; on Windows to administrators and the system, with the `icacls` that the message tells.",
    ),
    (
        "A006-shutdown-unfinished",
        "The agent was told to end, and a step did not come to an end in time.",
        "Start the agent again soon: it goes on with the step, and brings service up.",
    ),
    (
        "A007-usage",
        "The command was not understood.",
        "See `mailmend-agent help COMMAND`.",
    ),
    (
        "A008-not-a-release",
        "The program was built with the feature `ablation`, which can take safety mechanisms away. It refuses to run.",
        "Install a program that was built without the feature; it is for tests only.",
    ),
    (
        "A010-journal-in-use",
        "Another agent has the journal open.",
        "Stop the other agent, or give this one a data folder of its own; two agents never share a journal.",
    ),
    (
        "A011-journal-corrupt",
        "The journal does not read back as it was written. The agent changes nothing on this server.",
        "Keep the file. Compare the held folders with their `MANIFEST.tsv`, give back by hand what is held, then move the journal away and enrol the agent anew.",
    ),
    (
        "A012-journal-poisoned",
        "A write or sync failed, so what the disk holds is not known. No file moves any more; service may be started.",
        "Mend the disk. The agent ends with exit code 8 once services are up; its init system starts it again, and it reads what is really there and goes on.",
    ),
    (
        "A013-journal-unusable",
        "The journal cannot be opened, read or written.",
        "Check the data folder, its owner and the free space on its volume, then start the agent again.",
    ),
    (
        "A014-data-folder",
        "A file of the agent's data folder cannot be read or written.",
        "Check the data folder, its owner, its mode and the free space on its volume.",
    ),
    (
        "A015-token-refused",
        "The controller refuses the enrolment token: unknown, used, expired, or for another name.",
        "Get a new token with `mailmend agent token NAME` and enrol again; if nobody here used the old one, find out who did.",
    ),
    (
        "A016-authority-unreadable",
        "The file given as the authority's certificate cannot be read or is none.",
        "Copy `ca.pem` from the controller's data folder, or the text that `mailmend agent token` printed.",
    ),
    (
        "A017-bad-message",
        "The controller sent something that makes no sense. It was refused, and nothing was done.",
        "Compare the versions of agent and controller; if they fit, keep both logs and report it.",
    ),
    (
        "A018-foreign-journal",
        "The controller knows another journal of this agent, or more of it than there is: the agent was cloned, or its data folder was replaced or restored from a backup.",
        "Stop the clone. If this server was rebuilt, get a new token and enrol again: that begins a new journal at the controller.",
    ),
    (
        "A019-controller-error",
        "The controller answered with an error.",
        "Look at the controller's log at the same time.",
    ),
    (
        "A020-not-enrolled",
        "The agent has no certificate.",
        "Get a token with `mailmend agent token NAME` and run `mailmend-agent enrol --token TOKEN --ca CA.PEM`.",
    ),
    (
        "A021-key-exposed",
        "Others may read the agent's private key.",
        "`chmod 600` it, on Windows the `icacls` that the message tells, if nobody has read it; otherwise remove it with `agent.pem` and enrol again.",
    ),
    (
        "A022-identity-broken",
        "Key, certificate and name of the agent do not fit together, or one cannot be used.",
        "Put the right files back into the data folder, or remove `agent.pem` and enrol again.",
    ),
    (
        "A023-certificate-expired",
        "The agent's certificate has ended, because it was off for too long or its clock is wrong.",
        "Check the clock; then get a token and enrol again. The journal and what is held stay as they are.",
    ),
    (
        "A024-clock",
        "A certificate does not hold at the time that this machine's clock reads.",
        "Set the clock of this machine; if it is right, the controller's.",
    ),
    (
        "A025-controller-unreachable",
        "The controller does not answer. The agent goes on with what it has and keeps trying.",
        "Check the address, the network, and that `mailmend serve` runs there.",
    ),
    (
        "A026-controller-untrusted",
        "What answers at the controller's address is not signed by the authority that this agent trusts.",
        "Check the address, and that `ca.pem` is this controller's.",
    ),
    (
        "A027-controller-refuses",
        "The controller refuses this agent's certificate.",
        "Look at `mailmend agent show NAME`; enrol again with a new token if the agent shall be trusted.",
    ),
    (
        "A028-controller-slow",
        "The controller took too long to answer.",
        "Look at the controller's load and at the network between.",
    ),
    (
        "A029-already-enrolled",
        "The agent has a certificate that still holds.",
        "Nothing is needed; give `--again` to replace it.",
    ),
    (
        "A030-guard-service",
        "A step wants to disturb a service that the guard file does not list.",
        "List the service in `services` of the guard file if this agent shall disturb it; otherwise the policy does not belong here.",
    ),
    (
        "A031-guard-path",
        "A step wants to change something outside the roots of the guard file.",
        "Add the folder to `roots` of the guard file if this agent shall change it; otherwise the policy does not belong here.",
    ),
    (
        "A032-guard-tool",
        "A step names a tool that the guard file does not define.",
        "Define it as `[tools.NAME]` in the guard file if this agent shall run it.",
    ),
    (
        "A033-guard-flag",
        "A step gives a tool a flag that the guard file does not declare, or a value that its pattern refuses.",
        "Change the policy, or declare the flag with a pattern that fits in the guard file.",
    ),
    (
        "A040-plan-differs",
        "This agent does not make the same plan of an assignment as the controller.",
        "Update the older of the two; if the versions are equal, the assignment was changed on its way or in the store.",
    ),
    (
        "A041-policy-faulty",
        "This agent refuses the policy of an assignment; each fault is told with its place.",
        "Update the agent if the controller is newer; otherwise publish a mended policy.",
    ),
    (
        "A042-fence-stale",
        "An assignment or order carries an older fence than one that this agent has seen.",
        "Nothing is needed if a controller was replaced; otherwise find out which second controller gives orders.",
    ),
    (
        "A043-run-differs",
        "An assignment names a run that this agent took on with another plan.",
        "Start a new run; if it happens again, look at the controller's store.",
    ),
    (
        "A044-action-unsupported",
        "A step needs an action that this agent cannot carry out.",
        "Update the agent, or leave the server out.",
    ),
    (
        "A045-nothing-to-do",
        "The plan of an assignment has no step for this agent.",
        "Look at the names of server and agent: they must be equal.",
    ),
    (
        "A046-assignment-malformed",
        "An assignment or order makes no sense.",
        "Compare the versions of agent and controller.",
    ),
    (
        "A047-run-unknown",
        "An order is about a run that this agent was never given.",
        "Nothing is needed if the agent was enrolled anew; otherwise look whether its data folder was replaced.",
    ),
    (
        "A048-no-imcdata",
        "The folder of the Internet Mail Service is not known on this server.",
        "Look at `RootDir` below MSExchangeIMC\\Parameters in the registry: it must name a folder that is there.",
    ),
    (
        "A049-too-many-runs",
        "The agent has as many runs open as it carries out at a time, and takes no further one on.",
        "Answer or abort runs that nobody waits for: `mailmend rollout list`; an agent never needs so many.",
    ),
    (
        "A050-service-not-stopped",
        "A service did not stop in time, or says that it is stopped while its process is there.",
        "Look at its event log; stop it by hand if mail may wait. The section was left and service started where possible.",
    ),
    (
        "A051-service-not-started",
        "A service did not start, or died while it was watched.",
        "Look at its event log and exit code; mail is held or in its queue, and nothing is lost.",
    ),
    (
        "A052-restarts-used-up",
        "A service would be started more often than the guard file or the policy allows.",
        "Find out why it dies; raise `restarts_per_hour` in the guard file only if that is understood.",
    ),
    (
        "A053-section-refused",
        "Service is not disturbed now: another section is open, or the guard file's `sections_per_hour` is used up.",
        "Wait, or raise the limit; then start the run again.",
    ),
    (
        "A054-service-left-down",
        "A section was left and its service could not be started: mail does not flow on this server.",
        "Start the service by hand, now; its event log says why it does not. Then look at the run.",
    ),
    (
        "A055-service-dead",
        "A service died by itself and could not be started again.",
        "Look at its event log; a message that crashes it is found with the policy `corrupt-message`.",
    ),
    (
        "A056-watchdog-gave-up",
        "A service died again and was started as often as the guard file allows within an hour.",
        "Find out why it dies: the policy `corrupt-message` searches for a message that crashes it.",
    ),
    (
        "A057-forbidden",
        "A condition stands that forbids a step; the reason is told.",
        "Remove what it names, then start the run again.",
    ),
    (
        "A058-cannot-tell",
        "A condition cannot be judged: a file, log or service does not answer.",
        "Make readable what is named; what cannot be told never counts as true.",
    ),
    (
        "A059-tools-used-up",
        "Tools would be called more often within an hour than the guard file allows.",
        "See which runs call them so often; raise `tools_per_hour` in the guard file only if that is understood.",
    ),
    (
        "A060-budget-over",
        "A section took longer than its policy allows service to be disturbed; service was started.",
        "Look which step took so long; raise `max_outage` only if that was to be expected.",
    ),
    (
        "A061-condition-not-met",
        "A condition did not hold, or not within the step's time.",
        "Look at the facts that are told with it; the run unwinds.",
    ),
    (
        "A062-probe-failed",
        "A test message gives no evidence that it left the server.",
        "Look at the queue and the SMTP log: next hop, DNS or routing are the usual causes.",
    ),
    (
        "A063-tool-verdict",
        "A tool did not print a verdict that counts as done.",
        "Read what it printed; it may have changed something.",
    ),
    (
        "A064-mail-kept",
        "A run has ended and messages stay in custody.",
        "`mailmend run ledger` lists them with their state; replay or settle them.",
    ),
    (
        "A065-undo-failed",
        "A step could not be undone; the run is at rest.",
        "Look at the run: it says what was done and what was not.",
    ),
    (
        "A066-interrupted",
        "The agent ended while a step acted, and what it did cannot be found out by itself.",
        "Look at what the step did, then decide.",
    ),
    (
        "A067-shutdown",
        "The agent was shut down while a section was open; service was started first.",
        "Nothing is needed; the run unwinds when the agent is back.",
    ),
    (
        "A068-at-rest",
        "A run is at rest: nothing more will happen by itself, and a person is needed.",
        "Look at the run: it says at which step and why.",
    ),
    (
        "A069-in-doubt",
        "Messages may have been sent and nothing proves it. They are held and never sent again by themselves.",
        "`mailmend run ledger` lists them; ask the recipients, or look at the next hop's log, then settle them.",
    ),
    (
        "A070-journal-refuses",
        "An order cannot be written down, so it was not taken.",
        "Look at the agent's log: disk, data folder or journal are told there.",
    ),
    (
        "A071-order-malformed",
        "A person's order makes no sense: an id, a range or a state in it cannot be understood.",
        "Compare the versions of agent and controller.",
    ),
    (
        "A072-not-asked",
        "A step was answered that does not wait for an answer, or with an answer that it does not offer.",
        "`mailmend run show` tells what is asked and which answers there are.",
    ),
    (
        "A073-release-refused",
        "Held mail is not given back now; the reason is told. Nothing was changed.",
        "Remove what is named, then order the release again.",
    ),
    (
        "A074-settle-refused",
        "A message cannot be settled as ordered; the reason is told. Nothing was changed.",
        "`mailmend run ledger RUN --history` tells where each message is; what the server's own logs say cannot be turned back.",
    ),
    (
        "A075-release-failed",
        "A release was begun and did not give everything back. What was not placed stays held, and service was started.",
        "`mailmend run ledger` lists what is still held; remove what is named, then order the release again.",
    ),
    (
        "A076-audit-failed",
        "The ledger could not be compared with disk and logs.",
        "Mend what is named, then ask again; one audit of an agent is carried out at one time.",
    ),
    (
        "A077-not-done-by-person",
        "A person who was asked to do something answered that it is not done.",
        "Read the answer; the run unwinds. Start it again when the task can be done.",
    ),
    (
        "A078-tool-run-again",
        "The agent ended while a tool ran that writes in a fresh place each time, and ran it again. The first call's output is left as it was.",
        "Nothing is needed for the run. What the first call wrote may be a part only: remove it when the run is over.",
    ),
    (
        "A080-service-not-stopped",
        "Files of a queue cannot be moved because the service that owns them runs, or its process is still there.",
        "See who started it; stop it, or let the policy stop it. Nothing was moved.",
    ),
    (
        "A081-custody-precondition",
        "A folder or file is not as it must be before mail is moved: another volume, a held folder inside the queue or not empty, something that is no file.",
        "Mend what the message names, usually `[hold] folder` of the guard file, and start the run again. Nothing was moved.",
    ),
    (
        "A082-custody-limit",
        "There is more mail in the queue than the guard file allows one action to move.",
        "Look at the queue; if it may be moved, raise `files_per_action` or `bytes_per_action` in the guard file. Nothing was moved.",
    ),
    (
        "A083-no-room",
        "The volume has too little free space for manifest, journal and exit. This is found before the service is stopped.",
        "Make room on the volume and start the run again. No mail was moved.",
    ),
    (
        "A084-held-mail-damaged",
        "A held file is gone or not what the manifest has. It is not given back.",
        "Look at the file and its line in `MANIFEST.tsv`; restore it from a backup or decide about it by hand.",
    ),
    (
        "A085-durability-unknown",
        "A folder could not be synced, so what a power cut would leave is not known. No file moves any more.",
        "Mend the disk, then restart the agent: it looks where every file is and goes on.",
    ),
    (
        "A086-batch-unknown",
        "The run has no such batch or replay on this server.",
        "List what is held with `mailmend-agent ledger --config FILE`.",
    ),
    (
        "A087-custody-contradiction",
        "A file is in the queue and in the held folder, or another file has its place. Neither was removed.",
        "Compare the two files with `MANIFEST.tsv`, and move one away by hand.",
    ),
    (
        "A088-may-be-sent-again",
        "A message that was sent, or may have been, could not be taken out of the queue.",
        "Move the file out of the queue before the service starts, or accept that its recipients may get it twice.",
    ),
    (
        "A089-mail-missing",
        "A message in custody is under neither of its names. It counts as in doubt.",
        "Look for it by its MTS-ID in the tracking log and by its digest in backups; its line is in `MANIFEST.tsv`.",
    ),
    (
        "A090-escrow-full",
        "Escrow keeps nothing more of a queue: a limit of the guard file is reached, or the disk says no. What it has is kept.",
        "See how much there is in the folder that is named; remove what you do not need by hand, raise `escrow_files` or `escrow_bytes` in the guard file, or mend the disk.",
    ),
    (
        "A091-escrow-refused",
        "Second names of a queue's files cannot be kept on this server; the reason is told. Nothing was changed.",
        "Let `hold` in the guard file be on the queue's volume, and `escrow_files` more than 0.",
    ),
    (
        "A092-recover-refused",
        "Messages that vanished were not taken up from escrow: one is not missing any more, its copy is not the one that was found, it is in custody already, or nothing of the run can be given back. Each is named with its reason; nothing was changed.",
        "Look at `mailmend run reconciled RUN`. Leave out what is named, or order without `--message`, which gives back everything that can be and tells the rest.",
    ),
    (
        "A100-watches-refused",
        "The controller sent more policies to watch than an agent watches at a time.",
        "Unbind policies that need not be looked for: `mailmend policy bindings`, `mailmend policy unbind NAME`.",
    ),
    (
        "A101-watches-unwritten",
        "The list of policies whose symptoms are looked for could not be kept. The former list stays.",
        "Mend the volume of the data folder (full, read-only, failing); the list comes again with the next connection.",
    ),
    (
        "A102-watches-damaged",
        "The kept list of policies whose symptoms are looked for does not read back as it was written. Nothing is looked for meanwhile; runs are not touched by it.",
        "Nothing while the controller can be reached: it sends the list again. Look at the disk of the data folder.",
    ),
    (
        "A110-sent-again",
        "The mail service sent again what it had sent, or begun to send, before: it started with the machine, before the agent could look, or was started while event 3038 stood.",
        "Tell the recipients of the named messages, if a second copy matters. Set the service to start by hand and list it in the guard file's `[watchdog]`, so that the agent looks first; while 3038 stands, do not restart it.",
    ),
    (
        "A111-inbound-again",
        "The mail service had stopped uncleanly with inbound mail in its queue. No log tells which message it was handing over to the store then, so one or a few of those named may reach it twice.",
        "Nothing has to be done for the service. Tell the recipients of the named messages, or look for doubles in the store by Message-ID.",
    ),
    (
        "A120-search-contradiction",
        "What a search for poison saw contradicts itself: files that crashed the service together do not crash it alone, or what it had stayed up with crashed it later.",
        "Look at the suspected messages of the step's evidence, and for another cause (memory, an add-in, a virus scanner). Everything is held; give it back in small parts with `mailmend run release`.",
    ),
    (
        "A121-search-cut-short",
        "A search for poison reached a limit before it was over. Everything that is not settled is held.",
        "Raise the limit that is told (`max_restarts`, `max_crashes`, `max_duplicates` or `timeout` of the step, `restarts_per_hour` of the guard file), or look at what is suspected.",
    ),
    (
        "A122-poison-not-in-spool",
        "The service dies although its queues are empty.",
        "Exclude the administrator's mailbox (Q149542), the dial-up name (Q199771) and imcext.dll (Q169681); then look at MTS-IN and MTS-OUT in the store (Q165505) and at the MTA.",
    ),
    (
        "A123-suspects-not-taken-up",
        "The service stays up and does not take up the files that are suspected, so nothing can be learned of them.",
        "See why they wait (next hop, route, retry times), then begin anew.",
    ),
    (
        "A124-may-be-sent-twice",
        "Messages were in flight when the service crashed, and a search gave them to it again, as its policy allows.",
        "Tell their recipients where it matters: they are named in the alarm, in the step's evidence and in the ledger.",
    ),
    (
        "A130-service-foreign",
        "A service or unit of that name is there, and this program did not make it. It was left as it is.",
        "Take it away by hand if it is not needed, or name another with `--service`.",
    ),
    (
        "A131-service-denied",
        "This account may not set up or take away services.",
        "Do it as root, on Windows as an administrator.",
    ),
    (
        "A132-service-manager",
        "The machine's service manager refuses, or cannot be asked.",
        "Mend what it says, then repeat the command: it changes only what is not as asked.",
    ),
    (
        "A133-service-slow",
        "The service does not come up, or does not end, in the time that there is for it.",
        "Look at the agent's log; what it does is told there. Repeat the command once it has ended.",
    ),
    (
        "A134-log-unwritable",
        "The service's log cannot be written, so the agent does not begin: nobody could see what it does.",
        "Make room on the volume, let the service's account write to the folder that is named, or name another with `--logs`.",
    ),
    (
        "A140-set-aside-on-sight",
        "Messages have the fingerprint of a poison that was found on another server, and are held.",
        "Nothing, where the fingerprint is right. Where somebody waits for this mail: `mailmend immunity show` tells where the fingerprint comes from, and `mailmend immunity withdraw` gives the mail back everywhere.",
    ),
    (
        "A141-immunity-limit",
        "Messages have the fingerprint of a poison and are not set aside: the limits of the guard file are reached, or they could not be taken.",
        "Look at what is set aside with `mailmend immunity list`: withdraw a fingerprint that is wrong, or raise `max_per_hour` or `max_files` of `[immunity]` in the guard file.",
    ),
    (
        "A142-immunity-refused",
        "The controller sent fingerprints that the agent cannot take; the former ones stay.",
        "Update the agent; where that is done, the controller's store is damaged: report it.",
    ),
    (
        "A143-immunity-unwritten",
        "The fingerprints that stand could not be written to the agent's data folder; the former ones stay.",
        "Make room on the volume of the data folder; the controller sends them again with the next connection.",
    ),
    (
        "A144-immunity-damaged",
        "The file with the fingerprints that stand is damaged; none stands until the controller has sent them again.",
        "Let the agent connect; look at the disk where this comes again.",
    ),
    (
        "A145-fingerprint-refused",
        "The order about a fingerprint cannot be carried out; nothing was changed.",
        "Do what the text says; the controller tries a withdrawal again by itself.",
    ),
    (
        "A150-trail-contradicts",
        "The controller's audit trail is not the one that this agent saw before: it is shorter, or another one at the same entry.",
        "If the controller's store was put back from a backup, that is why, and it is told once; if it was not, somebody changed the trail: export it, and this agent's journal, and let `mailmend audit verify --journal` tell from where on.",
    ),
    (
        "A160-policy-unsigned",
        "The trusted catalogue does not list a policy with exactly these bytes. It is not read, not carried out and its symptom is not looked for.",
        "Have the people with the keys sign a catalogue that lists it, and publish that with `mailmend trust publish`; if nobody here asked for it, find out who has the controller.",
    ),
    (
        "A161-trust-expired",
        "The time of root, catalogue or timestamp is over. Nothing new is begun; runs under way, exits, unwinding, recovery and looking for symptoms go on.",
        "Publish a newer one with `mailmend trust publish`, and look at the clock of this server.",
    ),
    (
        "A162-trust-incomplete",
        "This agent takes signed policies alone, and has no signed catalogue yet. Nothing new is begun.",
        "Publish root, catalogue and timestamp with `mailmend trust publish`; the controller sends them by itself.",
    ),
    (
        "A163-trust-refused",
        "Signed documents that the controller sent are not believed; what was trusted before stays.",
        "The message says what is wrong. A rollback, a version with two texts or a missing signature means that somebody has the controller who should not, or that an older store was put back.",
    ),
    (
        "A164-trust-damaged",
        "What this agent trusts does not read back as it was written. Nothing new is begun.",
        "Put the file `trust` of the data folder back from a backup, or begin anew: stop the agent, `mailmend-agent trust pin`, start it.",
    ),
    (
        "A165-trust-root-changed",
        "The root file is neither the one that this agent was pinned to nor the one that it has followed to. Nothing new is begun.",
        "Put the former file back; if other keys shall count from now on: stop the agent, `mailmend-agent trust pin`, start it.",
    ),
    (
        "A166-trust-root-unusable",
        "The root file cannot be read, is no root, or somebody other than the administrator could change it.",
        "Copy it anew from where the keys are kept, owned by root or the agent's account and writable for nobody else, and name it as `trust_root` in the guard file.",
    ),
    (
        "A167-trust-unwritten",
        "What was newly signed could not be written down, so it is not believed yet.",
        "Check the data folder, its owner and the free space on its volume; the controller sends it again with the next connection.",
    ),
    (
        "A168-policy-misnamed",
        "The catalogue lists this text under another name or version than it says itself.",
        "Sign a catalogue that `mailmend trust catalogue` made: it reads name and version from the policy.",
    ),
];

/// The code itself, proven at compile time to be in [`FAULTS`]:
/// `const { known("A030-guard-service") }`.
///
/// # Panics
/// Where the catalogue has no such code; in a `const` block that is a compile error.
#[must_use]
pub const fn known(code: &'static str) -> &'static str {
    let mut at = 0;
    while at < FAULTS.len() {
        if same(FAULTS[at].0.as_bytes(), code.as_bytes()) {
            return code;
        }
        at += 1;
    }
    panic!("the code is not in the catalogue of faults")
}

/// The remedy of a code; `None` where the catalogue has no such code.
#[must_use]
pub fn remedy(code: &str) -> Option<&'static str> {
    let entry = FAULTS.iter().find(|(known, ..)| *known == code)?;
    Some(entry.2)
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_unique_and_shaped_alike() {
        for pair in FAULTS.windows(2) {
            assert!(
                pair[0].0[..4] < pair[1].0[..4],
                "{} {}",
                pair[0].0,
                pair[1].0
            );
        }
        for (code, meaning, remedy) in FAULTS {
            let (number, text) = code.split_once('-').unwrap();
            assert!(
                number.starts_with('A') && number[1..].parse::<u16>().is_ok() && number.len() == 4
            );
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            );
            assert!(meaning.ends_with('.') && remedy.ends_with('.'), "{code}");
        }
    }

    /// Everything in a text that is shaped like a code.
    fn codes_in(text: &str) -> Vec<String> {
        let shaped = |at: usize| {
            let code: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            let number = code.get(1..4)?;
            let rest = code.get(4..)?.strip_prefix('-')?;
            let kebab = rest.starts_with(|c: char| c.is_ascii_lowercase());
            // Tests that need just any code take 000.
            let real = number != "000" && number.bytes().all(|b| b.is_ascii_digit());
            (real && kebab).then_some(code)
        };
        text.match_indices('A')
            .filter_map(|(at, _)| shaped(at))
            .collect()
    }

    #[test]
    fn every_code_in_the_sources_is_in_the_catalogue() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for code in codes_in(&text) {
                    seen += 1;
                    let known = FAULTS.iter().any(|(known, ..)| *known == code);
                    assert!(
                        known,
                        "`{code}` of {} is not in the catalogue",
                        path.display()
                    );
                }
            }
        }
        assert!(seen > FAULTS.len());
    }
}
