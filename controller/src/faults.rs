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
        "choose another port with `--listen` or `--metrics-listen`, or find who has it with `ss -ltnp`",
    ),
    (
        "C011-address",
        "The address to listen on cannot be used on this machine.",
        "give `--listen` or `--metrics-listen` an address of this machine with a port, such as 127.0.0.1:7268; ports below 1024 need root",
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
        "C026-clock",
        "The controller's certificate does not hold at the time that this machine's clock shows.",
        "set the clock of this machine (for example `timedatectl set-ntp true`); if it is right, look at the controller's",
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
    (
        "C060-report-malformed",
        "An agent reported a record that cannot be understood; nothing of the report was stored.",
        "update the older of controller and agent; if both are of one version, keep the agent's `journal.db` and report a defect",
    ),
    (
        "C061-report-gap",
        "An agent reported records that do not follow those that are stored.",
        "nothing: the agent connects again and begins where the stored records end; if it comes again and again, report a defect",
    ),
    (
        "C062-agent-second-history",
        "An agent reported a record that is stored here with another content: two machines use one identity, or a journal was changed.",
        "stop the machine that should not be there; enrol the right one again with `mailmend agent token`",
    ),
    (
        "C063-report-foreign",
        "An agent reported on a run that it has no part in, or not as it was assigned.",
        "treat the agent's machine as compromised until it is explained; keep its `journal.db`",
    ),
    (
        "C064-report-illegal",
        "An agent reported something that cannot have happened after what it reported before; nothing of the report was stored.",
        "keep the agent's `journal.db` and report a defect; the run waits until then: `mailmend rollout explain`",
    ),
    (
        "C065-symptoms-malformed",
        "An agent told of symptoms that cannot be understood. What it told before stays.",
        "update the agent to the controller's version; if it is, report this as a defect with the text of the error",
    ),
    (
        "C070-token-refused",
        "An enrolment token is unknown, used, expired or for another name; strangers are not told which.",
        "make a new one with `mailmend agent token`; the controller's log says what was wrong",
    ),
    (
        "C071-token-misused",
        "A token was shown after it was used, or with another name than its own: it may have been stolen.",
        "find out who enrolled as this agent and when (`mailmend agent show`); enrol it again where in doubt",
    ),
    (
        "C072-no-hello",
        "A stream did not begin with an acceptable hello.",
        "update the agent; if another program dials the controller with an agent's certificate, find out why",
    ),
    (
        "C073-replaced",
        "A newer stream of the same agent took this one's place.",
        "nothing after a lost connection; if it goes on and on, two machines use one identity: stop one of them",
    ),
    (
        "C074-too-many-facts",
        "An agent reported more facts or actions than are taken.",
        "report a defect with the agent's configuration",
    ),
    (
        "C075-slow-agent",
        "An agent did not take what it was told for a long time, so its stream was ended.",
        "look at the load and the disk of that server; the agent connects again by itself",
    ),
    (
        "C078-stopping",
        "The controller was told to stop.",
        "ask again when it is back; agents connect by themselves",
    ),
    (
        "C080-selector",
        "A selector makes no sense.",
        "write it as in `site=oslo,role in (a,b),!retired`; an empty one is refused, `site` selects every server that has one",
    ),
    (
        "C081-nothing-selected",
        "No server is selected, so there is nothing to do. This is never read as everything.",
        "compare the selector with `mailmend agent list`",
    ),
    (
        "C082-not-plannable",
        "The policy cannot be bound to the servers of a selected site.",
        "mend what the message names: labels, a missing server, an agent that lacks an action; or leave the site out",
    ),
    (
        "C083-policy-refused",
        "A policy that was published by an older version has faults under this version's rules.",
        "`mailmend policy show`, mend it, and publish it as a new version",
    ),
    (
        "C084-limit",
        "A limit of a rollout is out of range.",
        "give `--sites-at-once` a number from 1 to 1000",
    ),
    (
        "C085-rollout-state",
        "The rollout's state does not allow this.",
        "`mailmend rollout show` tells the state; what has ended stays ended",
    ),
    (
        "C086-version-taken",
        "This version of the policy was published with another text.",
        "raise `version` in the file and publish that",
    ),
    (
        "C087-version-falls",
        "A newer version of the policy is published.",
        "raise `version` in the file above it; to go back, publish the old text under a new version",
    ),
    (
        "C088-token-validity",
        "A token's time of validity is out of range.",
        "give from one minute to seven days",
    ),
    (
        "C089-id",
        "What was given is not the beginning of an id.",
        "copy at least six characters from `mailmend rollout list` or `mailmend rollout show`",
    ),
    (
        "C090-id-ambiguous",
        "The beginning of an id names more than one thing.",
        "give more of its characters",
    ),
    (
        "C091-custody-state",
        "There is no such state of custody.",
        "use one of live, held, replaying, gone-with-evidence, poison, in-doubt",
    ),
    (
        "C092-request-id",
        "A request to start a rollout has no id of its own, so it could not be repeated safely.",
        "this is a defect of the caller; `mailmend rollout start` makes one",
    ),
    (
        "C093-plan-changed",
        "What would be done is not what was approved any more.",
        "look at `mailmend rollout plan` again and approve its digest",
    ),
    (
        "C094-not-asked",
        "A step was answered that does not wait for an answer, was answered already, or does not offer this answer.",
        "`mailmend run show` tells what is asked and which answers there are",
    ),
    (
        "C095-run-not-closed",
        "Held mail is given back only when the run has come to rest or has ended.",
        "`mailmend rollout explain` tells what the run waits for; `mailmend rollout abort` brings it to its end",
    ),
    (
        "C096-custody-ids",
        "What names messages or a batch in custody makes no sense, or names nothing in this run.",
        "copy the ids from `mailmend run ledger`: BATCH/INDEX or BATCH/FIRST-LAST, of one batch at a time",
    ),
    (
        "C097-agent-away",
        "The agent is not connected, so nothing can be asked of it.",
        "start mailmend-agent there; on the server itself `mailmend-agent ledger audit` does the same",
    ),
    (
        "C098-reason-missing",
        "An order that concerns mail needs a reason, for those who look later.",
        "say with `--why` what you know and from where",
    ),
    (
        "C099-audit-failed",
        "The agent could not compare its ledger with disk and logs.",
        "mend what is named, then ask again",
    ),
    (
        "C100-nothing-to-recover",
        "A run has no copy of a message that vanished, none under this name, or copies on more than one server.",
        "`mailmend run reconciled RUN` lists what vanished and which copies are kept; name the server with `--server`",
    ),
    (
        "C101-store-locked",
        "Another controller has the store open.",
        "stop that one, or give this one a data folder of its own",
    ),
    (
        "C102-store-newer",
        "A later version of mailmend wrote the store.",
        "run that version, or put back the backup that was made before the update",
    ),
    (
        "C103-store-corrupt",
        "The store is damaged.",
        "stop the controller, keep the damaged file, and put the last backup in its place: agents send again what it lacks",
    ),
    (
        "C104-store-full",
        "The volume of the store is full. Nothing was half written, and nothing is acknowledged to agents until there is room.",
        "free some space; the controller goes on by itself",
    ),
    (
        "C105-store-file",
        "The store's file cannot be made, read or locked.",
        "mend the owner and the permissions of the data folder; the file has mode 0600",
    ),
    (
        "C106-store-changed",
        "Somebody else changed the same thing at the same time.",
        "look again, then try again",
    ),
    (
        "C107-store-failed",
        "The store failed for a reason of its own.",
        "look at the log for what SQLite said; the disk may be failing",
    ),
    (
        "C108-store-missing",
        "The data folder has an authority, and its store is gone or empty; a new store would know no agent, run or message.",
        "put the last backup of `controller.db` in its place, with the files beside it; only if there is none, use a new data folder and enrol every agent again",
    ),
    (
        "C110-binding-gave-up",
        "Runs that a binding started did not help: the symptom came back, or they failed, three times in a row. The binding acts no more there by itself.",
        "look at the runs (`mailmend fleet symptoms`, `mailmend run show`): the cause is another one; then `mailmend proposal start` or `refuse`, or bind the policy anew to let it act again",
    ),
    (
        "C111-proposal-decided",
        "The proposal stands no more: somebody decided it, or its symptom or its binding went away.",
        "`mailmend proposal list --all` shows what became of it; `mailmend fleet symptoms` what stands now",
    ),
    (
        "C112-strategy",
        "A strategy could never go on with the servers that are selected.",
        "change what the message names, in the policy's `[strategy]` or by an option of `mailmend rollout start`",
    ),
    (
        "C113-policy-recalled",
        "The policy was recalled: it must not run any more.",
        "`mailmend policy list` tells why; publish a mended version and use that",
    ),
    (
        "C114-strategy-refused",
        "What is to override a policy's strategy has faults.",
        "mend what the message points at: the file of `--strategy`, or the option",
    ),
    (
        "C115-approval-void",
        "What was to be approved is not what would be done any more.",
        "look again at `mailmend rollout show`, and approve the digest that it tells; where servers have drifted, put that back or start anew",
    ),
    (
        "C116-approval-not-asked",
        "The rollout's strategy asks nobody before this wave.",
        "`mailmend rollout show` tells which waves wait for a person",
    ),
    (
        "C117-nothing-to-retry",
        "No run of the rollout has failed or was cancelled.",
        "`mailmend rollout show` tells how its runs stand; one that needs a person is looked at first (`mailmend rollout explain`)",
    ),
    (
        "C118-retry-drift",
        "A failed run cannot be planned again as it was: its servers have changed.",
        "start a rollout anew with `mailmend rollout start`",
    ),
    (
        "C119-drift",
        "Servers of the rollout are not any more what its plans were made from.",
        "put back what the message names and resume; or abort the rollout and start anew",
    ),
    (
        "C120-immunity-proven-again",
        "A message whose fingerprint was withdrawn was proven to be poison again.",
        "look at both with `mailmend immunity show`; where the withdrawal was wrong, make it known again with `mailmend immunity add`",
    ),
    (
        "C121-immunity-full",
        "As many fingerprints stand as agents take; a new one is not told to them.",
        "withdraw old ones with `mailmend immunity withdraw --keep`, which leaves set aside what is; then add the new one",
    ),
    (
        "C125-last-path",
        "A server to be mended is the only outbound path of an address space by configuration, and the strategy refuses that.",
        "state another path for it (`ims.address-spaces` of another server), or accept that its mail waits, with `last_path = \"accept\"` in `[strategy]`",
    ),
    (
        "C140-agent-program",
        "The agent's program, which plays the servers of a simulation, cannot be found or started.",
        "put `mailmend-agent` beside `mailmend`, or name it with `--agent-program`",
    ),
    (
        "C141-agent-program-ended",
        "The agent's program that plays the servers of a simulation ended, or answered what makes no sense.",
        "use programs of the same version; where they are, report it with the seed and the options",
    ),
    (
        "C142-simulation-size",
        "A fleet of that size cannot be generated.",
        "give 1 to 10000 servers, and at most as many sites",
    ),
    (
        "C150-role",
        "The caller is a known operator, but its role does not allow the call.",
        "ask an operator who has the role (`mailmend operator list`), or an admin to give it: `mailmend operator role NAME ROLE`",
    ),
    (
        "C151-own-change",
        "An operator would approve a rollout that it started itself; nobody approves their own change.",
        "ask another operator of the role approver or admin: `mailmend operator list`",
    ),
    (
        "C152-identity-revoked",
        "The certificate is of this authority, but an admin ended it.",
        "ask whoever revoked it; a new token lets the name in again: `mailmend agent token`, for people `mailmend operator add NAME --role ROLE --again`",
    ),
    (
        "C153-operator-unknown",
        "The certificate names an operator that is not known to this controller.",
        "an admin lets it in: `mailmend operator add NAME --role ROLE`; after a store was put back from a backup, everybody who came since",
    ),
    (
        "C154-rate",
        "One name, or one address without a certificate, calls too often.",
        "wait a second and call again; a script that polls should follow instead (`mailmend rollout watch`)",
    ),
    (
        "C155-operator-exists",
        "There is an operator of this name.",
        "`mailmend operator role` changes its role; `mailmend operator add NAME --role ROLE --again` makes a new token for it",
    ),
    (
        "C156-last-admin",
        "It would leave nobody who may let others in: no other admin has a certificate that holds.",
        "add another admin and let it enrol first: `mailmend operator add NAME --role admin`",
    ),
    (
        "C157-already-enrolled",
        "The folder has an operator's certificate that still holds.",
        "`mailmend operator renew` makes it anew; `--again` replaces it with that of another name or token",
    ),
    (
        "C160-journal-contradicts",
        "An agent's journal is not what was stored of it: records that were reported were changed, or another version wrote them.",
        "compare `mailmend-agent journal export` with the trail by `mailmend audit verify --journal`; if nobody changed the journal, look whether its data folder was put back from a backup",
    ),
    (
        "C161-not-in-the-trail",
        "The rollout was started before this controller kept an audit trail, or at a time before it was started.",
        "`mailmend rollout show` without --at tells how it stands now; `mailmend audit list` tells when the trail began",
    ),
    (
        "C162-audit-file",
        "A file that was to be verified is no exported audit trail, or no exported journal.",
        "name a file of `mailmend audit export`, and with --journal one of `mailmend-agent journal export`",
    ),
    (
        "C170-trust-refused",
        "Signed documents are not believed: not signed by those who may, older than what is there, or they do not belong together.",
        "`mailmend trust verify --root ROOT FILES` tells the same without a controller; have what is missing signed, and publish again",
    ),
    (
        "C171-policy-unsigned",
        "Agents that would take part take signed policies alone, and the catalogue does not list this one by its exact bytes.",
        "have a catalogue signed that lists it (`mailmend trust catalogue`), and publish that with its timestamp",
    ),
    (
        "C172-trust-missing",
        "Agents that would take part take signed policies alone, and no signed catalogue was published.",
        "publish root, catalogue and timestamp with `mailmend trust publish`",
    ),
    (
        "C173-trust-expired",
        "Agents that would take part take signed policies alone, and the time of root, catalogue or timestamp is over.",
        "publish a newer one with `mailmend trust publish`; `mailmend trust show` tells which, and look at the clock of the controller",
    ),
    (
        "C174-trust-file",
        "A file of a document or its signatures cannot be read, written or understood, or is there already.",
        "mend what the message names; documents are never replaced, give the next one a name of its own",
    ),
    (
        "C175-trust-key",
        "A secret key cannot be read or written, or others can read it.",
        "`chmod 600` the file, and if others have accounts there consider the key known to them; a file that is there is never replaced",
    ),
    (
        "C176-trust-unverified",
        "An agent that trusts this root would refuse the documents.",
        "the message says why; have what is missing signed with `mailmend trust sign`",
    ),
    (
        "C201-agent-unknown",
        "An agent has a valid certificate and is not in the inventory, perhaps because an older store was put back.",
        "enrol it again with `mailmend agent token`",
    ),
    (
        "C202-agent-cloned",
        "An agent came with another journal than the one whose records are kept: two machines use one identity, or a data folder was replaced.",
        "stop the wrong machine; if the folder was replaced on purpose, enrol the agent again with `mailmend agent token`",
    ),
    (
        "C203-agent-journal-behind",
        "An agent's journal ends before what is stored of it: it was put back from a backup, or cloned.",
        "put the newest data folder in its place; where it is lost, move the old one away and enrol the agent again",
    ),
    (
        "C204-agent-fence-ahead",
        "An agent has admitted a fence that was never minted here: it belongs to another controller, or this store is an old backup.",
        "point the agent to its own controller, or put the newest backup of the store in place",
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

    /// The sources that may name codes, but for this file.
    fn sources() -> Vec<String> {
        let mut texts = Vec::new();
        let mut left = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else if !path.ends_with("src/faults.rs") {
                    texts.push(std::fs::read_to_string(path).unwrap());
                }
            }
        }
        texts
    }

    #[test]
    fn every_code_that_is_told_is_in_the_catalogue_and_the_other_way_round() {
        let all = sources().join("\n");
        for (code, _, _) in FAULTS {
            assert!(all.contains(code), "{code} is never told");
        }
        let known = |text: &str| FAULTS.iter().any(|(code, _, _)| text.starts_with(code));
        for (at, _) in all.match_indices("C0").chain(all.match_indices("C1")) {
            let text = &all[at..];
            let shape = text
                .as_bytes()
                .get(2..5)
                .is_some_and(|rest| rest[..2].iter().all(u8::is_ascii_digit) && rest[2] == b'-');
            let named = shape && text.as_bytes().get(5).is_some_and(u8::is_ascii_lowercase);
            let shown: String = text.chars().take(40).collect();
            assert!(!named || known(text), "not in the catalogue: {shown}");
        }
    }
}
