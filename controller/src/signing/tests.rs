use mailmend_trust::{Catalogue, Entry, Holder, Named, Role, SecretKey, Sha256, Timestamp};

use super::*;

const DAY: i64 = 86_400_000;
const NOW: i64 = 1_795_219_200_000;
const POLICY: &[u8] = b"a policy";

fn key(seed: u8) -> SecretKey {
    SecretKey::of(&[seed; 32])
}

fn signed(kind: Kind, text: String, seed: u8) -> Signed {
    let text = text.into_bytes();
    Signed {
        signatures: vec![key(seed).sign(kind, &text)],
        text,
    }
}

fn root(version: u64, root_key: u8, by: &[u8]) -> Signed {
    let roles = [root_key, 2, 3].map(|seed| {
        let holder = Holder {
            key: key(seed).public(),
            holder: format!("holder {seed}"),
        };
        Role::new(1, vec![holder]).unwrap()
    });
    let text = Root::new(version, NOW + 365 * DAY, roles).unwrap().write();
    let text = text.into_bytes();
    Signed {
        signatures: by
            .iter()
            .map(|seed| key(*seed).sign(Kind::Root, &text))
            .collect(),
        text,
    }
}

fn catalogue(version: u64) -> Signed {
    let list = vec![Entry::of("stuck", 1, POLICY)];
    let catalogue = Catalogue::new(version, NOW + 90 * DAY, list).unwrap();
    signed(Kind::Catalogue, catalogue.write(), 2)
}

fn stamp(version: u64, catalogue: &Signed) -> Signed {
    let stamp = Timestamp {
        version,
        issued_ms: NOW,
        expires_ms: NOW + 7 * DAY,
        root: 1,
        catalogue: Named {
            version: Catalogue::parse(&catalogue.text).unwrap().version,
            sha256: Sha256::of(&catalogue.text),
            bytes: catalogue.text.len() as u64,
        },
    };
    signed(Kind::Timestamp, stamp.write(), 3)
}

fn first() -> Publication {
    let catalogue = catalogue(1);
    let stamp = stamp(1, &catalogue);
    publication(None, vec![stamp, catalogue, root(1, 1, &[1])], NOW).unwrap()
}

fn why(before: Option<&Trusted>, documents: Vec<Signed>) -> String {
    publication(before, documents, NOW).unwrap_err().to_string()
}

#[test]
fn documents_may_come_in_any_order_and_a_newer_timestamp_alone() {
    let made = first();
    assert_eq!(made.what, "root 1, catalogue 1, timestamp 1");
    assert_eq!(made.roots.len(), 1);
    let next = publication(Some(&made.state), vec![stamp(2, &catalogue(1))], NOW).unwrap();
    assert_eq!(next.what, "root 1, catalogue 1, timestamp 2");
    assert!(next.roots.is_empty());
    let rotated = vec![root(3, 7, &[7]), root(2, 7, &[1, 7])];
    let rotated = publication(Some(&next.state), rotated, NOW).unwrap();
    let versions: Vec<u64> = rotated.roots.iter().map(|(version, _)| *version).collect();
    assert_eq!(
        (versions, rotated.state.version(Kind::Root)),
        (vec![2, 3], 3)
    );
}

#[test]
fn what_an_agent_would_refuse_is_not_published_and_nothing_beside_it_is() {
    let state = first().state;
    let unsigned = why(None, vec![root(1, 1, &[9])]);
    assert!(
        unsigned.contains("signed by 0 of its own keys"),
        "{unsigned}"
    );
    assert!(why(None, vec![catalogue(1)]).contains("no root was ever published"));
    assert!(why(Some(&state), vec![catalogue(2)]).contains("together with a timestamp"));
    let forged = signed(
        Kind::Catalogue,
        String::from_utf8(catalogue(2).text).unwrap(),
        9,
    );
    let all = vec![root(2, 1, &[1]), stamp(2, &forged), forged];
    let forged = why(Some(&state), all);
    assert!(
        forged.starts_with("C170-trust-refused: ") && forged.contains("signed by 0 keys"),
        "{forged}"
    );
    let text = "x = 1".to_owned();
    assert!(why(Some(&state), vec![signed(Kind::Root, text, 1)]).contains("neither root"));
    let twice = vec![stamp(2, &catalogue(1)), stamp(3, &catalogue(1))];
    assert!(why(Some(&state), twice).contains("two documents"));
}

#[test]
fn whether_agents_would_take_a_policy_is_known_before_they_are_asked() {
    let state = first().state;
    let none = BTreeSet::new();
    let asking = BTreeSet::from(["SRVB".parse().unwrap()]);
    assert_eq!(would_take(None, &none, b"any", NOW), Ok(()));
    assert_eq!(would_take(Some(&state), &asking, POLICY, NOW), Ok(()));
    let code = |state: Option<&Trusted>, text: &[u8], now| {
        let why = would_take(state, &asking, text, now)
            .unwrap_err()
            .to_string();
        why.split(": ").next().unwrap().to_owned()
    };
    assert_eq!(code(None, POLICY, NOW), "C172-trust-missing");
    assert_eq!(code(Some(&state), b"another", NOW), "C171-policy-unsigned");
    assert_eq!(
        code(Some(&state), POLICY, NOW + 8 * DAY),
        "C173-trust-expired"
    );
}
