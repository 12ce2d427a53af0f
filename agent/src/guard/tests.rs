use std::collections::BTreeMap;
use std::path::Path;

use super::*;

const GOOD: &str = r#"
policies = "unsigned"
roots = ["/srv/exchsrvr", "/data/mail/"]
services = ["MSExchangeIMC", "MSExchangeMTA"]

[tools.recalculate]
program = "/opt/mailmend/tool"
arguments = ["recalculate", "--server-dir", "/srv/exchsrvr"]
verdicts = { clean = "no errors detected", corrected = "errors were corrected" }

[tools.submit]
program = "/opt/mailmend/tool"
arguments = ["submit"]
[tools.submit.flags]
to = { flag = "--to", pattern = "address" }
times = { flag = "--times", pattern = "number" }

[limits]
restarts_per_hour = 3

[watchdog]
services = ["msexchangeimc"]

[hold]
folder = "/srv/exchsrvr/held"
"#;

fn guard() -> Guard {
    Guard::parse("guard.toml", GOOD).unwrap()
}

fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The text of the only fault of a guard file.
fn fault(text: &str) -> String {
    let faults = Guard::parse("guard.toml", text).unwrap_err();
    assert_eq!(faults.list.len(), 1, "{faults}");
    let fault = &faults.list[0];
    format!("{}:{} {}", fault.line, fault.column, fault.message)
}

#[test]
fn a_good_file_says_what_it_says_and_the_rest_is_default() {
    let guard = guard();
    assert_eq!(guard.limits().restarts_per_hour, 3);
    assert_eq!(
        guard.limits().files_per_action,
        Limits::default().files_per_action
    );
    assert_eq!(guard.hold_folder(), Some(Path::new("/srv/exchsrvr/held")));
    // The watchdog's service is known by the name that `services` gives it.
    let watched: Vec<&str> = guard
        .watchdog()
        .services
        .iter()
        .map(ServiceName::as_str)
        .collect();
    assert_eq!(watched, ["MSExchangeIMC"]);
}

#[test]
fn services_are_allowed_by_name_without_case_and_no_other() {
    let guard = guard();
    for yes in ["MSExchangeIMC", "msexchangeimc"] {
        guard.allows_service(&yes.parse().unwrap()).unwrap();
    }
    let refusal = guard
        .allows_service(&"MSExchangeIS".parse().unwrap())
        .unwrap_err();
    assert_eq!(refusal.code, "A030-guard-service");
}

#[test]
fn paths_are_allowed_below_a_root_only() {
    let guard = guard();
    for yes in [
        "/srv/exchsrvr/imcdata/Out/AAAAAAAA",
        "/data/mail/x",
        "/srv/exchsrvr/./x",
    ] {
        guard.allows_path(Path::new(yes)).unwrap();
    }
    for no in [
        "/srv/exchsrvr",
        "/srv/exchsrvr/../etc/passwd",
        "/srv/exchsrvr2/x",
        "/srv",
        "srv/exchsrvr/x",
        "/etc/passwd",
        "",
        "/srv/EXCHSRVR/x",
    ] {
        let refusal = guard.allows_path(Path::new(no)).unwrap_err();
        assert_eq!(refusal.code, "A031-guard-path", "{no}");
    }
}

#[test]
fn tools_take_declared_flags_with_fitting_values_only() {
    let guard = guard();
    let submit = guard.allows_tool(&"submit".parse().unwrap()).unwrap();
    assert_eq!(
        submit
            .arguments_for(&with(&[("to", "probe@example.com"), ("times", "2")]))
            .unwrap(),
        ["submit", "--times", "2", "--to", "probe@example.com"]
    );
    for bad in [
        ("to", "--config=/etc/passwd"),
        ("to", "-@example.com"),
        ("to", "a@b@c"),
        ("to", "a@-b"),
        ("to", "a b@example.com"),
        ("to", "a@example.com\n--x"),
        ("to", "@example.com"),
        ("to", ""),
        ("times", "-1"),
        ("times", "1e3"),
        ("times", "99999999999999999999"),
        ("from", "a@example.com"),
        ("--to", "a@example.com"),
    ] {
        let refusal = submit.arguments_for(&with(&[bad])).unwrap_err();
        assert_eq!(refusal.code, "A033-guard-flag", "{bad:?}");
    }
    let long = format!("{}@example.com", "a".repeat(300));
    assert!(submit.arguments_for(&with(&[("to", &long)])).is_err());
    let unknown = guard.allows_tool(&"format".parse().unwrap()).unwrap_err();
    assert_eq!(unknown.code, "A032-guard-tool");
}

