//! Each rule refuses a shipped policy that one careless edit has made dangerous. Every other code is
//! absent, so without the rule the edit would pass.

use std::collections::BTreeSet;

use super::RULES;
use crate::fault::{FaultCode, Severity};
use crate::library;
use crate::parse::check;
use crate::source::PolicySource;

const FORBID: &str = r#"forbid = [{ event = { source = "MSExchangeIMC", id = 3038, since = "last-start" }, why = "sent mail could not be removed from the store; stopping now sends it again (Q296879)" }]"#;

/// The codes of a shipped policy after edits, each of which changes its first match.
fn after(policy: &str, edits: &[(&str, &str)]) -> BTreeSet<FaultCode> {
    let source = library::find(policy).unwrap();
    let mut text = String::from_utf8(source.bytes().to_vec()).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "{policy} has no {from}");
        text = text.replacen(from, to, 1);
    }
    let checked = check(&PolicySource::new(policy, text));
    let codes: BTreeSet<_> = checked
        .faults
        .list()
        .iter()
        .map(|fault| fault.code)
        .collect();
    let refused = codes.iter().any(|code| code.severity() == Severity::Error);
    assert_eq!(checked.policy.is_none(), refused, "{}", checked.faults);
    codes
}

/// A step of the shipped policy of Q268494, from its header to the next one.
fn step(policy: &str, id: &str) -> String {
    let source = library::find(policy).unwrap();
    let text = String::from_utf8(source.bytes().to_vec()).unwrap();
    let id = format!("id = \"{id}\"");
    let found = text
        .split("[[step]]")
        .find(|step| step.contains(&id))
        .unwrap();
    format!("[[step]]{found}")
}

const OUTBOUND: &str = "stuck-outbound-routing";

struct Example {
    code: FaultCode,
    policy: &'static str,
    edits: Vec<(String, String)>,
}

fn example<A: Into<String>, B: Into<String>>(
    code: FaultCode,
    policy: &'static str,
    edits: impl IntoIterator<Item = (A, B)>,
) -> Example {
    let edits = edits
        .into_iter()
        .map(|(from, to)| (from.into(), to.into()))
        .collect();
    Example {
        code,
        policy,
        edits,
    }
}

