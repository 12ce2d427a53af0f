use mailmend_proto::chain::Link;
use mailmend_proto::wire::record;
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use super::*;
use crate::trail::chain::hex;
use crate::trail::item::encoded;

const RUN: &str = "00000000-0000-0000-0000-00000000000a";
const AGENT: &str = "oslo-a";

fn entry(kind: &str, items: Vec<What>) -> wire::TrailEntry {
    wire::TrailEntry {
        at_ms: 1_780_000_000_000,
        actor: "anna".into(),
        role: "admin".into(),
        kind: kind.into(),
        target: "x".into(),
        detail: encoded(items),
        ..wire::TrailEntry::default()
    }
}

/// The lines of a trail of these entries, without the header.
fn lines(entries: &[wire::TrailEntry]) -> Vec<String> {
    let mut head = Head::NONE;
    let entries = entries.iter().map(|one| {
        let one = wire::TrailEntry {
            seq: head.seq + 1,
            ..one.clone()
        };
        head = head.after(&one.encode_to_vec());
        line::of(&one, &head.hash).unwrap()
    });
    entries.collect()
}

fn verified<'a>(lines: impl IntoIterator<Item = &'a String>) -> Result<Trail, Finding> {
    let mut trail = Trail::default();
    for line in lines {
        trail.line(line)?;
    }
    Ok(trail)
}

fn three() -> Vec<String> {
    lines(&[
        entry("begin-trail", Vec::new()),
        entry("start-rollout", Vec::new()),
        entry("abort-rollout", Vec::new()),
    ])
}

#[test]
fn a_trail_as_it_was_written_is_verified() {
    assert_eq!(verified(&three()).unwrap().head().seq, 3);
}

#[test]
fn an_entry_that_was_changed_removed_swapped_or_put_in_is_found_with_its_place() {
    let good = three();
    let place = |lines: &[&String]| verified(lines.iter().copied()).unwrap_err().place;
    let [a, b, c] = &good[..] else { panic!() };
    let changed = b.replace("start-rollout", "pause-rollout");
    assert_eq!(place(&[a, &changed, c]), "line 3 of the trail");
    assert_eq!(place(&[a, c]), "entry 3 of the trail");
    assert_eq!(place(&[a, c, b]), "entry 3 of the trail");
    assert_eq!(place(&[a, b, b, c]), "entry 2 of the trail");
    assert_eq!(place(&[b, c]), "entry 2 of the trail");
    // An entry of another trail, in its right place and whole in itself.
    let other = &lines(&[entry("x", Vec::new()), entry("put-in", Vec::new())])[1];
    assert_eq!(place(&[a, other, c]), "entry 2 of the trail");
}

#[test]
fn a_tail_that_was_cut_off_is_found_only_by_a_head_that_somebody_noted() {
    let good = three();
    let noted = verified(&good).unwrap().head();
    let cut = verified(&good[..2]).unwrap();
    assert_eq!(cut.head().seq, 2, "by itself it is a whole trail");
    let found = cut.witnessed(noted, "a person").unwrap_err();
    assert_eq!(found.place, "entry 3 of the trail");
    assert!(found.means.starts_with("the end of the trail was cut off"));
}

#[test]
fn a_chain_that_was_made_anew_is_found_only_by_a_head_that_somebody_noted() {
    let noted = verified(&three()).unwrap().head();
    let anew = verified(&lines(&[
        entry("begin-trail", Vec::new()),
        entry("pause-rollout", Vec::new()),
        entry("abort-rollout", Vec::new()),
    ]))
    .unwrap();
    let found = anew.witnessed(noted, "oslo-a").unwrap_err();
    assert!(found.means.starts_with("the trail was written anew"));
}