#[test]
fn every_pattern_refuses_what_begins_like_a_flag() {
    for (name, pattern) in Pattern::ALL {
        assert_eq!(pattern.name(), name);
        assert!(!pattern.fits("-x"), "{name}");
        assert!(!pattern.fits(""), "{name}");
    }
    assert!(Pattern::Path.fits("/srv/exchsrvr/x"));
    assert!(!Pattern::Path.fits("/srv/../etc"));
    assert!(!Pattern::Path.fits("srv/x"));
    assert!(!Pattern::Path.fits("/srv/x\ny"));
    assert!(Pattern::Word.fits("SRV_A.1-b"));
    assert!(!Pattern::Word.fits("a/b") && !Pattern::Word.fits("ä"));
}

#[test]
fn a_verdict_counts_where_it_is_the_only_one() {
    let guard = guard();
    let tool = guard.tool(&"recalculate".parse().unwrap()).unwrap();
    assert_eq!(
        tool.verdict("Database clean, no errors detected.\n"),
        Ok("clean")
    );
    assert_eq!(tool.verdict("out of memory"), Err(NoVerdict::Unknown));
    assert_eq!(
        tool.verdict("no errors detected; errors were corrected"),
        Err(NoVerdict::Several(vec!["clean".into(), "corrected".into()]))
    );
}

#[test]
fn whose_policies_are_taken_is_said_and_nothing_else_is_assumed() {
    assert_eq!(*guard().policies(), Policies::Unsigned);
    let signed = GOOD.replace(
        "policies = \"unsigned\"",
        "policies = \"signed\"\ntrust_root = \"/etc/mailmend/root.toml\"",
    );
    let guard = Guard::parse("guard.toml", &signed).unwrap();
    let root = PathBuf::from("/etc/mailmend/root.toml");
    assert_eq!(*guard.policies(), Policies::Signed { root });
}

