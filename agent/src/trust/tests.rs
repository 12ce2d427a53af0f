use std::fs;

use mailmend_proto::convert::offer_to_wire;
use mailmend_trust::{Catalogue, Holder, Named, Role, Root, SecretKey, Sha256, Signed, Timestamp};

use super::*;

const DAY: i64 = 86_400_000;
/// 2026-11-21T00:00:00Z.
const NOW: i64 = 1_795_219_200_000;
const POLICY: &[u8] = b"a policy";

fn key(seed: u8) -> SecretKey {
    SecretKey::of(&[seed; 32])
}

fn role(seed: u8) -> Role {
    let holder = Holder {
        key: key(seed).public(),
        holder: format!("holder {seed}"),
    };
    Role::new(1, vec![holder]).unwrap()
}

fn root(version: u64, seeds: [u8; 3]) -> String {
    Root::new(version, NOW + 365 * DAY, seeds.map(role))
        .unwrap()
        .write()
}

fn signed(kind: Kind, text: String, seed: u8) -> Signed {
    let text = text.into_bytes();
    Signed {
        signatures: vec![key(seed).sign(kind, &text)],
        text,
    }
}

fn documents(version: u64, policies: &[(u32, &[u8])]) -> wire::TrustDocuments {
    let entry = |(version, text): &(u32, &[u8])| Entry::of("stuck", *version, text);
    let list = policies.iter().map(entry).collect();
    let catalogue = Catalogue::new(version, NOW + 90 * DAY, list)
        .unwrap()
        .write();
    let stamp = Timestamp {
        version,
        issued_ms: NOW,
        expires_ms: NOW + 7 * DAY,
        root: 1,
        catalogue: Named {
            version,
            sha256: Sha256::of(catalogue.as_bytes()),
            bytes: catalogue.len() as u64,
        },
    };
    offer_to_wire(&Offer {
        roots: vec![signed(Kind::Root, root(1, [1, 2, 3]), 1)],
        timestamp: Some(signed(Kind::Timestamp, stamp.write(), 3)),
        catalogue: Some(signed(Kind::Catalogue, catalogue, 2)),
    })
}

struct Place {
    folder: tempfile::TempDir,
    guard: Guard,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.toml");
        fs::write(&file, root(1, [1, 2, 3])).unwrap();
        // As TOML's literal text, which takes the paths of Windows as they are.
        let text = format!(
            "policies = \"signed\"\ntrust_root = '{}'\nroots = [\"/srv/x\"]\nservices = []\n",
            file.display()
        );
        let guard = Guard::parse("guard.toml", &text).unwrap();
        Self { folder, guard }
    }

    fn gate(&self, now_ms: i64) -> Gate {
        let gate = Gate::of(&self.guard);
        // Why it stays closed is what each caller is told.
        let _ = gate.open(&self.guard, self.folder.path(), now_ms);
        gate
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("trust")
    }
}

fn code<T>(answer: Result<T, Refusal>) -> &'static str {
    answer.map_or_else(|refusal| refusal.code, |_| "taken")
}

#[test]
fn a_gate_that_asks_for_signatures_is_closed_until_it_is_opened() {
    let place = Place::new();
    let gate = Gate::of(&place.guard);
    assert_eq!(code(gate.admits(POLICY, NOW)), "A162-trust-incomplete");
    assert_eq!(code(gate.may_watch(POLICY)), "A162-trust-incomplete");
    assert_eq!(
        code(gate.take(documents(1, &[]), NOW)),
        "A162-trust-incomplete"
    );
    let unsigned = Guard::parse(
        "guard.toml",
        "policies = \"unsigned\"\nroots = [\"/srv/x\"]\nservices = []\n",
    );
    let open = Gate::of(&unsigned.unwrap());
    assert_eq!(open.admits(POLICY, NOW), Ok(Permit::Unasked));
    assert_eq!(open.take(documents(1, &[]), NOW), Ok(false));
    assert!(!open.subscribe().borrow().signed && gate.subscribe().borrow().signed);
}

#[test]
fn what_is_listed_is_admitted_also_after_a_restart_and_nothing_else_is() {
    let place = Place::new();
    let gate = place.gate(NOW);
    assert_eq!(code(gate.admits(POLICY, NOW)), "A162-trust-incomplete");
    assert_eq!(gate.take(documents(3, &[(1, POLICY)]), NOW), Ok(true));
    assert_eq!(gate.take(documents(3, &[(1, POLICY)]), NOW), Ok(false));
    for gate in [gate, place.gate(NOW)] {
        let permit = gate.admits(POLICY, NOW).unwrap();
        assert_eq!(permit.is_for("stuck", 1), Ok(()));
        assert_eq!(code(permit.is_for("stuck", 2)), "A168-policy-misnamed");
        assert_eq!(code(permit.is_for("other", 1)), "A168-policy-misnamed");
        assert_eq!(code(gate.admits(b"another", NOW)), "A160-policy-unsigned");
        // Older ones, and none at all, change nothing.
        assert_eq!(
            code(gate.take(documents(2, &[(1, POLICY)]), NOW)),
            "A163-trust-refused"
        );
        assert_eq!(gate.take(wire::TrustDocuments::default(), NOW), Ok(false));
        assert!(gate.admits(POLICY, NOW).is_ok());
        let held = gate.subscribe().borrow().clone();
        assert_eq!((held.root, held.catalogue, held.timestamp), (1, 3, 3));
        assert_eq!(held.expires_ms, NOW + 7 * DAY);
    }
}

