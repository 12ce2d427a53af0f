//! Reading what a fingerprint is compared with: the whole file, and what follows the header of its text.
//!
//! The envelope and the header lines of a message change from server to server: `Received` is added, the MTS-ID and
//! the recipients are others. What follows the first empty line stays.

use std::io::{self, Read};

use mailmend_policy::digest::Digest;
use mailmend_proto::run::BodyPrint;

use super::Print;
use crate::evidence::spool_file::{self, SpoolHeader};

/// How much of a file is searched for the end of its header; those of real mail are far shorter.
const HEAD: usize = 256 << 10;

/// So much is read at once.
const PIECE: usize = 16 << 10;

/// Where the body begins in a spool file, from its first bytes: after the first empty line of its text.
#[must_use]
pub fn body_at(head: &[u8]) -> Option<usize> {
    let mut at = spool_file::text_at(head)?;
    loop {
        let line = head.get(at..)?;
        let end = line.iter().position(|byte| *byte == b'\n')?;
        at += end + 1;
        if matches!(&line[..end], b"" | b"\r") {
            return Some(at);
        }
    }
}

/// Reads a file of this size and prints it, with what its header tells; none where `worth` says of its size and the
/// length of its body that it need not be read whole.
///
/// # Errors
/// Where it cannot be read, or has another size by now.
pub fn print(
    file: &mut dyn Read,
    size: u64,
    worth: impl Fn(u64, Option<u64>) -> bool,
) -> io::Result<Option<(Print, SpoolHeader)>> {
    let mut head = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut over = false;
    let mut begins = None;
    while begins.is_none() && !over && head.len() < HEAD {
        let read = read_some(file, &mut piece)?;
        over = read == 0;
        head.extend_from_slice(&piece[..read]);
        begins = body_at(&head);
    }
    let bytes = begins.and_then(|at| size.checked_sub(at as u64));
    if !worth(size, bytes) {
        return Ok(None);
    }
    let mut whole = blake3::Hasher::new();
    let mut body = blake3::Hasher::new();
    whole.update(&head);
    if let Some(at) = begins {
        body.update(&head[at..]);
    }
    let mut read_bytes = head.len() as u64;
    while !over {
        let read = read_some(file, &mut piece)?;
        over = read == 0;
        whole.update(&piece[..read]);
        if begins.is_some() {
            body.update(&piece[..read]);
        }
        read_bytes += read as u64;
    }
    if read_bytes != size {
        return Err(io::Error::other(format!(
            "it changes while it is read: {size} bytes, then {read_bytes}"
        )));
    }
    let header = spool_file::parse(&head);
    let print = Print {
        hash: Digest::from_bytes(*whole.finalize().as_bytes()),
        size,
        body: bytes.filter(|bytes| *bytes > 0).map(|bytes| BodyPrint {
            hash: Digest::from_bytes(*body.finalize().as_bytes()),
            bytes,
        }),
        message_id: header.message_id.clone(),
    };
    Ok(Some((print, header)))
}

fn read_some(file: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
