//! Security descriptors of the agent's own files: read, judged and set.

#![expect(
    unsafe_code,
    reason = "the standard library knows read-only files and no more"
)]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, ConvertStringSidToSidW,
    GetNamedSecurityInfoW, SDDL_REVISION_1, SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    CheckTokenMembership, DACL_SECURITY_INFORMATION, GetTokenInformation, LookupAccountNameW,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    SetFileSecurityW, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use winreg::RegKey;
use winreg::enums::HKEY_LOCAL_MACHINE;

use super::path::wide;
use crate::host::access_list::{AccessList, Account, Right, TRUSTED_INSTALLER};

/// Below it each service has its account.
const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";
/// The longest number of an account, in bytes.
const LONGEST: usize = 256;

/// Who may change the guard file: administrators, the system, Windows' installer, and this account where it
/// is an administrator's. The account of a service that is none may read the file and not widen it.
pub(crate) fn guardians() -> io::Result<Vec<Account>> {
    let mut trusted = vec![
        Account::system(),
        Account::administrators(),
        Account::of(TRUSTED_INSTALLER),
    ];
    if is_administrator()? {
        trusted.push(own_account()?);
    }
    Ok(trusted)
}

/// Who may read the agent's key: administrators, the system, this account, and those that services run as
/// whose program this is.
pub(crate) fn key_holders() -> io::Result<Vec<Account>> {
    let mut trusted = vec![Account::system(), Account::administrators(), own_account()?];
    for account in service_accounts()? {
        if !trusted.contains(&account) {
            trusted.push(account);
        }
    }
    Ok(trusted)
}

/// Who has a right to a file or folder beside those.
pub(crate) fn others_who_may(
    path: &Path,
    right: Right,
    trusted: &[Account],
) -> io::Result<Vec<Account>> {
    let text = descriptor(path)?;
    let list = AccessList::parse(&text).map_err(|why| {
        io::Error::other(format!(
            "its security descriptor `{text}` is not understood: {why}"
        ))
    })?;
    Ok(list.others_who_may(right, trusted))
}

/// Gives a file, or a folder with all that will be made in it, to those who may read the key, and takes from
/// it what it would inherit.
pub(crate) fn keep_private(path: &Path, folder: bool) -> io::Result<()> {
    let below = if folder { "OICI" } else { "" };
    let entries: String = key_holders()?
        .iter()
        .map(|account| format!("(A;{below};FA;;;{})", account.number()))
        .collect();
    set(path, &format!("D:P{entries}"))
}

/// What Windows gave us to free.
struct Local(*mut core::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: Windows allocated it for us in this way, and it is used no more; null is allowed.
        unsafe { LocalFree(self.0) };
    }
}

fn checked(told: i32) -> io::Result<()> {
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn of_number(number: u32) -> io::Result<()> {
    match number {
        0 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(number.cast_signed())),
    }
}

/// The owner and the list of a file or folder, as text.
fn descriptor(path: &Path) -> io::Result<String> {
    let wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let name = wide(path);
    let mut found: PSECURITY_DESCRIPTOR = std::ptr::null_mut();
    // SAFETY: the name ends with a zero; only the whole descriptor is asked for, into a pointer of ours.
    of_number(unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            wanted,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut found,
        )
    })?;
    let found = Local(found);
    let mut text: *mut u16 = std::ptr::null_mut();
    // SAFETY: the descriptor is the one that Windows has just made; the text goes into a pointer of ours.
    checked(unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            found.0,
            SDDL_REVISION_1,
            wanted,
            &raw mut text,
            std::ptr::null_mut(),
        )
    })?;
    // SAFETY: the call has just made this text for us.
    Ok(unsafe { taken(text) })
}

/// A text that Windows allocated.
///
/// # Safety
/// It ends with a zero, and nobody else has it.
unsafe fn taken(text: *mut u16) -> String {
    let owned = Local(text.cast());
    let mut letters = Vec::new();
    let mut at: *const u16 = owned.0.cast();
    // SAFETY: as the caller says; nothing behind the zero is looked at.
    unsafe {
        while *at != 0 {
            letters.push(*at);
            at = at.add(1);
        }
    }
    String::from_utf16_lossy(&letters)
}

fn set(path: &Path, sddl: &str) -> io::Result<()> {
    let (name, text) = (wide(path), wide(sddl));
    let mut made: PSECURITY_DESCRIPTOR = std::ptr::null_mut();
    // SAFETY: the text ends with a zero; the descriptor goes into a pointer of ours.
    checked(unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text.as_ptr(),
            SDDL_REVISION_1,
            &raw mut made,
            std::ptr::null_mut(),
        )
    })?;
    let made = Local(made);
    // Not `SetNamedSecurityInfoW`: under Wine that puts in what the folder hands down, also where it shall not. What
    // is set here is a file, or a folder with nothing in it, so that nothing has to be handed on.
    // SAFETY: the name ends with a zero, and the descriptor is the one that Windows has just made; owner, group and
    // audit list are not set.
    checked(unsafe {
        SetFileSecurityW(
            name.as_ptr(),
            DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            made.0,
        )
    })
}

