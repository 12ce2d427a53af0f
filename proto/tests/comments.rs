//! The contract says of every message, field, value and call what it means.

use std::path::Path;

/// Whether a line declares something that a reader must be told about.
fn declares(code: &str) -> bool {
    let opens = ["message ", "enum ", "service ", "rpc "]
        .iter()
        .any(|word| code.starts_with(word));
    opens || (code.contains(" = ") && code.ends_with(';') && !code.starts_with("syntax"))
}

fn undocumented(file: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let (code, comment) = line.split_once("//").unwrap_or((line, ""));
        let above = at > 0 && lines[at - 1].trim_start().starts_with("//");
        // The kinds of event in a record are named after their messages, which say what they are.
        let named_by_its_message = file == "common.proto" && line.starts_with("    ");
        if declares(code.trim()) && comment.trim().is_empty() && !above && !named_by_its_message {
            found.push(format!("{file}:{}: {}", at + 1, code.trim()));
        }
    }
    found
}

#[test]
fn every_part_of_the_contract_says_what_it_means() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mailmend/v1");
    let mut missing = Vec::new();
    let mut files = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        missing.extend(undocumented(
            &name,
            &std::fs::read_to_string(&path).unwrap(),
        ));
        files += 1;
    }
    assert_eq!(files, 5);
    assert!(
        missing.is_empty(),
        "say what these mean:\n{}",
        missing.join("\n")
    );
}

#[test]
fn a_field_without_a_comment_is_found() {
    let text = "// A thing.\nmessage A {\n  string b = 1;\n  string c = 2;  // what\n}\n";
    assert_eq!(undocumented("x.proto", text), ["x.proto:3: string b = 1;"]);
}
