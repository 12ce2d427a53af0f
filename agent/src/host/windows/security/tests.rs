use super::*;
use crate::guard::Guard;
use crate::identity;

/// A file of the test, with that list.
fn file(list: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.key");
    std::fs::write(&file, "x").unwrap();
    set(&file, list).unwrap();
    (folder, file)
}

#[test]
fn a_private_file_is_for_those_who_may_hold_the_key_alone() {
    let (_folder, file) = file("D:(A;;FA;;;WD)");
    let holders = key_holders().unwrap();
    let others = others_who_may(&file, Right::Read, &holders).unwrap();
    assert!(others.contains(&Account::of("WD")), "{others:?}");
    keep_private(&file, false).unwrap();
    let others = others_who_may(&file, Right::Read, &holders).unwrap();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

#[test]
fn what_everybody_may_read_is_not_what_everybody_may_change() {
    let (folder, file) = file("D:(A;;FR;;;WD)(A;;FA;;;SY)(A;;FA;;;BA)");
    let guardians = guardians().unwrap();
    let may = |right| others_who_may(&file, right, &guardians).unwrap();
    assert_eq!(may(Right::Read), [Account::of("WD")]);
    assert!(may(Right::Change).is_empty(), "{:?}", may(Right::Change));
    let above = others_who_may(folder.path(), Right::Replace, &guardians).unwrap();
    assert!(above.is_empty(), "{above:?}");
}

#[test]
fn the_own_account_has_a_number_and_this_one_is_an_administrator() {
    let own = own_account().unwrap();
    assert!(own.number().starts_with("S-1-"), "{own}");
    assert!(key_holders().unwrap().contains(&own));
    // Only such a one may install services, as other tests do.
    assert!(is_administrator().unwrap());
    assert!(guardians().unwrap().contains(&own));
}

#[test]
fn accounts_are_found_by_their_names_and_unknown_ones_are_not() {
    assert_eq!(looked_up("SYSTEM").unwrap(), Account::system());
    assert!(looked_up("mailmend-nobody-of-that-name").is_err());
}

#[test]
fn only_the_same_program_is_that_of_the_service() {
    let program = r"c:\program files\mailmend\mailmend-agent.exe";
    for (command, is) in [
        (
            r#""C:\Program Files\mailmend\mailmend-agent.exe" service run"#,
            true,
        ),
        (
            r"C:\Program Files\mailmend\mailmend-agent.exe service run",
            true,
        ),
        (r"C:\Program Files\mailmend\mailmend-agent.exe", true),
        (
            r"C:\Program Files\mailmend\mailmend-agent.exe.old run",
            false,
        ),
        (r"C:\other\mailmend-agent.exe service run", false),
        ("", false),
    ] {
        assert_eq!(runs(command, program), is, "{command}");
    }
}

#[test]
fn the_agent_gives_its_key_to_nobody_else_and_refuses_one_that_others_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    identity::make_data_folder(&data).unwrap();
    let holders = key_holders().unwrap();
    let made = identity::own_key(&data).unwrap().serialize_pem();
    let key = data.join(identity::KEY);
    for path in [&data, &key] {
        let others = others_who_may(path, Right::Read, &holders).unwrap();
        assert!(others.is_empty(), "{}: {others:?}", path.display());
    }
    set(&key, "D:P(A;;FR;;;WD)(A;;FA;;;SY)(A;;FA;;;BA)").unwrap();
    let error = identity::own_key(&data).unwrap_err().to_string();
    assert!(error.starts_with("A021-key-exposed"), "{error}");
    assert!(
        error.contains("Everyone (S-1-1-0)") && error.contains("icacls"),
        "{error}"
    );
    // What the message says mends it.
    keep_private(&key, false).unwrap();
    assert_eq!(identity::own_key(&data).unwrap().serialize_pem(), made);
}

#[test]
fn a_guard_file_that_others_may_change_or_replace_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let guard = place.join("guard.toml");
    std::fs::write(&guard, "roots = 1").unwrap();
    let told = || Guard::read(&guard).unwrap_err().to_string();
    const OPEN: &str = "D:P(A;;FA;;;WD)(A;;FA;;;SY)(A;;FA;;;BA)";
    const KEPT: &str = "D:P(A;;0x1200a9;;;WD)(A;;FA;;;SY)(A;;FA;;;BA)";
    set(&place, KEPT).unwrap();
    set(&guard, KEPT).unwrap();
    // It is taken, and has faults of its own.
    assert!(told().starts_with("A003"), "{}", told());
    set(&guard, OPEN).unwrap();
    let error = told();
    assert!(error.starts_with("A005-guard-unsafe"), "{error}");
    assert!(
        error.contains("guard.toml` can be changed by Everyone") && error.contains("icacls"),
        "{error}"
    );
    set(&guard, KEPT).unwrap();
    set(&place, OPEN).unwrap();
    let error = told();
    assert!(
        error.starts_with("A005-guard-unsafe") && error.contains("the folder"),
        "{error}"
    );
    set(&place, KEPT).unwrap();
    assert!(told().starts_with("A003"), "{}", told());
}
