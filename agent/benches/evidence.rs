//! How many lines a second each evidence reader takes, on one core, beside a reference that only finds the
//! ends of the same lines, in the same run. Goal: 100 000 lines a second.
//!
//! `cargo bench -p mailmend-agent --bench evidence`; as long as you like with
//! `MAILMEND_BENCH_LINES=1000000`. Files are in the page cache: what is measured is the work.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mailmend_agent::evidence::log_time::LogTime;
use mailmend_agent::evidence::{event_text, smtp_log, spool_file, tracking_log};
use mailmend_agent::host::unix::{UnixHost, UnixSettings};
use mailmend_agent::host::{Events, Host};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Events in the log that is looked at again and again: more than NT keeps in 16 MiB.
const LOOKED_AT: usize = 100_000;

/// Lines a second.
const GOAL: f64 = 100_000.0;

fn main() -> Result<()> {
    // `cargo test --benches` runs this too: then small, and nothing is judged.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let count: usize = match std::env::var("MAILMEND_BENCH_LINES") {
        Ok(count) => count.parse()?,
        Err(_) if bench => 1_000_000,
        Err(_) => 2_000,
    };
    let folder = tempfile::tempdir()?;
    let folder = folder.path().canonicalize()?;
    println!("{count} lines of each log, the median of five readings\n");
    let mut met = true;

    let tracking = folder.join("19971105.log");
    write(&tracking, count, tracking_line)?;
    met &= measure("tracking log", &tracking, count, |path| {
        Ok(tracking_log::read(&mut File::open(path)?, "19971105.log")?
            .records
            .len())
    })?;

    let smtp = folder.join("L0000000.LOG");
    write(&smtp, count, smtp_line)?;
    for clock in ["utc", "local"] {
        let clock: LogTime = clock.parse()?;
        met &= measure(&format!("SMTP log ({clock})"), &smtp, count, |path| {
            let found = smtp_log::read_in(&mut File::open(path)?, "L0000000.LOG", clock)?;
            Ok(found.transactions.len())
        })?;
    }

    let own = folder.join("events.log");
    write(&own, count, own_event)?;
    let exported = folder.join("exported.log");
    write(&exported, count, exported_event)?;
    for (name, path) in [
        ("event log (own)", &own),
        ("event log (exported)", &exported),
    ] {
        met &= measure(name, path, count, |path| {
            Ok(event_text::read(&mut File::open(path)?, LogTime::Utc)?
                .0
                .len())
        })?;
    }

    let looked_at = folder.join("looked-at.log");
    write(&looked_at, LOOKED_AT.min(count), own_event)?;
    bookmarks(&looked_at, LOOKED_AT.min(count))?;
    spool_files(count / 10)?;
    if bench && !met {
        return Err("a reader is slower than the goal".into());
    }
    Ok(())
}

/// Reads a log five times with the reference and with a reader, one after the other.
fn measure(
    name: &str,
    path: &Path,
    lines: usize,
    read: impl Fn(&Path) -> Result<usize>,
) -> Result<bool> {
    let (mut plain, mut readings) = (Vec::new(), Vec::new());
    let mut facts = 0;
    for _ in 0..5 {
        plain.push(timed(|| reference(path))?.0);
        let (time, found) = timed(|| read(path))?;
        readings.push(time);
        facts = found;
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        lines as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (plain, reader) = (rate(&mut plain), rate(&mut readings));
    let verdict = if reader >= GOAL { "met" } else { "MISSED" };
    println!(
        "{name:<22} {reader:>11.0} lines/s   reference {plain:>11.0} lines/s   {:>5.1}x   {facts} facts   {verdict}",
        plain / reader
    );
    Ok(reader >= GOAL)
}

fn timed<T>(act: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let begun = Instant::now();
    let done = black_box(act()?);
    Ok((begun.elapsed(), done))
}

fn reference(path: &Path) -> Result<usize> {
    let mut log = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut lines, mut line) = (0, Vec::new());
    while log.read_until(b'\n', &mut line)? > 0 {
        lines += 1;
        black_box(&line);
        line.clear();
    }
    Ok(lines)
}

/// What a look costs once the log was read: one line was appended.
fn bookmarks(path: &Path, lines: usize) -> Result<()> {
    let host = UnixHost::new(UnixSettings {
        service_socket: "/nowhere".into(),
        registry_file: "/nowhere".into(),
        events_file: path.to_owned(),
        counters_file: None,
        clock_factor: 1.0,
    });
    let last_ms = i64::MAX;
    let look = || Ok(Events::read(host.events(), "MSExchangeIMC", last_ms)?.len());
    let (first, _) = timed(look)?;
    let mut log = fs::OpenOptions::new().append(true).open(path)?;
    let mut looks = Vec::new();
    for n in 0..5 {
        writeln!(log, "{}", own_event(n))?;
        looks.push(timed(look)?.0);
    }
    looks.sort_unstable();
    println!(
        "\na look at {lines} events: the first {first:.2?}, then with one more each {:.2?}",
        looks[2]
    );
    Ok(())
}

