use std::time::Instant;

use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};

use super::*;
use crate::host::program::KEPT;

const LONG: Duration = Duration::from_secs(60);
const HERE: Programs = Programs {
    machine: Machine::Local,
};

fn shell(script: &str, limit: Duration) -> Result<ToolOutput, HostError> {
    let arguments = ["/d", "/c", script].map(String::from);
    HERE.run(Path::new(r"C:\windows\system32\cmd.exe"), &arguments, limit)
}

#[test]
fn output_and_exit_code_come_back_and_nothing_is_inherited() {
    let output = shell("echo out& echo [%MAILMEND_WINE_MOUNTED%]& exit 3", LONG).unwrap();
    assert_eq!(output.exit_code, Some(3));
    assert!(output.text.starts_with("out"), "{}", output.text);
    // An unset name is printed as it stands.
    assert!(
        output.text.contains("[%MAILMEND_WINE_MOUNTED%]"),
        "{}",
        output.text
    );
    assert!(output.text.len() < 1000 && KEPT > 1000);
}

/// How many processes run a program of that name.
fn running(name: &str) -> usize {
    // SAFETY: takes numbers.
    let all = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    assert_ne!(all, INVALID_HANDLE_VALUE);
    // SAFETY: the call has just given this handle to us and to nobody else.
    let all = unsafe { OwnedHandle::from_raw_handle(all) };
    let mut one = PROCESSENTRY32W {
        dwSize: length_of::<PROCESSENTRY32W>(),
        ..PROCESSENTRY32W::default()
    };
    let mut found = 0;
    // SAFETY: the handle is open, and the structure says how long it is.
    let mut more = unsafe { Process32FirstW(all.as_raw_handle(), &raw mut one) };
    while more != 0 {
        let end = one
            .szExeFile
            .iter()
            .position(|letter| *letter == 0)
            .unwrap_or(0);
        let program = String::from_utf16_lossy(&one.szExeFile[..end]);
        found += usize::from(program.eq_ignore_ascii_case(name));
        // SAFETY: as above.
        more = unsafe { Process32NextW(all.as_raw_handle(), &raw mut one) };
    }
    found
}

#[test]
fn a_program_that_does_not_end_is_ended_with_what_it_started() {
    let program = std::env::var_os("MAILMEND_SMALL_SERVICE").expect(
        "MAILMEND_SMALL_SERVICE names the program `small_service`: `mailmend-lab windows` sets it",
    );
    let folder = tempfile::tempdir().unwrap();
    let name = format!("endless-{:08x}.exe", fastrand::u32(..));
    let endless = folder.path().join(&name);
    std::fs::copy(program, &endless).unwrap();
    let began = Instant::now();
    let ended = std::thread::scope(|scope| {
        let ran = scope.spawn(|| {
            let arguments =
                ["/d", "/c", &endless.display().to_string(), "silent"].map(String::from);
            HERE.run(
                Path::new(r"C:\windows\system32\cmd.exe"),
                &arguments,
                Duration::from_secs(8),
            )
        });
        while running(&name) == 0 {
            assert!(began.elapsed() < LONG, "it was never started");
            std::thread::yield_now();
        }
        ran.join().unwrap().unwrap_err()
    });
    assert_eq!(
        (ended.kind, ended.effect),
        (HostErrorKind::TimedOut, Effect::Unknown)
    );
    while running(&name) > 0 {
        assert!(began.elapsed() < LONG, "what it started lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_cannot_be_started_changed_nothing_and_no_script_is_run() {
    let missing = HERE
        .run(Path::new(r"C:\nowhere\tool.exe"), &[], LONG)
        .unwrap_err();
    assert_eq!(
        (missing.kind, missing.effect),
        (HostErrorKind::NotFound, Effect::None)
    );
    for refused in [
        "cmd.exe",
        r"C:\tools\repair.cmd",
        r"C:\tools\repair.BAT",
        r"C:\tools\repair",
    ] {
        let error = HERE.run(Path::new(refused), &[], LONG).unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (HostErrorKind::Malformed, Effect::None)
        );
    }
}

#[test]
fn nothing_is_run_for_another_machine() {
    let there = Programs {
        machine: Machine::Remote("oslo-b".parse().unwrap()),
    };
    let error = there
        .run(Path::new(r"C:\windows\system32\cmd.exe"), &[], LONG)
        .unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (HostErrorKind::Denied, Effect::None)
    );
}