fn examples() -> Vec<Example> {
    use FaultCode::{
        AskedInSection, ClearedUnsaved, DependentsForgotten, HeldForGood, IndexKept, KilledFirst,
        LiveSpool, NeverDiffers, NeverStarted, NeverTrue, NoCanary, NotRechecked, OutageTooLong,
        PoisonPutBack, RecalculationUnproven, ReplayUnsettled, ReplayedTwice, ReturnInSection,
        SearchCutShort, SectionConditional, SectionInterrupted, StopWhile3038, StoppedTwice,
        StoreKilled, TooManyRestarts, Unexplained, Unobserved,
    };
    let of = |id| step(OUTBOUND, id);
    let gone = String::new;
    let check_relay = "id = \"relay-again\"\non = \"relay\"\naction = \"check\"\nall = [{ service = \"MSExchangeIMC\", is = \"running\" }]\n\n[[step]]\n";
    let restart_store = |then: &str| {
        format!(
            "[[step]]\nid = \"stop-store\"\non = \"outbound\"\naction = \"service.stop\"\nservice = \"MSExchangeIS\"\nthen = \"{then}\"\n\n[[step]]\nid = \"start-store\"\non = \"outbound\"\naction = \"service.start\"\nservice = \"MSExchangeIS\"\nobserve = \"30s\"\ntimeout = \"30s\"\n\n"
        )
    };
    let kill = "[[step]]\nid = \"end-ims\"\non = \"outbound\"\naction = \"service.kill\"\nservice = \"MSExchangeIMC\"\n";
    let clear = "[[step]]\nid = \"clear\"\non = \"mail\"\naction = \"tool.run\"\ntool = \"gwclean\"\naccept = [\"empty\"]\nwhy = \"x\"\n\n";
    vec![
        example(
            AskedInSection,
            OUTBOUND,
            [(
                of("reset-index"),
                of("reset-index")
                    + "[[step]]\nid = \"ask\"\non = \"outbound\"\naction = \"human.task\"\nask = \"Look.\"\nanswers = [\"done\"]\naccept = [\"done\"]\ntimeout = \"10s\"\nwhy = \"x\"\n\n",
            )],
        ),
        example(StopWhile3038, OUTBOUND, [(FORBID, "")]),
        example(
            StopWhile3038,
            OUTBOUND,
            [("since = \"last-start\" }, why", "since = \"1h\" }, why")],
        ),
        example(
            StopWhile3038,
            "corrupt-message",
            [(
                step("corrupt-message", "search-inbound"),
                step("corrupt-message", "search-inbound").replace(FORBID, ""),
            )],
        ),
        example(
            StopWhile3038,
            "sent-not-removed",
            [(
                "outbound-awaiting-conversion\", count_over = 0 },\n], why",
                "outbound-awaiting-conversion\", count_over = 9 },\n], why",
            )],
        ),
        example(NeverStarted, OUTBOUND, [(of("start-for-rest"), gone())]),
        example(
            Unobserved,
            OUTBOUND,
            [("observe = \"30s\"", "observe = \"9s\"")],
        ),
        example(
            LiveSpool,
            OUTBOUND,
            [
                (of("stop-for-canary"), gone()),
                (of("start-for-canary"), gone()),
            ],
        ),
        example(IndexKept, OUTBOUND, [(of("reset-index-for-rest"), gone())]),
        example(
            StoreKilled,
            OUTBOUND,
            [
                (
                    of("reset-index"),
                    of("reset-index") + &restart_store("kill"),
                ),
                ("max_restarts = 6".to_owned(), "max_restarts = 7".to_owned()),
                ("\"10m\"".to_owned(), "\"20m\"".to_owned()),
            ],
        ),
        example(
            TooManyRestarts,
            OUTBOUND,
            [("max_restarts = 6", "max_restarts = 5")],
        ),
        example(
            OutageTooLong,
            OUTBOUND,
            [("max_outage = \"10m\"", "max_outage = \"8m\"")],
        ),
        example(
            SearchCutShort,
            "corrupt-message",
            [("max_restarts = 163", "max_restarts = 162")],
        ),
        example(
            SearchCutShort,
            "corrupt-message",
            [("max_crashes = 35", "max_crashes = 34")],
        ),
        example(
            SearchCutShort,
            "corrupt-message",
            [("in_flight = 32\n", "")],
        ),
        example(
            RecalculationUnproven,
            OUTBOUND,
            [(
                "  { file = \"${mtadata}/GWART0.MTA\", changed_since = \"run-began\" },\n",
                "",
            )],
        ),
        example(
            RecalculationUnproven,
            OUTBOUND,
            [(
                "${mtadata}/GWART0.MTA\", changed",
                "${mtadata}/GWART1.MTA\", changed",
            )],
        ),
        example(ReplayUnsettled, OUTBOUND, [(of("rest-delivered"), gone())]),
        example(
            ClearedUnsaved,
            "sent-not-removed",
            [(step("sent-not-removed", "save-store-queue"), clear)],
        ),
        example(
            ClearedUnsaved,
            "stuck-message",
            [(
                "[[step]]\nid = \"clear-store-queues\"",
                format!("{clear}[[step]]\nid = \"clear-store-queues\""),
            )],
        ),
        example(
            NeverTrue,
            OUTBOUND,
            [(
                "oldest_over = \"15m\" },",
                "oldest_over = \"15m\" },\n  { queue = \"outbound-awaiting-delivery\", oldest_under = \"15m\" },",
            )],
        ),
        example(
            NeverTrue,
            OUTBOUND,
            [(
                "timeout = \"3m\"\nwhy",
                "timeout = \"3m\"\nwhen = [{ step = \"stop-ims\", was = \"done\" }, { not = { step = \"stop-ims\", was = \"done\" } }]\nwhy",
            )],
        ),
        example(
            SectionInterrupted,
            OUTBOUND,
            [(
                "[[step]]\nid = \"reset-index\"",
                format!("[[step]]\n{check_relay}id = \"reset-index\""),
            )],
        ),
        example(
            StoppedTwice,
            OUTBOUND,
            [
                (
                    of("reset-index"),
                    of("reset-index") + &of("stop-ims").replace("stop-ims", "stop-again"),
                ),
                ("\"10m\"".to_owned(), "\"20m\"".to_owned()),
            ],
        ),
        example(
            KilledFirst,
            OUTBOUND,
            [
                (
                    of("recalculate"),
                    of("recalculate")
                        + kill
                        + FORBID
                        + "\n\n"
                        + &of("start-ims").replace("start-ims", "start-first"),
                ),
                ("max_restarts = 6".to_owned(), "max_restarts = 8".to_owned()),
            ],
        ),
        example(
            PoisonPutBack,
            "corrupt-message",
            [("undo = \"keep\"", "undo = \"replay\"")],
        ),
        example(
            SectionConditional,
            OUTBOUND,
            [(
                "observe = \"30s\"",
                "observe = \"30s\"\nwhen = [{ disk = \"${imcdata}\", free_over = \"1GiB\" }]",
            )],
        ),
        example(
            SectionConditional,
            OUTBOUND,
            [(
                "then = \"kill\"",
                "then = \"kill\"\nwhen = [{ disk = \"${imcdata}\", free_over = \"1GiB\" }]",
            )],
        ),
        example(
            DependentsForgotten,
            OUTBOUND,
            [
                (
                    of("recalculate"),
                    of("recalculate") + &restart_store("fail"),
                ),
                ("max_restarts = 6".to_owned(), "max_restarts = 7".to_owned()),
            ],
        ),
        example(ReplayedTwice, OUTBOUND, [("first = 10\n", "")]),
        example(
            ReturnInSection,
            OUTBOUND,
            [(
                "undo = \"replay\"",
                "undo = \"replay\"\npoint_of_no_return = true",
            )],
        ),
        example(
            NeverDiffers,
            "silent-loss",
            [("  { service = \"MSExchangeIMC\", is = \"running\" },\n", "")],
        ),
        example(
            HeldForGood,
            "corrupt-message",
            [
                (step("corrupt-message", "search-outbound"), gone()),
                (step("corrupt-message", "outbound-delivered"), gone()),
            ],
        ),
        example(
            NoCanary,
            OUTBOUND,
            [
                (of("stop-for-canary"), gone()),
                (of("replay-canary"), gone()),
                (of("reset-index-for-canary"), gone()),
                (of("start-for-canary"), gone()),
                (of("canary-delivered"), gone()),
            ],
        ),
        example(NotRechecked, OUTBOUND, [(of("symptom-is-gone"), gone())]),
        example(
            Unexplained,
            "silent-loss",
            [(
                "why = \"the second way of losing mail deletes from the store, where no file is left to keep: only people know what never came\"\n",
                "",
            )],
        ),
    ]
}

