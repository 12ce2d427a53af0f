use super::*;
use crate::host::Effect;

/// A key of this test alone, removed at its end.
struct Key(String);

impl Key {
    fn new() -> Self {
        let path = format!(r"SOFTWARE\mailmend-test\{}", uuid::Uuid::new_v4());
        RegKey::predef(HKEY_LOCAL_MACHINE)
            .create_subkey(&path)
            .unwrap();
        Self(path)
    }

    fn raw(&self, name: &str, vtype: RegType, bytes: &[u8]) {
        let key = RegKey::predef(HKEY_LOCAL_MACHINE).open_subkey_with_flags(&self.0, KEY_SET_VALUE);
        key.unwrap()
            .set_raw_value(
                name,
                &RegValue {
                    bytes: Cow::Borrowed(bytes),
                    vtype,
                },
            )
            .unwrap();
    }

    fn text(&self, name: &str, vtype: RegType, text: &str) {
        let letters = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        self.raw(name, vtype, &letters.collect::<Vec<u8>>());
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = RegKey::predef(HKEY_LOCAL_MACHINE).delete_subkey(&self.0);
    }
}

fn here() -> MachineRegistry {
    MachineRegistry::of(Machine::Local)
}

#[test]
fn values_come_back_with_their_type_and_absent_ones_are_none() {
    let key = Key::new();
    key.text("RootDir", REG_SZ, r"C:\exchsrvr\imcdata");
    key.text("Expanded", REG_EXPAND_SZ, r"%SystemRoot%\x");
    key.raw("RouteCalculationInterval", REG_DWORD, &15_u32.to_le_bytes());
    key.text("RelayAllowList", REG_MULTI_SZ, "a\0b c\0");
    key.raw("Bytes", winreg::enums::REG_BINARY, &[1, 2, 3]);
    let read = |value: &str| here().read(&key.0.to_uppercase(), value);
    let text = |text: &str| Ok(Some(RegistryValue::Text(text.into())));
    assert_eq!(read("ROOTDIR"), text(r"C:\exchsrvr\imcdata"));
    assert_eq!(read("Expanded"), text(r"%SystemRoot%\x"));
    assert_eq!(
        read("routecalculationinterval"),
        Ok(Some(RegistryValue::Number(15)))
    );
    let list = vec!["a".to_owned(), "b c".to_owned()];
    assert_eq!(read("RelayAllowList"), Ok(Some(RegistryValue::Texts(list))));
    assert_eq!(read("TurfDir"), Ok(None));
    assert_eq!(here().read(r"SYSTEM\No\Such\Key", "RootDir"), Ok(None));
    let error = read("Bytes").unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Malformed);
    assert!(error.to_string().contains(r"HKLM\"), "{error}");
}

#[test]
fn a_change_is_taken_back_to_the_very_bytes_and_type() {
    let key = Key::new();
    key.text("Path", REG_EXPAND_SZ, r"%SystemRoot%\x");
    key.raw("Number", REG_DWORD, &15_u32.to_le_bytes());
    key.text("List", REG_MULTI_SZ, "a\0b\0");
    for (name, new) in [
        ("Path", RegistryValue::Text(r"C:\y".into())),
        ("Number", RegistryValue::Number(60)),
        ("List", RegistryValue::Texts(vec!["c".into()])),
    ] {
        let before = here().raw(&key.0, name).unwrap();
        let undo = here().change(&key.0, name, &new).unwrap();
        assert_eq!(here().read(&key.0, name).unwrap().as_ref(), Some(&new));
        here().undo(&undo).unwrap();
        assert_eq!(here().raw(&key.0, name).unwrap(), before, "{name}");
        here().undo(&undo).unwrap();
    }
}

#[test]
fn a_value_is_never_made_and_never_changes_its_type() {
    let key = Key::new();
    key.text("RootDir", REG_SZ, "x");
    let number = RegistryValue::Number(1);
    for (path, value) in [
        (&*key.0, "RootDri"),
        (r"SOFTWARE\mailmend-test\none", "RootDir"),
    ] {
        let error = here().change(path, value, &number).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::NotFound, Effect::None)
        );
        assert_eq!(here().read(path, value), Ok(None));
    }
    for new in [
        number,
        RegistryValue::Texts(vec![]),
        RegistryValue::Text("a\0b".into()),
    ] {
        let error = here().change(&key.0, "RootDir", &new).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Malformed, Effect::None)
        );
    }
    assert_eq!(
        here().read(&key.0, "RootDir"),
        Ok(Some(RegistryValue::Text("x".into())))
    );
    assert!(
        !here().has_key(r"SOFTWARE\mailmend-test\none").unwrap(),
        "no key was made either"
    );
}

#[test]
fn what_somebody_set_since_is_not_taken_back() {
    let key = Key::new();
    key.text("RootDir", REG_SZ, "before");
    let undo = here()
        .change(&key.0, "RootDir", &RegistryValue::Text("ours".into()))
        .unwrap();
    key.text("RootDir", REG_SZ, "theirs");
    assert_eq!(here().undo(&undo).unwrap_err().kind, HostErrorKind::Exists);
    assert_eq!(
        here().read(&key.0, "RootDir"),
        Ok(Some(RegistryValue::Text("theirs".into())))
    );
}

#[test]
fn an_unreachable_machine_is_an_error_and_not_an_absent_value() {
    let nowhere = Machine::Remote("mailmend-no-such-machine".parse().unwrap());
    let error = MachineRegistry::of(nowhere)
        .read(r"SYSTEM\Select", "Current")
        .unwrap_err();
    assert_eq!(error.effect, Effect::None);
    assert!(
        error.to_string().contains(r"\\mailmend-no-such-machine"),
        "{error}"
    );
}
