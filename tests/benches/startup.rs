//! How long controller and agent take from their start to being of use: the controller until it
//! listens, the agent until the controller has taken its session. Real processes.
//!
//! Beside them, in the same run, processes that only do what cannot be left out: one that listens with
//! the same TLS and has no store, and one that connects with the same certificate and has no journal.
//!
//! `cargo bench -p mailmend-lab --bench startup`; more rounds with `MAILMEND_BENCH_ROUNDS=50`.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailmend_lab::programs::Programs;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The names that this program gives itself when it is the reference.
const LISTENER: &str = "--reference-listener";
const CALLER: &str = "--reference-caller";
const READY: &str = "reference is ready";

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, LISTENER, data] => return listen(Path::new(data)),
        [_, CALLER, address, data] => return call(address, Path::new(data)),
        _ => {}
    }
    // `cargo test --benches` runs this too: then twice.
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let rounds = match std::env::var("MAILMEND_BENCH_ROUNDS") {
        Ok(rounds) => rounds.parse()?,
        Err(_) if bench => 20,
        Err(_) => 2,
    };
    measure(rounds)
}

fn measure(rounds: usize) -> Fallible<()> {
    let programs = Programs::built_beside(Path::new(env!("CARGO_BIN_EXE_mailmend-lab")))
        .map_err(|why| why.whole())?;
    let myself = std::env::current_exe()?;
    let folder = tempfile::tempdir()?;
    let bed = Bed::make(folder.path(), &programs)?;
    let address = bed.address.clone();
    let again = bed.folder.join("again");
    let fresh = |round: usize| bed.folder.join(format!("fresh-{round}"));
    let mut times: [Vec<Duration>; 5] = Default::default();
    for round in 0..=rounds {
        let all = [
            until(&mut serve(&programs, &fresh(round)), "listens on")?,
            until(&mut serve(&programs, &again), "listens on")?,
            until(reference(&myself).arg(LISTENER).arg(&bed.data), READY)?,
            until(&mut bed.agent("run"), "connected")?,
            until(
                reference(&myself)
                    .arg(CALLER)
                    .arg(&address)
                    .arg(&bed.agent_data),
                READY,
            )?,
        ];
        // The first round reads the programs from the disk.
        if round > 0 {
            for (times, time) in times.iter_mut().zip(all) {
                times.push(time);
            }
        }
    }
    let [first, next, listener, agent, caller] = times.map(Spread::of);
    println!("start-up, median of {rounds} rounds (fastest to slowest):");
    println!("  reference: listens with TLS, nothing else   {listener}");
    println!(
        "  controller, first start (authority, store)  {first}  {:.2} x",
        first.over(&listener)
    );
    println!(
        "  controller, each next start                 {next}  {:.2} x",
        next.over(&listener)
    );
    println!("  reference: connects with TLS, nothing else  {caller}");
    println!(
        "  agent, until its session is taken           {agent}  {:.2} x",
        agent.over(&caller)
    );
    Ok(())
}

/// Median, fastest, slowest.
struct Spread([Duration; 3]);

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let last = times.len() - 1;
        Self([times[last / 2], times[0], times[last]])
    }

    fn over(&self, reference: &Self) -> f64 {
        self.0[0].as_secs_f64() / reference.0[0].as_secs_f64()
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, fastest, slowest] = self.0.map(|time| time.as_secs_f64() * 1000.0);
        write!(f, "{median:7.1} ms ({fastest:.1} to {slowest:.1})")
    }
}

/// A process that ends with this one's interest in it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process; how long until its standard error has this text. Then it is killed.
fn until(command: &mut Command, text: &str) -> Fallible<Duration> {
    Ok(started(command, text)?.1)
}

fn started(command: &mut Command, text: &str) -> Fallible<(Ended, Duration, String)> {
    let begun = Instant::now();
    let mut process = Ended(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?,
    );
    let output = process.0.stderr.take().ok_or("it has no standard error")?;
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.contains(text) {
            return Ok((process, begun.elapsed(), line));
        }
        said += &line;
        said.push('\n');
    }
    Err(format!("{command:?} ended without `{text}`: {said}").into())
}

