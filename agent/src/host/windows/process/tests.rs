use super::*;
use crate::host::Effect;
use std::process::{Child, Command, Stdio};

/// A program that goes on until it is ended.
fn program() -> Child {
    Command::new(r"C:\windows\system32\cmd.exe")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn only_exactly_that_process_is_ended() {
    let mut child = program();
    let process = identity(child.id()).unwrap().unwrap();
    assert!(
        process.image.to_ascii_lowercase().ends_with(r"\cmd.exe"),
        "{}",
        process.image
    );
    assert!(alive(&process).unwrap());

    let earlier = ProcessIdentity {
        started: process.started - 1,
        ..process.clone()
    };
    assert!(!alive(&earlier).unwrap());
    assert_eq!(end(&earlier).unwrap_err().kind, HostErrorKind::NotFound);
    let other = ProcessIdentity {
        image: r"C:\other.exe".into(),
        ..process.clone()
    };
    let error = end(&other).unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Denied, Effect::None)
    );
    assert!(alive(&process).unwrap(), "neither of the two ended it");

    let louder = ProcessIdentity {
        image: process.image.to_ascii_uppercase(),
        ..process.clone()
    };
    end(&louder).unwrap();
    child.wait().unwrap();
    // Its handle is still held by us, so its number is still taken.
    assert!(!alive(&process).unwrap());
    assert_eq!(identity(child.id()).unwrap(), None);
    assert_eq!(end(&process).unwrap_err().kind, HostErrorKind::NotFound);
}

#[test]
fn a_number_that_no_process_has_is_nobody() {
    let child = program();
    let process = identity(child.id()).unwrap().unwrap();
    let nobody = ProcessIdentity {
        pid: 0x7FFF_FFF0,
        ..process.clone()
    };
    assert!(!alive(&nobody).unwrap());
    assert_eq!(end(&nobody).unwrap_err().kind, HostErrorKind::NotFound);
    assert_eq!(identity(nobody.pid).unwrap(), None);
    end(&process).unwrap();
}