#[test]
fn every_rule_alone_refuses_what_it_is_there_for() {
    let mut shown = BTreeSet::new();
    for Example {
        code,
        policy,
        edits,
    } in examples()
    {
        let edits: Vec<(&str, &str)> = edits
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        let codes = after(policy, &edits);
        // ReplayedTwice loses its canary with the same edit; that is advice on top.
        let codes: Vec<_> = codes
            .into_iter()
            .filter(|found| *found == code || found.severity() >= Severity::Error)
            .filter(|found| {
                code.severity() == Severity::Advice || found.severity() == Severity::Error
            })
            .collect();
        assert_eq!(codes, [code], "{policy}: {edits:#?}");
        shown.insert(code);
    }
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.code).collect();
    assert_eq!(
        shown, rules,
        "a rule without an example, or an example without a rule"
    );
}

#[test]
fn every_rule_is_listed_once_and_names_its_article() {
    let codes: BTreeSet<_> = RULES.iter().map(|rule| rule.code).collect();
    assert_eq!(codes.len(), RULES.len());
    let lints: BTreeSet<_> = FaultCode::ALL
        .iter()
        .copied()
        .filter(|code| code.as_str().starts_with('L'))
        .collect();
    assert_eq!(codes, lints);
    for rule in RULES {
        let named = rule
            .reason
            .split('Q')
            .skip(1)
            .any(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() >= 5);
        assert!(named, "{} names no article", rule.code);
    }
}

#[test]
fn a_store_may_be_restarted_inside_a_section_of_the_mail_service() {
    let inner = "[[step]]\nid = \"stop-store\"\non = \"outbound\"\naction = \"service.stop\"\nservice = \"MSExchangeIS\"\nthen = \"fail\"\n\n[[step]]\nid = \"start-store\"\non = \"outbound\"\naction = \"service.start\"\nservice = \"MSExchangeIS\"\nobserve = \"30s\"\ntimeout = \"60s\"\n\n";
    let reset = step(OUTBOUND, "reset-index");
    let edited = reset.clone() + inner;
    let edits = [
        (reset.as_str(), edited.as_str()),
        ("max_restarts = 6", "max_restarts = 7"),
        ("max_outage = \"10m\"", "max_outage = \"15m\""),
    ];
    assert_eq!(after(OUTBOUND, &edits), BTreeSet::new());
}