#[test]
fn each_dangerous_file_is_refused_at_its_place() {
    let base = "services = [\"S\"]\nroots = [\"/srv/x\"]\npolicies = \"unsigned\"\n";
    let root =
        |path: &str| format!("services = [\"S\"]\nroots = ['{path}']\npolicies = \"unsigned\"\n");
    let cases: Vec<(String, &str)> = vec![
        (root("/"), "2:10 the root `/` is a whole volume"),
        (root("//"), "2:10 the root `//` is a whole volume"),
        (root("/../"), "2:10 the root `/../` is a whole volume"),
        (root(r"C:\"), r"2:10 the root `C:\` is a whole volume"),
        (root("C:"), "2:10 the root `C:` is a whole volume"),
        (
            root(r"\\host\share"),
            r"2:10 the root `\\host\share` is a whole volume",
        ),
        (root("/etc"), "2:10 the root `/etc` belongs to the system"),
        (
            root("/proc/1"),
            "2:10 the root `/proc/1` belongs to the system",
        ),
        (root("/var"), "2:10 the root `/var` belongs to the system"),
        (
            root("srv/x"),
            "2:10 `roots` is `srv/x`, which is not an absolute path",
        ),
        (
            root(""),
            "2:10 `roots` is ``, which is not an absolute path",
        ),
        (
            root("/srv/../etc"),
            "2:10 `roots` is `/srv/../etc`, which has `.` or `..` in it",
        ),
        (
            "services = [\"S\"]\nroots = []\npolicies = \"unsigned\"\n".into(),
            "2:9 `roots` is empty",
        ),
        (
            "services = [\"S\"]\npolicies = \"unsigned\"\n".into(),
            "1:1 the guard file needs the key `roots`",
        ),
        (
            "roots = [\"/srv/x\"]\npolicies = \"unsigned\"\n".into(),
            "1:1 the guard file needs the key `services`",
        ),
        (
            "services = [\"S\"]\nroots = [\"/srv/x\"]\n".into(),
            "1:1 the guard file needs the key `policies`",
        ),
        (
            "services = [\"S\"]\nroots = [\"/srv/x\"]\npolicies = \"any\"\n".into(),
            "3:12 `policies` cannot be `any`",
        ),
        (
            "services = [\"S\"]\nroots = [\"/srv/x\"]\npolicies = \"signed\"\n".into(),
            "3:12 `policies` is `signed`, and `trust_root` is missing",
        ),
        (
            format!("{base}trust_root = \"/etc/mailmend/root.toml\"\n"),
            "4:14 `trust_root` is given, and `policies` is `unsigned`",
        ),
        (
            format!("{base}shell = \"/bin/sh\"\n"),
            "4:1 the guard file has no key `shell`",
        ),
        (
            format!("{base}[tools.t]\nprogram = \"tool\"\n"),
            "5:11 `program` is `tool`, which is not an absolute path",
        ),
        (
            format!("{base}[tools.t]\n"),
            "4:1 `[tools.t]` needs the key `program`",
        ),
        (
            format!("{base}[tools.t]\nprogram = \"/x\"\nshell = true\n"),
            "6:1 `[tools.t]` has no key `shell`",
        ),
        (
            format!(
                "{base}[tools.t]\nprogram = \"/x\"\nflags.a = {{ flag = \"--a\", pattern = \"regex\" }}\n"
            ),
            "6:37 `pattern` cannot be `regex`",
        ),
        (
            format!(
                "{base}[tools.t]\nprogram = \"/x\"\nflags.a = {{ flag = \"a\", pattern = \"word\" }}\n"
            ),
            "6:20 `flag` is `a`",
        ),
        (
            format!("{base}[tools.t]\nprogram = \"/x\"\nfresh_place = \"place\"\n"),
            "6:15 `fresh_place` is `place`",
        ),
        (
            format!(
                "{base}[tools.t]\nprogram = \"/x\"\nfresh_place = \"--a\"\nflags.a = {{ flag = \"--a\", pattern = \"word\" }}\n"
            ),
            "6:15 `fresh_place` is a flag that policies may set",
        ),
        (
            format!("{base}[tools.t]\nprogram = \"/x\"\nonly_reads = \"yes\"\n"),
            "6:14 `only_reads` is a text",
        ),
        (
            format!("{base}[tools.t]\nprogram = \"/x\"\nverdicts = {{ a = \"\" }}\n"),
            "6:18 the text of the verdict `a` is empty",
        ),
        (
            format!(
                "{base}[tools.t]\nprogram = \"/x\"\nverdicts = {{ a = \"errors\", b = \"no errors\" }}\n"
            ),
            "6:32 the text of the verdict `b` is part of another's",
        ),
        (
            format!("{base}[limits]\nrestarts_per_hour = 0\n"),
            "5:21 `restarts_per_hour` is 0",
        ),
        (
            format!("{base}[limits]\nfiles_per_action = -1\n"),
            "5:20 `files_per_action` is -1",
        ),
        (
            format!("{base}[limits]\nfiles_per_action = \"many\"\n"),
            "5:20 `files_per_action` is a text",
        ),
        (
            format!("{base}[watchdog]\nservices = [\"T\"]\n"),
            "5:13 the watchdog's `T` is not in `services`",
        ),
        (
            format!("{base}[hold]\nfolder = \"/var/held\"\n"),
            "5:10 `/var/held` is below none of the roots",
        ),
        (
            "services = [\"S\", \"s\"]\nroots = [\"/srv/x\"]\npolicies = \"unsigned\"\n".into(),
            "1:18 `s` is in `services` twice",
        ),
        (
            "services = \"S\"\nroots = [\"/srv/x\"]\npolicies = \"unsigned\"\n".into(),
            "1:12 `services` is a text",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(&text), expected, "{text}");
    }
}

#[test]
fn all_faults_are_told_at_once_with_carets_and_as_json() {
    let text =
        "roots = [\"/\", \"a\"]\nservices = [\"\u{441}ервис\"]\nx = 1\npolicies = \"unsigned\"\n";
    let faults = Guard::parse("guard.toml", text).unwrap_err();
    let places: Vec<(usize, usize)> = faults.list.iter().map(|f| (f.line, f.column)).collect();
    assert_eq!(places, [(1, 10), (1, 15), (2, 13), (3, 1)]);
    let shown = faults.render(100, false);
    assert!(
        shown.contains("A003-guard-faulty") && shown.contains("guard.toml:3:1"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'));
    assert_eq!(faults.to_json()[3]["line"], 3);
}

#[test]
fn noise_depth_and_size_are_refused_without_a_panic() {
    for text in [
        "[".repeat(100_000),
        "a = ".to_owned() + &"[".repeat(5000),
        "x".repeat(300_000),
        "= = =\n\u{0}\u{7f}".to_owned(),
        "roots = [\"/srv/x\"\n".to_owned(),
        "\u{feff}roots = 1".to_owned(),
        String::new(),
    ] {
        assert!(Guard::parse("guard.toml", &text).is_err());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = Guard::parse("guard.toml", &text);
    }

    #[test]
    fn no_allowed_path_leads_out_of_its_root(parts in proptest::collection::vec("[a-z.]{1,3}", 0..6)) {
        let path = Path::new("/srv/exchsrvr").join(parts.join("/"));
        if guard().allows_path(&path).is_ok() {
            let mut depth = 0_i32;
            for part in &parts {
                depth += match part.as_str() { ".." => -1, "." => 0, _ => 1 };
                proptest::prop_assert!(depth >= 0);
            }
            proptest::prop_assert!(depth > 0);
        }
    }
}

#[cfg(unix)]
mod on_this_machine {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        root: PathBuf,
        tool: PathBuf,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let root = real.join("exchsrvr");
        fs::create_dir(&root).unwrap();
        let tool = real.join("tool");
        fs::write(&tool, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        Place { folder, root, tool }
    }

    impl Place {
        fn text(&self) -> String {
            let (root, tool) = (self.root.display(), self.tool.display());
            format!(
                "services = [\"S\"]\nroots = [\"{root}\"]\npolicies = \"unsigned\"\n[tools.t]\nprogram = \"{tool}\"\n"
            )
        }
        fn read(&self, text: &str, mode: u32) -> Result<Guard, GuardError> {
            let file = self.folder.path().join("guard.toml");
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Guard::read(&file)
        }
    }

    #[test]
    fn a_file_that_others_could_change_is_refused() {
        let place = place();
        let text = place.text();
        assert!(place.read(&text, 0o644).is_ok());
        for mode in [0o664, 0o646, 0o666] {
            let error = place.read(&text, mode).unwrap_err();
            assert!(
                error.to_string().starts_with("A005-guard-unsafe"),
                "{error}"
            );
        }
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = place.read(&text, 0o644).unwrap_err();
        assert!(error.to_string().contains("the folder"), "{error}");
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(place.read(&text, 0o644).is_ok());
    }

    #[test]
    fn roots_and_tools_that_are_not_what_they_should_be_are_faults() {
        let place = place();
        let text = place.text();
        let told = |error: GuardError| match error {
            GuardError::Faulty(faults) => faults.to_string(),
            other => panic!("{other}"),
        };
        let link = place.folder.path().join("link");
        symlink(&place.root, &link).unwrap();
        let linked = text.replace(place.root.to_str().unwrap(), link.to_str().unwrap());
        assert!(told(place.read(&linked, 0o644).unwrap_err()).contains("through a link"));
        fs::set_permissions(&place.tool, fs::Permissions::from_mode(0o644)).unwrap();
        let plain = told(place.read(&text, 0o644).unwrap_err());
        assert!(
            plain.contains(":5:11: ") && plain.contains("not executable"),
            "{plain}"
        );
        fs::set_permissions(&place.tool, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(told(place.read(&text, 0o644).unwrap_err()).contains("changed by everybody"));
        fs::remove_file(&place.tool).unwrap();
        fs::remove_dir(&place.root).unwrap();
        let both = told(place.read(&text, 0o644).unwrap_err());
        assert_eq!(both.lines().count(), 2, "{both}");
    }

    #[test]
    fn a_missing_file_or_a_folder_says_what_to_do() {
        let place = place();
        for path in [
            place.folder.path().join("none"),
            place.folder.path().to_path_buf(),
        ] {
            let error = Guard::read(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("A004-guard-unreadable") && error.contains("configuration"),
                "{error}"
            );
        }
        let error = place.read("\u{feff}", 0o644).unwrap_err();
        assert!(matches!(error, GuardError::Faulty(_)), "{error}");
    }
}