fn reference(myself: &Path) -> Command {
    Command::new(myself)
}

/// `mailmend serve`.
fn serve(programs: &Programs, data: &Path) -> Command {
    let mut command = Command::new(&programs.mailmend);
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log",
            "info",
            "--data",
        ])
        .arg(data);
    command
}

/// A controller that listens all the time, and an agent that is enrolled there.
struct Bed {
    folder: PathBuf,
    data: PathBuf,
    agent_data: PathBuf,
    agent: PathBuf,
    address: String,
    _controller: Ended,
}

impl Bed {
    fn make(folder: &Path, programs: &Programs) -> Fallible<Self> {
        let folder = folder.canonicalize()?;
        let data = folder.join("controller");
        let (controller, _, line) = started(&mut serve(programs, &data), "listens on https://")?;
        let address = line
            .split_once("https://")
            .and_then(|(_, rest)| rest.split_once(','))
            .ok_or("the controller does not say where it listens")?
            .0
            .to_owned();
        let bed = Self {
            agent_data: folder.join("agent"),
            agent: programs.agent.clone(),
            data,
            address,
            folder,
            _controller: controller,
        };
        bed.enrol(programs)?;
        Ok(bed)
    }

    fn enrol(&self, programs: &Programs) -> Fallible<()> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        std::fs::create_dir_all(at("exchsrvr"))?;
        let config = format!(
            "name = \"SRVB\"\ncontroller = \"https://{}\"\ndata = \"{}\"\nguard = \"{}\"\n[host]\nprovider = \"unix\"\n\
             service_socket = \"{}\"\nregistry_file = \"{}\"\nevents_file = \"{}\"\n",
            self.address,
            self.agent_data.display(),
            at("guard.toml"),
            at("socket"),
            at("registry.toml"),
            at("events.log")
        );
        std::fs::write(at("agent.toml"), config)?;
        let guard = format!(
            "roots = [\"{}\"]\nservices = [\"MSExchangeIMC\"]\npolicies = \"unsigned\"\n",
            at("exchsrvr")
        );
        std::fs::write(at("guard.toml"), guard)?;
        let output = Command::new(&programs.mailmend)
            .args(["agent", "token", "SRVB", "--site", "oslo", "-o", "json"])
            .arg("--controller")
            .arg(format!("https://{}", self.address))
            .arg("--identity")
            .arg(self.data.join("operator"))
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let token = answer["token"].as_str().ok_or("no token")?;
        let enrolled = self
            .agent("enrol")
            .args(["--token", token, "--ca"])
            .arg(self.data.join("ca.pem"))
            .stdout(Stdio::null())
            .status()?;
        if !enrolled.success() {
            return Err("the agent could not enrol".into());
        }
        Ok(())
    }

    fn agent(&self, what: &str) -> Command {
        let mut command = Command::new(&self.agent);
        command
            .arg(what)
            .arg("--config")
            .arg(self.folder.join("agent.toml"));
        command
    }
}

fn runtime() -> Fallible<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// The reference of the controller: TLS that asks for certificates, a listener, no service.
fn listen(data: &Path) -> Fallible<()> {
    runtime()?.block_on(async {
        let read = |name: &str| std::fs::read(data.join(name));
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(read("server.pem")?, read("server.key")?))
            .client_ca_root(Certificate::from_pem(read("ca.pem")?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Server::builder()
            .tls_config(tls)?
            .add_routes(tonic::service::Routes::default());
        eprintln!("{READY}");
        server
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await?;
        Ok(())
    })
}

/// The reference of the agent: a connection with its certificate.
fn call(address: &str, data: &Path) -> Fallible<()> {
    runtime()?.block_on(async {
        let read = |name: &str| std::fs::read(data.join(name));
        let tls = ClientTlsConfig::new()
            .domain_name("mailmend-controller")
            .identity(Identity::from_pem(read("agent.pem")?, read("agent.key")?))
            .ca_certificate(Certificate::from_pem(read("ca.pem")?));
        let _channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect()
            .await?;
        eprintln!("{READY}");
        std::future::pending::<()>().await;
        Ok(())
    })
}