#[test]
fn expiry_ends_new_work_and_not_watching_and_stays_over_a_restart_and_a_clock_set_back() {
    let place = Place::new();
    let gate = place.gate(NOW);
    gate.take(documents(3, &[(1, POLICY)]), NOW).unwrap();
    assert_eq!(
        code(gate.admits(POLICY, NOW + 7 * DAY)),
        "A161-trust-expired"
    );
    assert!(gate.may_watch(POLICY).is_ok());
    assert_eq!(
        gate.subscribe().borrow().trouble.as_ref().unwrap().code,
        "A161-trust-expired"
    );
    for gate in [gate, place.gate(NOW)] {
        assert_eq!(code(gate.admits(POLICY, NOW)), "A161-trust-expired");
        assert_eq!(
            code(gate.admits(POLICY, NOW - 3652 * DAY)),
            "A161-trust-expired"
        );
    }
    let gate = place.gate(NOW);
    assert_eq!(gate.take(documents(4, &[(1, POLICY)]), NOW), Ok(true));
    assert!(gate.admits(POLICY, NOW).is_ok());
}

#[test]
fn what_a_clock_that_ran_ahead_refused_is_taken_when_it_is_right_again() {
    let place = Place::new();
    let gate = place.gate(NOW);
    let sent = documents(3, &[(1, POLICY)]);
    assert_eq!(
        code(gate.take(sent, NOW + 3652 * DAY)),
        "A163-trust-refused"
    );
    assert_eq!(
        code(gate.admits(POLICY, NOW + 3652 * DAY)),
        "A162-trust-incomplete"
    );
    gate.look(NOW);
    assert!(gate.admits(POLICY, NOW).is_ok());
}

#[test]
fn a_kept_state_that_is_damaged_closes_the_gate_and_is_never_taken_for_none() {
    let place = Place::new();
    place
        .gate(NOW)
        .take(documents(3, &[(1, POLICY)]), NOW)
        .unwrap();
    let good = fs::read(place.kept()).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![Vec::new(), good[..good.len() - 1].to_vec(), vec![0xff; 9]];
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut one = good.clone();
        one[at] ^= 1;
        bad.push(one);
    }
    for bytes in bad {
        fs::write(place.kept(), &bytes).unwrap();
        let gate = place.gate(NOW);
        assert_eq!(code(gate.admits(POLICY, NOW)), "A164-trust-damaged");
        assert_eq!(code(gate.may_watch(POLICY)), "A164-trust-damaged");
        assert_eq!(
            code(gate.take(documents(4, &[]), NOW)),
            "A164-trust-damaged"
        );
        assert_eq!(
            fs::read(place.kept()).unwrap(),
            bytes,
            "it is left for a person to see"
        );
    }
}

#[test]
fn a_root_file_that_was_changed_is_believed_only_when_a_person_says_so() {
    let place = Place::new();
    place
        .gate(NOW)
        .take(documents(3, &[(1, POLICY)]), NOW)
        .unwrap();
    let file = place.folder.path().join("root.toml");
    let other = root(1, [11, 12, 13]);
    fs::write(&file, &other).unwrap();
    assert_eq!(
        code(place.gate(NOW).admits(POLICY, NOW)),
        "A165-trust-root-changed"
    );
    let wrong = pin(&file, place.folder.path(), Sha256::of(b"another"));
    assert_eq!(code(wrong), "A166-trust-root-unusable");
    assert_eq!(
        code(place.gate(NOW).admits(POLICY, NOW)),
        "A165-trust-root-changed"
    );
    let pinned = pin(&file, place.folder.path(), Sha256::of(other.as_bytes())).unwrap();
    assert_eq!((pinned.root, pinned.catalogue), (1, 0));
    let gate = place.gate(NOW);
    assert_eq!(code(gate.admits(POLICY, NOW)), "A162-trust-incomplete");
    assert_eq!(
        code(gate.take(documents(4, &[(1, POLICY)]), NOW)),
        "A163-trust-refused"
    );
    // A root file that has gone is no reason to stop.
    fs::remove_file(&file).unwrap();
    assert_eq!(
        code(place.gate(NOW).admits(POLICY, NOW)),
        "A162-trust-incomplete"
    );
}

#[test]
fn without_a_root_nothing_is_begun() {
    let place = Place::new();
    let file = place.folder.path().join("root.toml");
    fs::write(&file, "kind = \"root\"\n").unwrap();
    assert_eq!(
        code(place.gate(NOW).admits(POLICY, NOW)),
        "A166-trust-root-unusable"
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(
        code(place.gate(NOW).admits(POLICY, NOW)),
        "A166-trust-root-unusable"
    );
    assert!(!place.kept().exists());
}

#[test]
#[cfg(unix)]
fn a_root_file_that_others_could_change_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let file = place.folder.path().join("root.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let why = place.gate(NOW).admits(POLICY, NOW).unwrap_err();
    assert_eq!(why.code, "A166-trust-root-unusable");
    assert!(why.why.contains("can be written by others"), "{why}");
}

#[test]
fn what_cannot_be_written_down_is_not_believed() {
    let place = Place::new();
    let gate = place.gate(NOW);
    fs::remove_file(place.kept()).unwrap();
    // A folder in its place: no file can be put there.
    fs::create_dir(place.kept()).unwrap();
    fs::write(place.kept().join("x"), "x").unwrap();
    assert_eq!(
        code(gate.take(documents(3, &[(1, POLICY)]), NOW)),
        "A167-trust-unwritten"
    );
    assert_eq!(code(gate.admits(POLICY, NOW)), "A162-trust-incomplete");
}
