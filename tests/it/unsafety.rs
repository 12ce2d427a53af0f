//! Where unsafe code may stand, and that each piece of it says why it is sound.

mod source;

use std::path::{Path, PathBuf};

use self::source::Source;

/// Folders and files that may have it, from the top, and why. In the product only Windows is one of them.
const MAY: [(&str, &str); 3] = [
    ("agent/src/host/windows.rs", "the calls of Windows"),
    ("agent/src/host/windows/", "the calls of Windows"),
    (
        "tests/src/power_cut/shutdown.rs",
        "the lab cuts the power of a file system of its own with an ioctl",
    ),
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All sources of the workspace, and of what stands beside it.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["policies", "proto", "agent", "controller", "tests"]
        .iter()
        .map(|name| top().join(name))
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn unsafe_code_stands_only_where_windows_is_called_and_says_why_it_is_sound() {
    let mut faults = Vec::new();
    let (mut files, mut pieces) = (0, 0);
    for path in sources() {
        files += 1;
        let name = path.strip_prefix(top()).unwrap().to_str().unwrap();
        let name = name.replace('\\', "/");
        let source = Source::of(&std::fs::read_to_string(&path).unwrap());
        let may = MAY
            .iter()
            .any(|(place, _)| name == *place || place.ends_with('/') && name.starts_with(place));
        if may {
            pieces += source.unsafe_pieces().len();
            let without = source.without_reason();
            faults.extend(without.iter().map(|line| {
                format!("{name}:{line}: unsafe code without `// SAFETY:` right above it")
            }));
        } else {
            let lines = source.unsafe_words();
            faults.extend(lines.iter().map(|line| {
                format!("{name}:{line}: unsafe code, or a lint about it, outside of {MAY:?}")
            }));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // What finds nothing looks at nothing.
    assert!(files > 300 && pieces > 50, "{files} files, {pieces} pieces");
}

#[test]
fn unsafe_code_is_refused_by_the_compiler_in_every_crate() {
    for name in ["policies", "proto", "agent", "controller", "tests"] {
        let text = std::fs::read_to_string(top().join(name).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{name}"
        );
    }
    let text = std::fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&text).unwrap();
    let lint = &manifest["workspace"]["lints"]["rust"]["unsafe_code"];
    assert_eq!(lint.as_str(), Some("deny"));
}

#[test]
fn unsafe_code_is_found_in_whatever_form_and_only_where_it_is_code() {
    for code in [
        "fn f() { unsafe { g() } }",
        "unsafe impl Send for X {}",
        "unsafe fn f() {}",
        "#[allow(unsafe_code)] fn f() {}",
        "#![expect(\n    unsafe_code,\n    reason = \"x\"\n)]",
        "let a = '\"'; unsafe { g() }",
        "let a = b'\\''; unsafe { g() }",
        "fn f<'a>(x: &'a str) { unsafe { g(x) } }",
        "let s = r#\"\"#; unsafe { g() }",
        "/* /* */ */ unsafe { g() }",
        "let s = \"\\\\\"; unsafe { g() }",
    ] {
        assert!(!Source::of(code).unsafe_words().is_empty(), "{code}");
    }
    for text in [
        "// unsafe { g() }",
        "/* unsafe /* unsafe */ unsafe */",
        "let s = \"unsafe { g() }\";",
        "let s = \"\\\"unsafe\";",
        "let s = r##\"\"# unsafe\"##;",
        "let s = br\"unsafe\";",
        "let unsafer = is_unsafe;",
        "#![forbid(unsafe_code)]",
        "#[deny(unsafe_code)]",
    ] {
        assert!(Source::of(text).unsafe_words().is_empty(), "{text}");
    }
}

#[test]
fn a_reason_counts_only_right_above_the_statement() {
    for good in [
        "// SAFETY: it is so.\nlet a = unsafe { g() };",
        "// SAFETY: it is so,\n// and for long.\nlet a =\n    unsafe { g() };",
        "#[expect(\n    unsafe_code,\n    reason = \"(x)\"\n)]\n// SAFETY: it is so.\nunsafe { g() }",
        "// SAFETY: it is so.\n#[expect(unsafe_code, reason = \"x\")]\nunsafe impl Send for X {}",
        "S {\n    // SAFETY: it is so.\n    a: unsafe { g() },\n}",
        "// SAFETY: it is so.\nif unsafe { g() } {}",
        "/// # Safety\n/// It has to be so.\nunsafe fn f() {}",
        "// SAFETY: both are so.\nlet a = unsafe {\n    g();\n    h()\n};",
    ] {
        let source = Source::of(good);
        assert_eq!(source.unsafe_pieces().len(), 1, "{good}");
        assert!(source.without_reason().is_empty(), "{good}");
    }
    for bad in [
        "let a = unsafe { g() };",
        "/// # Safety\n/// It has to be so.\nlet a = unsafe { g() };",
        "/// It is so.\nunsafe fn f() {}",
        "// It is safe.\nlet a = unsafe { g() };",
        "// SAFETY: it is so.\nlet b = 1;\nlet a = unsafe { g() };",
        "let a = unsafe { g() }; // SAFETY: it is so.",
        "// SAFETY: it is so.\nlet a = unsafe { g() };\nlet b = unsafe { g() };",
        "// SAFETY: of the fields.\nS {\n    a: unsafe { g() },\n}",
        "let s = \"// SAFETY: no\";\nunsafe { g() }",
    ] {
        assert_eq!(Source::of(bad).without_reason().len(), 1, "{bad}");
    }
}