/// A journal of these events.
fn journal(events: Vec<record::Event>) -> Journal {
    let id = Uuid::from_u128(7);
    let header =
        format!(r#"{{"mailmend":"journal","format":1,"agent":"{AGENT}","journal":"{id}"}}"#);
    let mut journal = Journal::begun(&header).unwrap();
    let mut link = Link::first(id);
    for event in events {
        let record = wire::Record {
            seq: link.seq + 1,
            at_ms: 1,
            run: RUN.into(),
            event: Some(event),
        };
        let bytes = record.encode_to_vec();
        link = link.after(&bytes);
        let (seq, hash, record) = (link.seq, hex(&link.hash), hex(&bytes));
        let line = format!(r#"{{"seq":{seq},"hash":"{hash}","record":"{record}"}}"#);
        journal.line(&line).unwrap();
    }
    journal
}

fn run() -> Vec<record::Event> {
    vec![
        record::Event::Admitted(wire::Admitted {
            fence: 4,
            ..wire::Admitted::default()
        }),
        record::Event::Advanced(wire::Advanced {
            fence: 4,
            through: 2,
        }),
        record::Event::StepIntended(wire::StepIntended {
            step: 1,
            attempt: 1,
        }),
    ]
}

fn assigned() -> What {
    What::Assigned(wire::TrailAssigned {
        run: RUN.into(),
        fence: 4,
        agents: vec![AGENT.into()],
    })
}

fn advanced(fence: u64, through: u32) -> What {
    What::Advanced(wire::TrailAdvanced {
        run: RUN.into(),
        agent: AGENT.into(),
        fence,
        through,
    })
}

fn seen(journal: &Journal, seq: u64) -> What {
    What::HeadSeen(wire::TrailHeadSeen {
        agent: AGENT.into(),
        journal: journal.id.to_string(),
        seq,
        hash: journal.hashes[usize::try_from(seq).unwrap() - 1].to_vec(),
        before: false,
    })
}

fn trail(items: Vec<What>) -> Trail {
    let entries: Vec<_> = items
        .into_iter()
        .map(|one| entry("decide", vec![one]))
        .collect();
    verified(&lines(&entries)).unwrap()
}

#[test]
fn what_was_allowed_before_it_was_done_agrees() {
    let journal = journal(run());
    let trail = trail(vec![assigned(), advanced(4, 2), seen(&journal, 3)]);
    assert_eq!(compare(&trail, &journal), []);
}

#[test]
fn a_step_that_nobody_allowed_is_found() {
    let journal = journal(run());
    for (items, found) in [
        (vec![assigned()], 2),
        (vec![assigned(), advanced(4, 1)], 2),
        (vec![assigned(), advanced(5, 2)], 1),
        (vec![advanced(4, 2)], 1),
        (vec![], 3),
    ] {
        let findings = compare(&trail(items.clone()), &journal);
        assert_eq!(findings.len(), found, "{items:?}: {findings:?}");
        assert!(findings[0].what.contains("no entry of the trail allows it"));
    }
}

#[test]
fn an_authorisation_that_was_written_after_the_fact_is_found() {
    let journal = journal(run());
    let late = trail(vec![assigned(), seen(&journal, 3), advanced(4, 2)]);
    let findings = compare(&late, &journal);
    assert_eq!(
        findings.len(),
        2,
        "the watermark and the step: {findings:?}"
    );
    assert_eq!(
        findings[0].means,
        "the authorisation was written after the fact"
    );
}

#[test]
fn what_was_stored_before_there_was_a_trail_needs_no_entry_and_what_came_after_does() {
    let journal = journal(run());
    let before = |seq| {
        What::HeadSeen(wire::TrailHeadSeen {
            agent: AGENT.into(),
            journal: journal.id.to_string(),
            seq,
            hash: Vec::new(),
            before: true,
        })
    };
    assert_eq!(compare(&trail(vec![before(3)]), &journal), []);
    assert_eq!(compare(&trail(vec![before(2)]), &journal).len(), 1);
    // What was allowed by then is copied.
    let carried = trail(vec![before(2), assigned(), advanced(4, 2)]);
    assert_eq!(compare(&carried, &journal), []);
}

#[test]
fn a_journal_that_was_made_anew_is_found_by_the_trail_that_saw_it() {
    let was = journal(run());
    let trail = trail(vec![assigned(), advanced(4, 2), seen(&was, 3)]);
    let mut events = run();
    events[2] = record::Event::StepIntended(wire::StepIntended {
        step: 0,
        attempt: 1,
    });
    let findings = compare(&trail, &journal(events.clone()));
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0]
            .means
            .starts_with("the journal was written anew")
    );
    let findings = compare(&trail, &journal(events[..2].to_vec()));
    assert!(
        findings[0]
            .means
            .starts_with("the end of the journal was cut off")
    );
}

