//! The corpus of mistakes: every file of `library/invalid` is refused, with exactly the faults that its
//! `.expected` names, each at its place. Set `MAILMEND_BLESS=1` to write the expectations anew, and read
//! the difference.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mailmend_policy::fault::{FaultCode, Faults};
use mailmend_policy::library;
use mailmend_policy::parse::{check, parse};
use mailmend_policy::source::PolicySource;
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("library/invalid")
}

/// Files that are too large to keep, or that are better said than shown.
fn generated() -> BTreeMap<String, Vec<u8>> {
    let head = "schema = \"mailmend/v1\"\n";
    let levels = |open: &str, close: &str, count: usize| {
        format!(
            "{head}deep = {}1{}\n",
            open.repeat(count),
            close.repeat(count)
        )
        .into_bytes()
    };
    let shipped =
        String::from_utf8(library::find("silent-loss").unwrap().bytes().to_vec()).unwrap();
    let mut many = shipped.clone();
    let last = shipped.rsplit("[[step]]").next().unwrap();
    for at in 0..195 {
        many += "\n[[step]]";
        many += &last.replace("decide-on-missing", &format!("decide-{at}"));
    }
    [
        (
            "ten-megabytes",
            [head.as_bytes(), &b"# padding\n".repeat(1 << 20)].concat(),
        ),
        (
            "one-byte-over-a-mebibyte",
            [b"#".repeat(1 << 20), b"\n".to_vec()].concat(),
        ),
        ("two-hundred-levels-of-arrays", levels("[", "]", 200)),
        ("two-hundred-levels-of-tables", levels("{ a = ", " }", 200)),
        ("a-hundred-thousand-open-brackets", levels("[", "", 100_000)),
        (
            "two-hundred-dots",
            format!("{head}a{} = 1\n", ".a".repeat(200)).into_bytes(),
        ),
        (
            "two-hundred-and-one-steps",
            many.replace(
                "[[step]]\nid = \"decide-0\"",
                "\n[[step]]\nid = \"decide-0\"",
            )
            .into_bytes(),
        ),
        (
            "a-mebibyte-of-noise",
            "a=\n".repeat((1 << 20) / 3).into_bytes(),
        ),
        ("a-mebibyte-of-roles", {
            let roles: String = (0..50_000)
                .map(|at| format!("r{at}={{bind=1}}\n"))
                .collect();
            format!("{head}[roles]\n{roles}").into_bytes()
        }),
        ("a-mebibyte-of-conditions", {
            let ten = ["{ disk = \"${imcdata}\", free_over = \"1B\" }"; 100].join(", ");
            let all = vec![format!("{{ all = [{ten}] }}"); 200].join(", ");
            format!("{head}[detect]\non = \"x\"\nall = [{all}]\n").into_bytes()
        }),
        (
            "a-key-of-a-mebibyte",
            format!("{head}{} = 1\n", "k".repeat(1_000_000)).into_bytes(),
        ),
        (
            "a-list-of-fifty-thousand",
            format!("{head}step = [{}]\n", "{}, ".repeat(50_000)).into_bytes(),
        ),
        ("noise", "= \n".repeat(3000).into_bytes()),
        (
            "utf-16",
            shipped.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        (
            "latin-1",
            [head.as_bytes(), b"title = \"M\xfcller\"\n"].concat(),
        ),
        ("null-bytes", vec![0; 4096]),
        ("empty", Vec::new()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}

fn committed() -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn cases() -> BTreeMap<String, Vec<u8>> {
    let mut cases = committed();
    for (name, bytes) in generated() {
        assert!(
            cases.insert(name.clone(), bytes).is_none(),
            "{name} is there twice"
        );
    }
    cases
}

/// The faults as an expectation writes them.
fn written(faults: &Faults) -> String {
    let line = |fault: &mailmend_policy::fault::Fault| {
        format!("{} {}:{}\n", fault.code, fault.line, fault.column)
    };
    faults.list().iter().map(line).collect()
}

#[test]
fn every_file_is_refused_with_exactly_the_expected_faults() {
    let bless = std::env::var_os("MAILMEND_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 75, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, bytes) in &cases {
        let path = folder().join(format!("{name}.expected"));
        let checked = check(&PolicySource::new(format!("{name}.toml"), bytes.clone()));
        assert!(checked.policy.is_none(), "{name} is accepted");
        assert!(checked.faults.refuse(), "{name}");
        let found = written(&checked.faults);
        if bless {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "{name}: expected\n{expected}found\n{}\n",
                checked.faults
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn every_expectation_has_its_file() {
    let cases = cases();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let expects = path
            .extension()
            .is_some_and(|extension| extension == "expected");
        assert!(
            !expects || cases.contains_key(name),
            "{} belongs to no file",
            path.display()
        );
    }
}

#[test]
fn every_fault_code_is_exercised() {
    // By the expectations, which the test above holds the parser to.
    let mut seen = BTreeSet::new();
    for name in cases().keys() {
        let expected = std::fs::read_to_string(folder().join(format!("{name}.expected"))).unwrap();
        seen.extend(
            expected
                .lines()
                .filter_map(|line| line.split(' ').next().map(str::to_owned)),
        );
    }
    let missing: Vec<_> = FaultCode::ALL
        .iter()
        .filter(|code| !seen.contains(code.as_str()))
        .collect();
    assert!(missing.is_empty(), "no file of the corpus has {missing:?}");
}

#[test]
fn fault_codes_are_unique_and_their_numbers_too() {
    let texts: BTreeSet<_> = FaultCode::ALL.iter().map(|code| code.as_str()).collect();
    let numbers: BTreeSet<_> = FaultCode::ALL
        .iter()
        .map(|code| &code.as_str()[..4])
        .collect();
    assert_eq!(texts.len(), FaultCode::ALL.len());
    assert_eq!(numbers.len(), FaultCode::ALL.len());
}

/// What must hold of the faults of any file at all.
fn presentable(source: &PolicySource) -> Result<(), TestCaseError> {
    let checked = check(source);
    prop_assert_eq!(checked.policy.is_none(), checked.faults.refuse());
    prop_assert_eq!(parse(source).is_ok(), checked.policy.is_some());
    for fault in checked.faults.list() {
        prop_assert!(fault.line >= 1 && fault.column >= 1 && fault.length >= 1);
        prop_assert!(fault.span.start <= fault.span.end);
    }
    let json = checked.faults.to_json();
    prop_assert_eq!(
        json.as_array().map(Vec::len),
        Some(checked.faults.list().len())
    );
    let plain = checked.faults.render(80, false);
    let escapes = plain.contains('\u{1b}') || checked.faults.to_string().contains('\u{1b}');
    prop_assert!(!escapes, "escape sequences without colour");
    prop_assert_eq!(plain.is_empty(), checked.faults.is_empty());
    Ok(())
}

#[test]
fn every_file_of_the_corpus_can_be_shown() {
    for (name, bytes) in committed() {
        presentable(&PolicySource::new(name, bytes)).unwrap();
    }
}

#[test]
fn what_is_shown_of_a_giant_stays_small() {
    for (name, bytes) in generated() {
        let checked = check(&PolicySource::new(name.clone(), bytes));
        let shown = checked.faults.render(80, false).len();
        assert!(shown < 200_000, "{name} is shown in {shown} bytes");
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Byte(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0_usize..20_000;
    let token = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "\"\"\"",
        "\n",
        "=",
        ".",
        ",",
        "#",
        "[[step]]\n",
        "\\u202e",
        "\u{202e}",
        "when = []",
        "0x",
        "1e9",
        "true",
        "id = \"x\"\n",
        "\\",
        "\r",
        "é",
        "\u{0}",
    ]);
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (at.clone(), token).prop_map(|(at, token)| Edit::Insert(at, token.as_bytes().to_vec())),
        (at.clone(), 1_usize..400).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at, 1_usize..400).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ]
}

fn apply(text: &mut Vec<u8>, edit: &Edit) {
    let size = text.len().max(1);
    match edit {
        Edit::Byte(at, byte) => text
            .splice(at % size..(at % size + 1).min(text.len()), [*byte])
            .for_each(drop),
        Edit::Insert(at, bytes) => text
            .splice(at % size..at % size, bytes.iter().copied())
            .for_each(drop),
        Edit::Remove(at, length) => text
            .drain(at % size..(at % size + length).min(text.len()))
            .for_each(drop),
        Edit::Repeat(at, length) => {
            let part = text[at % size..(at % size + length).min(text.len())].to_vec();
            text.splice(at % size..at % size, part).for_each(drop);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_of_a_shipped_policy_makes_the_parser_panic(
        which in 0..library::SHIPPED.len(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let mut text = library::SHIPPED[which].1.as_bytes().to_vec();
        edits.iter().for_each(|edit| apply(&mut text, edit));
        presentable(&PolicySource::new("edited.toml", text))?;
    }

    #[test]
    fn no_bytes_at_all_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        presentable(&PolicySource::new("bytes", bytes))?;
    }
}

#[test]
fn the_caret_stands_under_the_place_and_the_hint_says_what_was_meant() {
    let text = "schema = \"mailmend/v1\"\nnmae = \"x\"\n";
    let faults = parse(&PolicySource::new("x.toml", text)).unwrap_err();
    let shown = faults.render(100, false);
    let block = &shown[shown.find("P012-unknown-key").unwrap()..];
    let lines: Vec<&str> = block.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("nmae = \"x\""))
        .unwrap();
    let caret = lines[at + 1];
    let column = |line: &str, what: &str| line[..line.find(what).unwrap()].chars().count();
    assert_eq!(column(lines[at], "nmae"), column(caret, "────"), "{shown}");
    assert!(shown.contains("did you mean `name`?"), "{shown}");
    assert!(shown.contains("x.toml:2:1"), "{shown}");
    assert!(faults.render(100, true).contains('\u{1b}'));
    let json = faults.to_json();
    let first = json
        .as_array()
        .unwrap()
        .iter()
        .find(|fault| fault["line"] == 2)
        .unwrap();
    assert_eq!(first["code"], "P012-unknown-key");
    assert_eq!(first["column"], 1);
    assert_eq!(first["length"], 4);
    assert_eq!(first["file"], "x.toml");
    assert_eq!(first["severity"], "error");
}