/// The account that this process runs as.
fn own_account() -> io::Result<Account> {
    let mut token = std::ptr::null_mut();
    // SAFETY: a process may always name itself; the token goes into a handle of ours.
    checked(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    // SAFETY: the call has just given this handle to us and to nobody else.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // Words, because what is told begins with a pointer.
    let mut room = [0_u64; LONGEST / 8];
    let mut used = 0;
    // SAFETY: the token is open for this, and the buffer is as long as is said.
    checked(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            room.as_mut_ptr().cast(),
            u32::try_from(size_of_val(&room)).unwrap_or(0),
            &raw mut used,
        )
    })?;
    // SAFETY: Windows has filled the buffer with this, and it is aligned for it.
    let user = unsafe { &*room.as_ptr().cast::<TOKEN_USER>() };
    // SAFETY: it points into the buffer, which is still there.
    unsafe { account(user.User.Sid) }
}

/// The account that a number of Windows' stands for.
///
/// # Safety
/// It is a number that Windows wrote, and still there.
unsafe fn account(sid: PSID) -> io::Result<Account> {
    let mut text: *mut u16 = std::ptr::null_mut();
    // SAFETY: the number is as the caller says; the text goes into a pointer of ours.
    checked(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    // SAFETY: the call has just made this text for us.
    Ok(Account::of(&unsafe { taken(text) }))
}

/// Whether this process has the rights of an administrator: one who has not been asked has not.
fn is_administrator() -> io::Result<bool> {
    let number = wide(Account::administrators().number());
    let mut sid: PSID = std::ptr::null_mut();
    // SAFETY: the text ends with a zero; the number goes into a pointer of ours.
    checked(unsafe { ConvertStringSidToSidW(number.as_ptr(), &raw mut sid) })?;
    let sid = Local(sid);
    let mut is_member = 0;
    // SAFETY: no token means the one of this thread; the number is the one that Windows has just made.
    checked(unsafe { CheckTokenMembership(std::ptr::null_mut(), sid.0, &raw mut is_member) })?;
    Ok(is_member != 0)
}

/// The accounts of the services whose program is this one.
fn service_accounts() -> io::Result<Vec<Account>> {
    let program = std::env::current_exe()?;
    let program = program.to_string_lossy().to_ascii_lowercase();
    let services = RegKey::predef(HKEY_LOCAL_MACHINE).open_subkey(SERVICES)?;
    let mut accounts = Vec::new();
    for name in services.enum_keys() {
        // One that goes meanwhile, or that this account may not look at, is none of ours.
        let Ok(service) = name.and_then(|name| services.open_subkey(name)) else {
            continue;
        };
        let text = |value| service.get_value::<String, _>(value).unwrap_or_default();
        if !runs(&text("ImagePath"), &program) {
            continue;
        }
        let name = text("ObjectName");
        let is_system = name.is_empty() || name.eq_ignore_ascii_case("LocalSystem");
        if is_system {
            continue;
        }
        match looked_up(name.trim_start_matches(r".\")) {
            Ok(account) => accounts.push(account),
            Err(error) => {
                tracing::warn!("the account `{name}` of the agent's service is not known: {error}");
            }
        }
    }
    Ok(accounts)
}

/// Whether a command of a service starts that program.
fn runs(command: &str, program: &str) -> bool {
    let command = command.to_ascii_lowercase();
    let command = command.strip_prefix('"').unwrap_or(&command);
    command.strip_prefix(program).is_some_and(|rest| {
        rest.chars()
            .next()
            .is_none_or(|next| next == '"' || next == ' ')
    })
}

fn looked_up(name: &str) -> io::Result<Account> {
    let name = wide(name);
    let mut room = [0_u64; LONGEST / 8];
    let mut domain = vec![0_u16; LONGEST];
    let mut length = u32::try_from(size_of_val(&room)).unwrap_or(0);
    let mut letters = u32::try_from(domain.len()).unwrap_or(0);
    let mut kind = 0;
    // SAFETY: the name ends with a zero, no system means this machine, and both buffers are as long as is said.
    let told = unsafe {
        LookupAccountNameW(
            std::ptr::null(),
            name.as_ptr(),
            room.as_mut_ptr().cast(),
            &raw mut length,
            domain.as_mut_ptr(),
            &raw mut letters,
            &raw mut kind,
        )
    };
    checked(told)?;
    // SAFETY: the call has written the number into the buffer.
    unsafe { account(room.as_mut_ptr().cast()) }
}

#[cfg(test)]
mod tests;