#[test]
fn a_trail_that_was_made_anew_is_found_by_the_journal_that_saw_it() {
    let before = [
        entry("begin-trail", Vec::new()),
        entry("set-role", Vec::new()),
    ];
    let head = verified(&lines(&before)).unwrap().head();
    let journal = journal(vec![record::Event::TrailWitnessed(wire::TrailWitnessed {
        seq: head.seq,
        hash: head.hash.to_vec(),
        contradicts: false,
    })]);
    let same = verified(&lines(&before)).unwrap();
    assert_eq!(compare(&same, &journal), []);
    let anew = [
        entry("begin-trail", Vec::new()),
        entry("add-operator", Vec::new()),
    ];
    let anew = verified(&lines(&anew)).unwrap();
    let findings = compare(&anew, &journal);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].place, "entry 2 of the trail");
    let cut = verified(&lines(&before[..1])).unwrap();
    assert!(
        compare(&cut, &journal)[0]
            .what
            .contains("record 1 of its journal")
    );
}

#[test]
fn a_flipped_bit_in_a_journal_is_found() {
    let id = Uuid::from_u128(7);
    let header =
        format!(r#"{{"mailmend":"journal","format":1,"agent":"{AGENT}","journal":"{id}"}}"#);
    let bytes = wire::Record {
        seq: 1,
        run: RUN.into(),
        event: Some(run().remove(0)),
        ..wire::Record::default()
    }
    .encode_to_vec();
    let link = Link::first(id).after(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let line = format!(
            r#"{{"seq":1,"hash":"{}","record":"{}"}}"#,
            hex(&link.hash),
            hex(&damaged)
        );
        assert!(
            Journal::begun(&header).unwrap().line(&line).is_err(),
            "{bit}"
        );
    }
}

fn any_item() -> impl Strategy<Value = What> {
    prop_oneof![
        (any::<u64>(), any::<u32>()).prop_map(|(fence, through)| advanced(fence, through)),
        ".{0,9}".prop_map(|why| What::Entered(wire::TrailEntered {
            run: RUN.into(),
            phase: "running".into(),
            why,
        })),
        any::<u32>().prop_map(|wave| What::WaveBegan(trail_item_wave(wave))),
    ]
}

const fn trail_item_wave(wave: u32) -> wire::TrailWaveBegan {
    wire::TrailWaveBegan { wave }
}

proptest! {
    #[test]
    fn one_byte_changed_anywhere_in_any_trail_is_found(
        history in proptest::collection::vec(
            ("[a-z]{1,9}", ".{0,12}", any::<i64>(), proptest::collection::vec(any_item(), 0..3)),
            1..12,
        ),
        at: prop::sample::Index,
        with in 1_u8..,
    ) {
        let entries: Vec<_> = history
            .into_iter()
            .map(|(kind, why, at_ms, items)| wire::TrailEntry { why, at_ms, ..entry(&kind, items) })
            .collect();
        let mut file = lines(&entries).join("\n").into_bytes();
        let whole = String::from_utf8(file.clone()).unwrap();
        let all: Vec<String> = whole.lines().map(str::to_owned).collect();
        prop_assert!(verified(&all).is_ok());
        let index = at.index(file.len());
        file[index] ^= with;
        // What is no text any more is refused when the file is read.
        if let Ok(damaged) = String::from_utf8(file) {
            let damaged: Vec<String> = damaged.split('\n').map(str::to_owned).collect();
            prop_assert!(verified(&damaged).is_err());
        }
    }
}

#[test]
fn an_item_of_a_newer_version_is_refused() {
    let detail = wire::TrailDetail {
        items: vec![wire::TrailItem::default()],
    };
    let unknown = wire::TrailEntry {
        seq: 1,
        detail: detail.encode_to_vec(),
        ..wire::TrailEntry::default()
    };
    let bytes = unknown.encode_to_vec();
    let head = Head::NONE.after(&bytes);
    assert!(Trail::default().entry(&unknown, &bytes, head).is_err());
    let known = What::WaveEnded(wire::TrailWaveEnded { wave: 1 });
    assert_eq!(
        item::decoded(&encoded(vec![known.clone()])).unwrap(),
        [known]
    );
}
