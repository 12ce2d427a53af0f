//! The agents' side of a simulation: whoever plays the servers.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mailmend_proto::wire;
use prost::Message;

/// The simulated servers could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentsFault {
    /// The agent's program cannot be started.
    #[error(
        "C140-agent-program: could not start the agent's program `{}`: {why}; it plays the servers: put it beside \
         `mailmend`, or name it with `--agent-program`",
        program.display()
    )]
    Program {
        /// Which.
        program: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It ended, or answers what makes no sense.
    #[error("C141-agent-program-ended: the agent's program that plays the servers failed: {0}")]
    Ended(String),
}

/// Whoever plays the servers. Equal requests in equal order get equal answers.
pub trait Agents {
    /// Answers a request.
    ///
    /// # Errors
    /// Where it cannot.
    fn answer(
        &mut self,
        request: wire::SimulationRequest,
    ) -> Result<wire::SimulationAnswer, AgentsFault>;
}

/// The agent's program, playing servers over its standard input and output.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// The longest answer.
const LONGEST: usize = 64 << 20;

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(program: &Path) -> Result<Self, AgentsFault> {
        let fault = |why: String| AgentsFault::Program {
            program: program.to_owned(),
            why,
        };
        let mut child = Command::new(program)
            .arg("simulate")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| fault(why.to_string()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| fault("it has no output".to_owned()))?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn exchange(
        &mut self,
        request: &wire::SimulationRequest,
    ) -> std::io::Result<wire::SimulationAnswer> {
        let input = self
            .input
            .as_mut()
            .ok_or_else(|| std::io::Error::other("it has no input"))?;
        input.write_all(&request.encode_length_delimited_to_vec())?;
        input.flush()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.output.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return Err(std::io::Error::other("its answer has no length"));
            }
        }
        if length > LONGEST {
            return Err(std::io::Error::other(format!(
                "its answer has {length} bytes"
            )));
        }
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes)?;
        wire::SimulationAnswer::decode(bytes.as_slice()).map_err(std::io::Error::other)
    }
}

impl Agents for Program {
    fn answer(
        &mut self,
        request: wire::SimulationRequest,
    ) -> Result<wire::SimulationAnswer, AgentsFault> {
        self.exchange(&request).map_err(|why| {
            let ended = self.child.try_wait().ok().flatten();
            let ended = ended.map_or_else(String::new, |status| format!(" ({status})"));
            AgentsFault::Ended(format!("{why}{ended}"))
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.input.take());
        // Nothing is left to be told to.
        let _ = self.child.wait();
    }
}
