//! Signed policies: what is admitted, and that nothing which is under way ever asks again.

use std::fs;
use std::sync::Arc;

use mailmend_agent::engine::Engine;
use mailmend_agent::guard::Guard;
use mailmend_agent::host::Host;
use mailmend_agent::inbox::Refusal;
use mailmend_proto::convert::offer_to_wire;
use mailmend_proto::run::Ended;
use mailmend_proto::wire;
use mailmend_trust::{
    Catalogue, Entry, Holder, Kind, Named, Offer, Role, Root, SecretKey, Sha256, Signed, Timestamp,
};
use uuid::Uuid;

use crate::site::{GUARD, IMC, Site};

const DAY: i64 = 86_400_000;

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

/// A server whose guard file asks for signed policies, with the agent's data folder.
struct Place {
    site: Site,
    data: tempfile::TempDir,
    /// When it began, whole seconds: a later look at the clock would be another life of the machine's agent.
    now: i64,
}

impl Place {
    fn new() -> Self {
        let mut site = Site::small(1);
        let data = tempfile::tempdir().unwrap();
        let roles = [1, 2, 3].map(|seed| {
            let holder = Holder {
                key: key(seed).public(),
                holder: format!("holder {seed}"),
            };
            Role::new(1, vec![holder]).unwrap()
        });
        let root = data.path().join("root.toml");
        let now = site.world.host().clock().wall_ms() / 1000 * 1000;
        fs::write(&root, Root::new(1, now + 900 * DAY, roles).unwrap().write()).unwrap();
        let asked = format!("policies = \"signed\"\ntrust_root = '{}'", root.display());
        let text = GUARD.replace("policies = \"unsigned\"", &asked);
        site.guard = Arc::new(Guard::parse("guard.toml", &text).unwrap());
        Self { site, data, now }
    }

    /// A new life of the agent.
    fn engine(&self) -> Engine {
        let engine = self.site.engine(0);
        engine.keep_trust(self.data.path());
        engine
    }

    /// A catalogue that lists these texts as the policy of the assignment, with a timestamp that lives so long.
    fn documents(&self, version: u64, texts: &[&[u8]], life_ms: i64) -> wire::TrustDocuments {
        let name = &self.site.assignment.policy_name;
        let list = texts.iter().map(|text| Entry::of(name, 1, text)).collect();
        let catalogue = Catalogue::new(version, self.now + 800 * DAY, list)
            .unwrap()
            .write();
        let stamp = Timestamp {
            version,
            issued_ms: self.now,
            expires_ms: self.now + life_ms,
            root: 1,
            catalogue: Named {
                version,
                sha256: Sha256::of(catalogue.as_bytes()),
                bytes: catalogue.len() as u64,
            },
        };
        offer_to_wire(&Offer {
            roots: Vec::new(),
            timestamp: Some(signed(Kind::Timestamp, stamp.write(), 3)),
            catalogue: Some(signed(Kind::Catalogue, catalogue, 2)),
        })
    }

    fn text(&self) -> &[u8] {
        &self.site.assignment.policy_text
    }

    fn admit(&self, engine: &Engine) -> &'static str {
        code(engine.admit(&self.site.assignment))
    }

    fn is_untouched(&self) {
        assert!(self.site.events().is_empty(), "nothing was written down");
        assert!(self.site.world.is_running(IMC));
    }
}

fn code<T>(answer: Result<T, Refusal>) -> &'static str {
    answer.map_or_else(|refusal| refusal.code, |_| "taken")
}

#[test]
fn only_what_a_trusted_catalogue_lists_byte_by_byte_is_taken_on() {
    let place = Place::new();
    let engine = place.engine();
    engine.recover().unwrap();
    assert_eq!(place.admit(&engine), "A162-trust-incomplete");
    let mut other = place.text().to_vec();
    other.push(b'\n');
    engine
        .take_trust(place.documents(1, &[&other], DAY))
        .unwrap();
    assert_eq!(place.admit(&engine), "A160-policy-unsigned");
    place.is_untouched();
    // A version has one text, so the right one comes under the next catalogue of another place.
    let place = Place::new();
    let engine = place.engine();
    engine.recover().unwrap();
    engine
        .take_trust(place.documents(1, &[place.text()], DAY))
        .unwrap();
    let mut changed = place.site.assignment.clone();
    let comment = changed
        .policy_text
        .iter()
        .position(|byte| *byte == b'#')
        .unwrap();
    changed.policy_text[comment + 1] ^= 1;
    assert_eq!(code(engine.admit(&changed)), "A160-policy-unsigned");
    place.is_untouched();
    assert_eq!(place.admit(&engine), "taken");
    place.site.control(&engine);
    place.site.check("signed");
    assert_eq!(place.site.ended(), Some(Ended::Committed));
}

#[test]
fn what_expires_begins_nothing_new_and_what_is_under_way_comes_to_its_end() {
    let place = Place::new();
    let engine = place.engine();
    engine.recover().unwrap();
    engine
        .take_trust(place.documents(1, &[place.text()], 30_000))
        .unwrap();
    assert_eq!(place.admit(&engine), "taken");
    // The run takes minutes; the timestamp holds for half of one.
    place.site.control(&engine);
    place.site.check("expired meanwhile");
    assert_eq!(place.site.ended(), Some(Ended::Committed));
    let mut next = place.site.assignment.clone();
    next.run = Uuid::from_u128(0xbeef).to_string();
    next.fence = 9;
    assert_eq!(code(engine.admit(&next)), "A161-trust-expired");
    assert!(engine.may_watch(place.text()).is_ok());
}

#[test]
fn a_section_that_is_open_is_unwound_after_a_restart_without_any_trust() {
    let place = Place::new();
    let engine = place.engine();
    engine.recover().unwrap();
    engine
        .take_trust(place.documents(1, &[place.text()], DAY))
        .unwrap();
    engine.admit(&place.site.assignment).unwrap();
    let released = place.site.plan.sections[0].last + 1;
    engine.advance(place.site.run, 1, released).unwrap();
    engine.carry_on(place.site.run).unwrap();
    drop(engine);
    fs::write(place.data.path().join("trust"), "nonsense").unwrap();
    let engine = place.engine();
    engine.recover().unwrap();
    engine.unwind(place.site.run, 1, 0, true).unwrap();
    engine.carry_on(place.site.run).unwrap();
    place.site.check("unwound");
    assert_eq!(place.site.ended(), Some(Ended::Unwound));
    let mut next = place.site.assignment.clone();
    next.run = Uuid::from_u128(0xbeef).to_string();
    next.fence = 9;
    assert_eq!(code(engine.admit(&next)), "A164-trust-damaged");
}

#[test]
fn a_rollback_is_refused_also_after_a_restart() {
    let place = Place::new();
    let engine = place.engine();
    engine
        .take_trust(place.documents(5, &[place.text()], DAY))
        .unwrap();
    let engine = place.engine();
    let older = place.documents(4, &[], DAY);
    assert_eq!(code(engine.take_trust(older)), "A163-trust-refused");
    assert!(engine.may_watch(place.text()).is_ok());
    assert_eq!(engine.trust_held().borrow().catalogue, 5);
}
