//! Requests on standard input, answers on standard output, each with its length in front.

use std::io::{self, BufRead, BufReader, Read, Write};

use mailmend_proto::wire;
use prost::Message;

use super::Servers;

/// The longest request: a whole fleet with what is to go wrong on it.
const LONGEST: u64 = 64 << 20;

/// Answers until the input ends.
///
/// # Errors
/// Where input or output fail, or what comes is no request.
pub fn serve(input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut servers = Servers::new();
    while let Some(bytes) = frame(&mut input)? {
        let request =
            wire::SimulationRequest::decode(bytes.as_slice()).map_err(io::Error::other)?;
        let answer = servers.answer(request);
        output.write_all(&answer.encode_length_delimited_to_vec())?;
        output.flush()?;
    }
    Ok(())
}

/// The next message's bytes; nothing where the input has ended between two messages.
fn frame(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    if input.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let (mut length, mut shift) = (0_u64, 0);
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        length |= u64::from(byte[0] & 0x7F) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 56 {
            return Err(io::Error::other(
                "the length in front of a request is no number",
            ));
        }
    }
    if length > LONGEST {
        let why = format!("a request of {length} bytes; at most {LONGEST} are taken");
        return Err(io::Error::other(why));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    input.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