fn spool_files(count: usize) -> Result<()> {
    let mut header = b"\xF7ImCr\x01\x00\x03\x00a@x\x01\x00\x03\x00b@y\x2D\x00".to_vec();
    header.extend(b"c=US;a= ;p=Contoso;l=RAYDEN9711051951WKA6D6YM");
    header.extend(b"EwLsFrom: a\r\nMessage-ID: <1@x>\r\n\r\n");
    header.extend(vec![b'x'; 4096]);
    let (time, known) = timed(|| {
        let parse = |_| spool_file::parse(black_box(&header)).message_id.is_some();
        Ok((0..count).map(parse).filter(|known| *known).count())
    })?;
    assert_eq!(known, count, "each has its Message-ID");
    println!(
        "spool files of 4 KiB: {:.0} a second",
        count as f64 / time.as_secs_f64()
    );
    Ok(())
}

fn write(path: &Path, count: usize, line: impl Fn(usize) -> String) -> Result<()> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    for n in 0..count {
        writeln!(file, "{}", line(n))?;
    }
    file.flush()?;
    Ok(())
}

/// Records with one recipient: every second line.
fn tracking_line(n: usize) -> String {
    let message = n / 2;
    if n % 2 == 1 {
        return format!("user{message}@example.net\t0");
    }
    let (hour, minute, second) = (message / 3600 % 24, message / 60 % 60, message % 60);
    format!(
        "c=US;a= ;p=Contoso;l=OSLO-B9711051951{message:08}\t1011\t1997.11.5 {hour}:{minute}:{second}\t\
         /o=Contoso/ou=OSLO/cn=Configuration/cn=Connections/cn=Internet Mail Connector (OSLO-B)\t\
         hop.example.net\t<c=US%a=_%p=Contoso%l=OSLO-B-{message}@contoso.example>[{message:08}]\t\
         /O=CONTOSO/OU=OSLO/CN=RECIPIENTS/CN=ADA\t0\t2907\t0\t1\t\t1"
    )
}

/// Conversations of sixteen lines.
fn smtp_line(n: usize) -> String {
    let (message, second) = (n / 16, n / 40);
    let text = match n % 16 {
        0 => "IO: |220 hop.example.net ready".to_owned(),
        1 => "EHLO oslo-b.contoso.example".to_owned(),
        2 => "IO: |250-hop.example.net".to_owned(),
        3 => "IO: |250 SIZE 10485760".to_owned(),
        4 => "MAIL FROM:<ada@contoso.example> SIZE=2907".to_owned(),
        5 => "IO: |250 ok".to_owned(),
        6 => format!("RCPT TO:<user{message}@example.net>"),
        7 => "IO: |250 ok".to_owned(),
        8 => "DATA".to_owned(),
        9 => "IO: |354 go ahead".to_owned(),
        10 => "Received: from ada by oslo-b with SMTP id WKA6D6YM; Wed, 5 Nov 1997".to_owned(),
        11 => format!("Message-ID: <OSLO-B-{message}@contoso.example>"),
        12 => "Subject: the quarterly figures".to_owned(),
        13 => ".".to_owned(),
        14 => format!("IO: |250 taken as {message}"),
        _ => "QUIT".to_owned(),
    };
    let (hour, minute, second) = (second / 3600 % 12, second / 60 % 60, second % 60);
    let hour = if hour == 0 { 12 } else { hour };
    format!("11/5/97 {hour}:{minute:02}:{second:02} PM : {text}\r")
}

fn own_event(n: usize) -> String {
    let (minute, second) = (n / 60 % 60, n % 60);
    format!(
        "1997-11-05T19:{minute:02}:{second:02}.250Z\tMSExchangeIMC\t2001\tInformation\tSMTP Interface Events\t\
         A delivery attempt for message {n} ended with 1 recipients delivered and 0 undeliverable."
    )
}

fn exported_event(n: usize) -> String {
    let (minute, second) = (n / 60 % 60, n % 60);
    format!(
        "11/5/97,7:{minute:02}:{second:02} PM,MSExchangeIMC,Information,SMTP Interface Events,2001,N/A,OSLO-B,\
         A delivery attempt for message {n} ended with 1 recipients delivered and 0 undeliverable."
    )
}
